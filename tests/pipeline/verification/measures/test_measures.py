"""Every measure against a direct computation, its drop, its direction, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.special
import scipy.stats

from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.verification.measures import (
    F1,
    SCALES,
    Auc,
    Batch,
    Cosine,
    Measure,
    Perplexity,
    Psnr,
    Spearman,
    SquaredDifference,
    TokenAgreement,
    peak_of,
    ranks,
)
from netsurgeon.pipeline.verification.measures.base import Reading
from netsurgeon.pipeline.verification.measures.vectors import counted_positions

Array = npt.NDArray[Any]
COUNT = 60
RNG = np.random.default_rng(0)


def read(
    measure: Measure,
    values: Array,
    labels: Array | None = None,
    *,
    feed: dict[str, Array] | None = None,
    dense: Array | None = None,
    order: Array | None = None,
    is_paired: bool = False,
) -> Reading:
    """What a measure reads of outputs, in batches of 7 samples in some order."""
    reading = measure.reading()
    order = np.arange(len(values)) if order is None else order
    for start in range(0, len(order), 7):
        numbers = order[start : start + 7]
        batch = Batch(
            feed={name: array[numbers] for name, array in (feed or {"x": values}).items()},
            count=len(numbers),
            is_batched=True,
            labels=None if labels is None else labels[numbers // 2 if is_paired else numbers],
            numbers=numbers,
            pairs=numbers // 2 if is_paired else None,
        )
        reading.add({"y": values[numbers]}, batch, None if dense is None else {"y": dense[numbers]})
    return reading


def judged(measure: Measure, dense: Array, other: Array, labels: Array | None = None, **how: Any) -> Any:
    """Figures of both models and the drop."""
    before, after = (read(measure, values, labels, **how) for values in (dense, other))
    return (*measure.figures(before, after), measure.estimate(before, after, 0))


def noisy(values: Array, size: float) -> Array:
    return np.asarray((values + size * RNG.standard_normal(values.shape)).astype(np.float32))


def test_spearman_of_one_number_a_sample() -> None:
    labels = np.round(5 * RNG.random(COUNT), 1)
    dense, other = noisy(labels[:, None], 0.5), noisy(labels[:, None], 2.0)
    before, after, drop = judged(Spearman(is_paired=False), dense, other, labels)
    expected = [scipy.stats.spearmanr(values[:, 0], labels).statistic for values in (dense, other)]
    assert (before, after) == pytest.approx(tuple(expected))
    assert (drop.measure, drop.samples, drop.dense) == ("spearman", COUNT, before)
    assert drop.drop == pytest.approx(expected[0] - expected[1])
    assert 0.0 < drop.low < drop.drop < drop.high


@pytest.mark.parametrize(
    "order", [np.arange(COUNT), np.random.default_rng(1).permutation(COUNT)], ids=["as is", "mixed"]
)
def test_spearman_of_pairs_is_that_of_their_cosines(order: Array) -> None:
    """Whatever the order in which the sentences come, such as that of their lengths."""
    labels = RNG.random(COUNT // 2)
    dense = noisy(np.repeat(RNG.standard_normal((COUNT // 2, 24)), 2, axis=0), 0.8)
    other = noisy(dense, 1.0)
    before, after, drop = judged(Spearman(is_paired=True), dense, other, labels, order=order, is_paired=True)
    for found, values in ((before, dense), (after, other)):
        first, second = values[::2].astype(np.float64), values[1::2].astype(np.float64)
        cosines = np.sum(first * second, axis=1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
        assert found == pytest.approx(scipy.stats.spearmanr(cosines, labels).statistic)
    assert drop.samples == COUNT


def test_embeddings_that_are_all_the_same_have_no_correlation() -> None:
    labels = RNG.random(COUNT)
    before, after, drop = judged(Spearman(is_paired=False), labels[:, None], np.ones((COUNT, 1)), labels)
    assert (before, after) == (pytest.approx(1.0), 0.0)
    assert drop.low > 0.9
    with pytest.raises(InputError, match="gives NaN for the dense model"):
        judged(Spearman(is_paired=False), labels[:, None], labels[:, None], np.ones(COUNT))


def pairwise(scores: Array, positive: Array) -> float:
    """How often a positive is above a negative, pair by pair."""
    above = np.sign(scores[positive][:, None] - scores[~positive][None, :])
    return float(np.mean(0.5 + 0.5 * above))


@pytest.mark.parametrize("columns", [1, 2])
def test_the_area_under_the_curve_of_two_classes(columns: int) -> None:
    labels = RNG.integers(0, 2, COUNT)
    dense, other = (np.round(noisy(labels.astype(float), size), 1) for size in (0.7, 1.5))
    outputs = [side[:, None] if columns == 1 else np.stack([-side, side], axis=1) for side in (dense, other)]
    before, after, drop = judged(Auc(is_paired=False), outputs[0], outputs[1], labels)
    assert before == pytest.approx(pairwise(dense, labels == 1))
    assert after == pytest.approx(pairwise(other, labels == 1))
    assert drop.drop == pytest.approx(before - after)


def test_the_area_under_the_curve_of_several_classes_is_the_mean_over_them() -> None:
    labels = RNG.integers(0, 3, COUNT)
    dense, other = (noisy(np.eye(3)[labels], size) for size in (0.5, 1.0))
    before, after, _ = judged(Auc(is_paired=False), dense, other, labels)
    for found, scores in ((before, dense), (after, other)):
        assert found == pytest.approx(np.mean([pairwise(scores[:, at], labels == at) for at in range(3)]))


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_the_offset_counts_for_the_area_under_the_curve(columns: int) -> None:
    labels = RNG.integers(0, 2, COUNT)
    scores = noisy(np.eye(3)[labels][:, -columns - 1 :] if columns == 1 else np.eye(columns)[labels], 0.4)
    scores = scores[:, 1:2] if columns == 1 else scores
    measures = [Auc(is_paired=False, label_offset=offset) for offset in (0, -1)]
    expected, shifted = (
        judged(measure, scores, scores, of_offset)[0]
        for measure, of_offset in zip(measures, (labels, labels + 1), strict=True)
    )
    assert shifted == expected


def test_of_pairs_what_the_offset_leaves_above_0_is_positive() -> None:
    labels = RNG.integers(0, 2, COUNT // 2)
    vectors = noisy(np.repeat(RNG.standard_normal((COUNT // 2, 24)), 2, axis=0), 0.8)
    figures = [
        judged(Auc(is_paired=True, label_offset=-offset), vectors, vectors, labels + offset, is_paired=True)[0]
        for offset in (0, 1)
    ]
    assert figures[0] == figures[1]
    assert 0.0 < figures[0] < 1.0


def test_few_draws_have_all_of_a_hundred_classes_and_every_draw_has_a_figure() -> None:
    labels = np.arange(300) % 100
    dense, other = (noisy(np.eye(100)[labels], size) for size in (0.3, 0.4))
    measure = Auc(is_paired=False, class_count=100)
    before, after = (read(measure, side, labels) for side in (dense, other))
    rows: Any = before
    draws = np.random.default_rng(0).integers(0, 300, (20, 300))
    assert all(len(np.unique(labels[draw])) < 100 for draw in draws)
    assert np.isfinite(measure.figure(rows.rows[draws])).all()
    drop = measure.estimate(before, after, 0)  # type: ignore[arg-type]
    assert drop.low < drop.drop < drop.high < 3.0 * drop.drop


@pytest.mark.parametrize(("classes", "offset", "pairs"), [(3, 0, 1 << 22), (100, -1, 500)])
def test_areas_from_how_often_inputs_are_drawn_are_those_of_the_draws(
    classes: int, offset: int, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ties and classes that a draw lacks included."""
    monkeypatch.setattr(ranks, "MOST_PAIRS", pairs)
    labels = np.arange(300) % classes
    measure = Auc(is_paired=False, class_count=classes, label_offset=offset)
    scores = np.round(noisy(np.eye(classes)[labels], 0.5), 1)
    rows = np.column_stack([scores, labels - offset]).astype(np.float64)
    drawn = np.random.default_rng(0).integers(0, 300, (20, 300))
    assert measure.width_of_draws(rows) == 1
    np.testing.assert_allclose(measure.figure_of_draws(rows, drawn), measure.figure(rows[drawn]), rtol=1e-12)
    rows[0, 0] = np.nan
    assert measure.width_of_draws(rows) == classes + 1
    np.testing.assert_array_equal(measure.figure_of_draws(rows, drawn), measure.figure(rows[drawn]))


