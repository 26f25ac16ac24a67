"""A metric of the user's: all at once or batch by batch, with pairs, groups and a direction of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from netsurgeon.pipeline.data import InputSpec, Samples, open_samples
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.verification.measures import OwnMetric, batches_of

Array = npt.NDArray[Any]
SPECS = (InputSpec("x", np.dtype(np.float32), (None, 1)),)
X = np.random.default_rng(0).standard_normal((40, 1)).astype(np.float32)


def samples(labels: Array | None = None) -> Samples:
    return open_samples({"x": X} if labels is None else {"x": X, "labels": labels}, SPECS, batch_size=7)


def judged(function: Any, labels: Array | None = None, shift: float = 0.5) -> Any:
    """Figures of a model that gives its inputs, and of one that adds a shift to them, and the drop."""
    given, metric = samples(labels), OwnMetric(function)
    metric.check_labels(given)
    sides = metric.reading(), metric.reading()
    for batch in batches_of(given):
        for side, added in zip(sides, (0.0, shift), strict=True):
            side.add({"y": np.add(batch.feed["x"], added, dtype=np.float32)}, batch)
    return (*metric.figures(*sides), metric.estimate(*sides, seed=0))


def test_float_labels_are_handed_on() -> None:
    targets = X[:, 0] + np.random.default_rng(1).standard_normal(40)

    def error(outputs: Any, labels: Any) -> float:
        return float(np.mean((outputs["y"][:, 0] - labels) ** 2))

    error.lower_is_better = True  # type: ignore[attr-defined]
    error.relative = True  # type: ignore[attr-defined]
    error.title = "squared error"  # type: ignore[attr-defined]
    before, after, drop = judged(error, targets)
    assert before == pytest.approx(np.mean((X[:, 0] - targets) ** 2), rel=1e-5)
    assert drop.drop == pytest.approx(after / before - 1.0)
    scale = OwnMetric(error).scale
    assert (scale.title, scale.lower_is_better, scale.is_relative) == ("squared error", True, True)


def test_pairs_come_together_with_a_label_each() -> None:
    scores, seen = np.arange(20) / 20.0, []

    def metric(outputs: Any, labels: Any) -> float:
        seen.append((outputs["y"], labels))
        return float(np.mean(outputs["y"][::2] - outputs["y"][1::2]))

    judged(metric, scores)
    np.testing.assert_array_equal(seen[0][0], X)
    np.testing.assert_array_equal(seen[0][1], scores)
    drawn, labels = seen[-1]
    assert (len(drawn), len(labels)) == (40, 20)


def test_a_pair_is_drawn_whole() -> None:
    def differences(outputs: Any, labels: Any) -> float:
        pairs = outputs["y"].reshape(-1, 2)
        whole = X.reshape(-1, 2)[np.round(20 * labels).astype(int)]
        assert np.ptp(np.round(pairs - whole, 4)) == 0.0, "the label is that of the pair"
        return float(np.mean(pairs[:, 0] - pairs[:, 1]))

    judged(differences, np.arange(20) / 20.0)


def test_what_is_told_for_each_sample_is_kept_and_not_the_outputs() -> None:
    sizes = []

    def near(outputs: Any, labels: Any) -> Array:
        sizes.append(len(outputs["y"]))
        return np.asarray(np.abs(outputs["y"][:, 0]) < 1.0)

    near.per_sample = True  # type: ignore[attr-defined]
    before, after, drop = judged(near)
    assert max(sizes) == 7, "batch by batch, and no more for the resamples"
    assert len(sizes) == 12
    assert before == np.mean(np.abs(X) < 1.0)
    assert drop.drop == pytest.approx(before - after)


def test_a_figure_of_rows() -> None:
    def sums(outputs: Any, labels: Any) -> Array:
        return np.stack([np.abs(outputs["y"][:, 0]), np.ones(len(outputs["y"]))], axis=1)

    sums.per_sample = True  # type: ignore[attr-defined]
    sums.figure = lambda rows: float(rows[:, 0].sum() / rows[:, 1].sum())  # type: ignore[attr-defined]
    assert judged(sums)[0] == pytest.approx(np.mean(np.abs(X)))


def test_groups_are_drawn_in_place_of_samples() -> None:
    """What is the same in all samples of a group is known no better by more of them."""
    group = np.arange(40) // 10
    effect = np.array([0.0, 0.0, 1.0, 1.0])

    def score(outputs: Any, labels: Any) -> float:
        shifted = outputs["y"][:, 0] > 50.0
        return float(np.mean(np.where(shifted, 1.0 - effect[labels.astype(int)], 1.0)))

    alone = judged(score, group.astype(float), shift=100.0)[2]
    score.groups = lambda labels: labels  # type: ignore[attr-defined]
    grouped = judged(score, group.astype(float), shift=100.0)[2]
    assert alone.drop == grouped.drop == 0.5
    assert grouped.high - grouped.low > 2.0 * (alone.high - alone.low)


@pytest.mark.parametrize(
    ("attributes", "labels", "message"),
    [
        ({"per_sample": True}, np.ones(20), "takes one label a sample, not one a pair"),
        ({"groups": len}, None, "groups are told by labels, and the data has none"),
        ({"groups": lambda labels: labels * 0.0}, np.ones(40), "groups are 1: expected at least 4"),
        ({"groups": lambda labels: labels[:3]}, np.ones(40), r"groups are \(3,\) for 40 labels"),
        ({"per_sample": True}, np.ones(40), r"says per_sample and gave float64 of shape \(\) for 7 samples"),
    ],
    ids=["pairs", "no groups", "one group", "few groups", "one number"],
)
def test_what_cannot_be(attributes: dict[str, Any], labels: Array | None, message: str) -> None:
    def metric(outputs: Any, labels: Any) -> float:
        return 1.0

    for name, value in attributes.items():
        setattr(metric, name, value)
    with pytest.raises(InputError, match=message):
        judged(metric, labels)


def test_a_metric_that_fails_is_named_with_its_error() -> None:
    def broken(outputs: object, labels: object) -> float:
        raise KeyError("y")

    with pytest.raises(InputError, match=r"the metric .*broken failed with KeyError \('y'\): expected function"):
        judged(broken)


def test_a_candidate_without_a_number_has_lost_all() -> None:
    drop = judged(lambda outputs, labels: float("nan") if outputs["y"].mean() > 40.0 else 0.5, shift=100.0)[2]
    assert (drop.drop, drop.high) == (1.0, 1.0)


@pytest.mark.parametrize("is_per_sample", [False, True])
def test_labels_of_positions_are_as_long_as_the_outputs_of_samples_without_padding(is_per_sample: bool) -> None:
    """A list of both, one a sample, where lengths vary; labels of padding came with the others."""
    specs = (InputSpec("ids", np.dtype(np.int64), (None, None)),)
    ids, stops = np.arange(80).reshape(10, 8), np.tile([3, 8, 5, 3, 2], 2)
    given = open_samples({"ids": ids, "labels": ids % 3}, specs).shortened(np.zeros(10, int), stops, {"ids": (1,)})

    def right(outputs: Any, labels: Any) -> Any:
        rows = [output.argmax(axis=1) == row for output, row in zip(outputs["y"], labels, strict=True)]
        return np.array([row.mean() for row in rows]) if is_per_sample else np.concatenate(rows).mean()

    right.per_sample = is_per_sample  # type: ignore[attr-defined]
    metric = OwnMetric(right)
    sides = metric.reading(), metric.reading()
    for batch in batches_of(given):
        for side, wrong in zip(sides, (0, 1), strict=True):
            side.add({"y": np.eye(4)[batch.feed["ids"] % 3 + wrong]}, batch)
    assert metric.figures(*sides) == (1.0, 0.0)
    assert metric.estimate(*sides, seed=0).drop == 1.0