@pytest.mark.parametrize("classes", [2, 4])
def test_f1(classes: int) -> None:
    labels = RNG.integers(0, classes, COUNT)
    dense, other = (noisy(np.eye(classes)[labels], size) for size in (0.4, 1.0))
    before, after, drop = judged(F1(classes), dense, other, labels)
    for found, scores in ((before, dense), (after, other)):
        answers, by_class = scores.argmax(axis=1), []
        for at in range(classes):
            right = np.sum((answers == at) & (labels == at))
            precision, recall = right / np.sum(answers == at), right / np.sum(labels == at)
            by_class.append(2 * precision * recall / (precision + recall))
        assert found == pytest.approx(by_class[1] if classes == 2 else np.mean(by_class))
    assert drop.drop == pytest.approx(before - after)


def test_f1_of_several_classes_is_their_mean_even_where_the_inputs_have_two_of_them() -> None:
    """Which figure it is follows from the model, not from the inputs, which differ between search and report."""
    labels = np.arange(COUNT) % 2
    scores = np.eye(10, dtype=np.float32)[np.where(np.arange(COUNT) < 6, 0, labels)]
    before, _, _ = judged(F1(10), scores, scores, labels)
    one = [2 * COUNT / 2 / (COUNT / 2 + COUNT / 2 + 3), 2 * (COUNT / 2 - 3) / (COUNT / 2 - 3 + COUNT / 2)]
    assert before == pytest.approx(np.mean(one))
    assert judged(F1(2), scores[:, :2], scores[:, :2], labels)[0] == pytest.approx(one[1])


def test_f1_of_a_model_of_two_classes_is_of_class_1_even_where_nobody_names_it() -> None:
    scores = np.eye(2, dtype=np.float32)[np.zeros(COUNT, int)]
    before, _, _ = judged(F1(2), scores, scores, np.zeros(COUNT, int))
    assert before == 0.0


def test_the_offset_counts_for_f1() -> None:
    labels = np.arange(COUNT) % 3
    scores = np.eye(4, dtype=np.float32)[labels + 1]
    before, _, _ = judged(F1(4, label_offset=1), scores, scores, labels)
    assert before == 1.0


def test_squared_error_and_the_ratio_to_its_peak() -> None:
    targets = RNG.random((COUNT, 3, 4, 4)).astype(np.float32)
    dense, other = noisy(targets, 0.05), noisy(targets, 0.07)
    errors = [float(np.mean((side.astype(np.float64) - targets) ** 2)) for side in (dense, other)]
    before, after, drop = judged(SquaredDifference(), dense, other, targets)
    assert (before, after) == pytest.approx(tuple(errors))
    assert drop.drop == pytest.approx(errors[1] / errors[0] - 1.0), "a share of the dense model's error"
    before, after, drop = judged(Psnr(peak_of(targets)), dense, other, targets)
    assert (before, after) == pytest.approx(tuple(-10.0 * np.log10(errors)))
    assert drop.drop == pytest.approx(1.0 - after / before)
    assert peak_of(255.0 * targets) == 255.0
    with pytest.raises(InputError, match="as large as the labels, 5 numbers a sample"):
        read(SquaredDifference(), dense, np.ones((COUNT, 5)))


def test_cosine_is_that_of_each_input_and_its_drop_the_mean_of_what_is_lost() -> None:
    dense = RNG.standard_normal((COUNT, 16)).astype(np.float32)
    other = noisy(dense, 0.3)
    reading = read(Cosine(), other, dense=dense)
    products = np.sum(dense.astype(np.float64) * other, axis=1)
    cosines = (
        products / np.linalg.norm(dense.astype(np.float64), axis=1) / np.linalg.norm(other.astype(np.float64), axis=1)
    )
    assert Cosine().figures(None, reading) == pytest.approx((1.0, float(np.mean(cosines))))
    drop = Cosine().estimate(None, reading, 0)
    assert drop.drop == pytest.approx(1.0 - np.mean(cosines))
    assert drop.spread == pytest.approx(np.std(cosines, ddof=1))
    same = read(Cosine(), np.zeros((COUNT, 16)), dense=np.zeros((COUNT, 16)))
    assert Cosine().estimate(None, same, 0).drop == 0.0


def test_cosine_leaves_out_inputs_to_which_the_dense_model_gives_no_finite_embedding() -> None:
    dense = RNG.standard_normal((COUNT, 16))
    other = noisy(dense, 0.3)
    blank = [3, 20]
    with_blank, of_blank = dense.copy(), other.copy()
    with_blank[blank, 5], of_blank[blank[0]] = [np.nan, np.inf], np.nan
    rest = np.delete(np.arange(COUNT), blank)
    left, expected = read(Cosine(), of_blank, dense=with_blank), read(Cosine(), other[rest], dense=dense[rest])
    assert Cosine().figures(None, left) == pytest.approx(Cosine().figures(None, expected))
    assert Cosine().estimate(None, left, 0).samples == COUNT - 2
    with pytest.raises(InputError, match="the dense model's embedding is NaN or infinite for all inputs"):
        Cosine().figures(None, read(Cosine(), other, dense=np.full_like(dense, np.nan)))
    with pytest.raises(CheckFailedError, match="NaN or infinite where it was not"):
        Cosine().estimate(None, read(Cosine(), of_blank, dense=dense), 0)


def test_positions_that_the_mask_leaves_out_are_in_no_embedding() -> None:
    """Of a model that gives a vector a position the mean counts."""
    values = RNG.standard_normal((COUNT, 5, 8)).astype(np.float32)
    mask = (np.arange(5) < RNG.integers(1, 6, COUNT)[:, None]).astype(np.int64)
    other = noisy(values, 0.2)
    padded = np.where(mask[..., None] == 1, other, 1e3).astype(np.float32)
    feed = {"attention_mask": mask}
    clean, polluted = (read(Cosine(), side, dense=values, feed=feed) for side in (other, padded))
    assert Cosine().figures(None, clean) == Cosine().figures(None, polluted)


def language(vocabulary: int = 11, length: int = 6) -> tuple[Array, dict[str, Array]]:
    tokens = RNG.integers(0, vocabulary, (COUNT, length))
    mask = (np.arange(length) < RNG.integers(2, length + 1, COUNT)[:, None]).astype(np.int64)
    logits = 2.0 * RNG.standard_normal((COUNT, length, vocabulary)).astype(np.float32)
    return logits, {"input_ids": tokens, "attention_mask": mask}


def test_perplexity_of_the_tokens_that_follow() -> None:
    logits, feed = language()
    tokens, mask = feed["input_ids"], feed["attention_mask"]
    other = noisy(logits, 0.5)
    before, after, drop = judged(Perplexity(), logits, other, feed=feed)
    for found, side in ((before, logits), (after, other)):
        nats = [
            -scipy.special.log_softmax(side[row, at].astype(np.float64))[tokens[row, at + 1]]
            for row in range(COUNT)
            for at in range(tokens.shape[1] - 1)
            if mask[row, at + 1]
        ]
        assert found == pytest.approx(np.exp(np.mean(nats)))
    assert drop.drop == pytest.approx(after / before - 1.0), "a share of the dense model's"
    following = np.where(mask[:, 1:] == 1, tokens[:, 1:], -100)
    labels = np.concatenate([following, np.full((COUNT, 1), -100)], axis=1)
    assert judged(Perplexity(), logits, other, labels, feed=feed)[:2] == (before, after)
    probabilities = scipy.special.softmax(logits, axis=2)
    assert judged(Perplexity(), probabilities, other, labels, feed=feed)[0] == pytest.approx(before, rel=1e-5)


def test_perplexity_needs_tokens() -> None:
    logits, feed = language()
    with pytest.raises(InputError, match=r"a label for each position, \(7, 6\), not \(7, 5\)"):
        read(Perplexity(), logits, np.zeros((COUNT, 5), int), feed=feed)
    with pytest.raises(InputError, match="a label is 11, which is not a token of the model's 11"):
        read(Perplexity(), logits, np.full((COUNT, 6), 11), feed=feed)
    with pytest.raises(InputError, match=r"\(samples, positions, vocabulary\)"):
        read(Perplexity(), logits[:, 0], feed=feed)
    two = {**feed, "token_type": feed["input_ids"]}
    assert read(Perplexity(), logits, feed=two), "a name tells which input holds the tokens"
    with pytest.raises(InputError, match="which input holds the tokens is not clear"):
        read(Perplexity(), logits, feed={"first": feed["input_ids"], "second": feed["input_ids"]})


def test_tokens_agree_where_the_mask_counts() -> None:
    logits, feed = language()
    mask = feed["attention_mask"] == 1
    other = noisy(logits, 1.0)
    before, after, drop = judged(TokenAgreement(), logits, other, feed=feed)
    same = logits.argmax(axis=2) == other.argmax(axis=2)
    assert (before, after) == (1.0, pytest.approx(same[mask].mean()))
    assert drop.drop == pytest.approx(1.0 - after)
    padded = np.where(mask[..., None], other, -logits).astype(np.float32)
    assert judged(TokenAgreement(), logits, padded, feed=feed)[1] == after


@pytest.mark.parametrize("name", sorted(SCALES))
def test_a_figure_and_its_drop_lead_back_to_the_other_figure(name: Any) -> None:
    scale = SCALES[name]
    for dense, other in ((0.8, 0.75), (0.8, 0.85), (0.8, 0.8)):
        drop = float(scale.drop(dense, other))
        assert scale.after(dense, drop) == pytest.approx(other)
        assert (drop > 0) == ((other > dense) if scale.lower_is_better else (other < dense))
    assert scale.text(0.5)
    assert scale.change(0.5, 0.25).startswith("-")
    assert ("less is better" in scale.axis) == scale.lower_is_better


def test_a_drop_of_nothing_is_no_share() -> None:
    assert SCALES["mse"].drop(0.0, 0.0) == 0.0
    assert SCALES["mse"].drop(0.0, 0.1) == np.inf


def test_what_a_change_is_called() -> None:
    assert SCALES["top-1"].change(0.5, 0.49) == "-1.00 points"
    assert SCALES["spearman"].change(0.8241, 0.8) == "-0.0241"
    assert SCALES["perplexity"].change(20.0, 21.0) == "+1 (+5.00%)"
    assert SCALES["psnr"].change(30.0, 29.7) == "-0.3 dB (-1.00%)"
    assert [SCALES[name].text(0.5) for name in ("f1", "auc", "psnr")] == ["50.00%", "0.5", "0.5 dB"]


@pytest.mark.parametrize(
    ("name", "counted"), [("src_key_padding_mask", 12), ("encoder_attention_mask", 5), ("attention_mask", 5)]
)
def test_only_masks_that_hold_1_where_positions_count_are_known_by_name(name: str, counted: int) -> None:
    """Others may hold 1 where there is padding, and 0 everywhere once that is taken off: no position would count."""
    mask = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0]])
    batch = Batch(feed={name: mask}, count=3, is_batched=True, labels=None, numbers=np.arange(3))
    assert counted_positions(batch, 4).sum() == counted


def test_tokens_of_few_inputs_that_do_not_change_prove_nothing() -> None:
    measure, logits = TokenAgreement(), RNG.standard_normal((20, 4, 9))
    feed = {"input_ids": np.ones((20, 4), np.int64)}
    dense: Any = read(measure, logits, feed=feed, dense=logits)
    other: Any = read(measure, logits, feed=feed, dense=logits)
    evidence = measure.estimate(dense, other, seed=0)
    assert evidence.drop == evidence.high == 0.0
    assert not evidence.has_enough_samples(0.01)
