"""Inputs on which a model that always answered the same would pass prove nothing, and are not taken for proof."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from netsurgeon.pipeline.data import InputSpec, Samples, open_samples
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.notation import MeasureName
from netsurgeon.pipeline.options import Goals
from netsurgeon.pipeline.runtime import Runtime, Session
from netsurgeon.pipeline.verification.judging import Judging
from netsurgeon.pipeline.verification.plausibility import FEWEST_FOR_CHANCE, examine_dense_model

Array = NDArray[Any]
ONE_PERCENT = Goals(max_drop=0.01)
CLASSES, OUTPUTS = Judging("agreement"), Judging("outputs", class_outputs=())


def identity(width: int = 4) -> Session:
    """A model whose scores are its inputs."""
    return Runtime().session(
        ir.from_onnx_text(
            f'<ir_version: 8, opset_import: ["" : 17]> network (float[N, {width}] x) => (float[N, {width}] y) '
            "{ y = Identity(x) }"
        )
    )


def samples(x: Array, labels: Array | None = None) -> Samples:
    spec = InputSpec("x", np.dtype(np.float32), (None, x.shape[1]))
    data = {"x": x.astype(np.float32)} | ({} if labels is None else {"labels": labels})
    return open_samples(data, (spec,))


def scores_of(classes: Array, width: int = 4) -> Array:
    return np.eye(width)[classes] + 0.1 * np.random.default_rng(0).random((len(classes), width))


def test_agreement_on_inputs_of_one_class_is_refused_as_a_goal() -> None:
    """The model saw pixels of 0 to 1 where it wants 0 to 255, and called nearly everything the same."""
    classes = np.where(np.arange(600) < 597, 2, 1)
    with pytest.raises(InputError, match=r"one and the same class to 597 of 600 inputs: .*--max-drop 1%; check how"):
        examine_dense_model(identity(), samples(scores_of(classes)), goals=ONE_PERCENT, judging=CLASSES)


def test_without_a_goal_it_is_a_warning() -> None:
    classes = np.where(np.arange(600) < 597, 2, 1)
    (warning,) = examine_dense_model(identity(), samples(scores_of(classes)), goals=None, judging=CLASSES)
    assert warning.code == "answers-alike"
    assert warning.data == {"loss": pytest.approx(0.005), "samples": 600}


def test_a_goal_of_size_alone_does_not_depend_on_agreement() -> None:
    (warning,) = examine_dense_model(
        identity(), samples(scores_of(np.zeros(64, int))), goals=Goals(max_size=1000), judging=CLASSES
    )
    assert warning.code == "answers-alike"


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_answers_that_vary_are_fine(share: float) -> None:
    classes = np.where(np.arange(400) < 400 * share, 0, 1 + np.arange(400) % 3)
    assert examine_dense_model(identity(), samples(scores_of(classes)), goals=ONE_PERCENT, judging=CLASSES) == ()


def test_the_larger_the_goal_the_more_answers_must_vary() -> None:
    classes = np.where(np.arange(400) < 360, 0, 1)
    assert examine_dense_model(identity(), samples(scores_of(classes)), goals=ONE_PERCENT, judging=CLASSES) == ()
    with pytest.raises(InputError, match="always answered the same"):
        examine_dense_model(identity(), samples(scores_of(classes)), goals=Goals(max_drop=0.05), judging=CLASSES)
    classes = np.arange(400) % 2
    assert (
        examine_dense_model(identity(), samples(scores_of(classes)), goals=Goals(max_drop=0.4), judging=CLASSES) == ()
    )


def test_labels_that_the_model_gets_no_better_than_chance_end_the_run() -> None:
    rng = np.random.default_rng(1)
    classes, labels = rng.integers(0, 4, 400), rng.integers(0, 4, 400)
    with pytest.raises(
        InputError, match=r"to \d+ of 400 inputs, no more than chance \(\d+\): check how .*--label-offset"
    ):
        examine_dense_model(identity(), samples(scores_of(classes), labels), goals=None, judging=CLASSES)
    assert (
        examine_dense_model(identity(), samples(scores_of(classes), classes), goals=ONE_PERCENT, judging=CLASSES) == ()
    )


def test_the_offset_of_labels_counts() -> None:
    classes = np.arange(90) % 3 + 1
    labelled = samples(scores_of(classes), classes - 1)
    with pytest.raises(InputError, match="no more than chance"):
        examine_dense_model(identity(), labelled, goals=None, judging=CLASSES)
    assert examine_dense_model(identity(), labelled, goals=None, judging=Judging("agreement", label_offset=1)) == ()


def test_few_labels_say_nothing_of_chance() -> None:
    classes = np.arange(FEWEST_FOR_CHANCE - 1) % 4
    assert (
        examine_dense_model(identity(), samples(scores_of(classes), (classes + 1) % 4), goals=None, judging=CLASSES)
        != ()
    )
    classes = np.arange(FEWEST_FOR_CHANCE) % 4
    with pytest.raises(InputError, match="no more than chance"):
        examine_dense_model(identity(), samples(scores_of(classes), (classes + 1) % 4), goals=None, judging=CLASSES)


def test_rare_classes_that_the_model_does_find_are_fine() -> None:
    labels = (np.arange(400) % 20 == 0).astype(int)
    assert examine_dense_model(identity(), samples(scores_of(labels), labels), goals=ONE_PERCENT, judging=CLASSES) == ()


@pytest.mark.parametrize(("offset", "is_fine"), [(1.0, True), (100.0, False)])
def test_outputs_that_are_no_scores_must_vary_around_their_mean(offset: float, is_fine: bool) -> None:
    x = offset + np.random.default_rng(2).standard_normal((200, 4))
    if is_fine:
        assert examine_dense_model(identity(), samples(x), goals=ONE_PERCENT, judging=OUTPUTS) == ()
    else:
        with pytest.raises(InputError, match=r"only 0.01% of the energy of the dense model's outputs varies"):
            examine_dense_model(identity(), samples(x), goals=ONE_PERCENT, judging=OUTPUTS)


def test_a_single_input_cannot_vary() -> None:
    assert examine_dense_model(identity(), samples(np.ones((1, 4))), goals=None, judging=OUTPUTS) == ()


@pytest.mark.parametrize("name", ["top-1", "agreement", "f1", "outputs", "cosine"])
def test_a_measure_that_is_named_is_examined_as_by_default(name: MeasureName) -> None:
    """The default is what a user may as well write down; its promises must not depend on that."""
    classes = np.full(600, 2)
    given = samples(100.0 + 0.1 * scores_of(classes), classes)
    judging = Judging(name, class_count=4, is_named=True)
    with pytest.raises(InputError, match="always answered the same would pass"):
        examine_dense_model(identity(), given, goals=Goals(max_drop=0.5), judging=judging)
    (warning,) = examine_dense_model(identity(), given, goals=None, judging=judging)
    assert warning.code == "answers-alike"


@pytest.mark.parametrize("name", ["top-1", "f1"])
def test_a_named_measure_of_labels_must_be_better_than_chance(name: MeasureName) -> None:
    rng = np.random.default_rng(1)
    classes, labels = rng.integers(0, 4, 400), rng.integers(0, 4, 400)
    judging = Judging(name, class_count=4, is_named=True)
    with pytest.raises(InputError, match="no more than chance"):
        examine_dense_model(identity(), samples(scores_of(classes), labels), goals=None, judging=judging)
    agreement = Judging("agreement", is_named=True)
    assert examine_dense_model(identity(), samples(scores_of(classes), labels), goals=None, judging=agreement) == ()


def test_rare_positives_are_enough_for_f1() -> None:
    """One answer to all inputs would have none of them right, however seldom they are."""
    labels = (np.arange(1000) % 250 == 0).astype(int)
    given = samples(scores_of(labels, 2), labels)
    how: Any = {"goals": ONE_PERCENT, "judging": Judging("f1", class_count=2, is_named=True)}
    assert examine_dense_model(identity(2), given, **how) == ()
    with pytest.raises(InputError, match="always answered the same"):
        examine_dense_model(identity(2), given, goals=ONE_PERCENT, judging=CLASSES)


def language_model(scale: float) -> Session:
    """Of 6 tokens: the next one is the token that is fed plus one, surely, times a scale."""
    return Runtime().session(
        ir.from_onnx_text(
            '<ir_version: 8, opset_import: ["" : 17]> network (int64[N, S] ids) => (float[N, S, 6] logits) '
            f"<int64 depth = {{6}}, float[2] ends = {{0, {scale}}}, int64 one = {{1}}, int64 six = {{6}}> "
            "{ next = Add(ids, one) row = Mod(next, six) logits = OneHot(row, depth, ends) }"
        )
    )


def test_a_perplexity_that_is_worse_than_guessing_is_told_and_refused_as_a_goal() -> None:
    tokens = (np.arange(40)[:, None] + np.arange(9)) % 6
    text = open_samples({"ids": tokens}, (InputSpec("ids", np.dtype(np.int64), (None, None)),))
    judging = Judging("perplexity", is_named=True)
    for scale in (4.0, 0.0):  # sure and right, and guessing
        assert examine_dense_model(language_model(scale), text, goals=ONE_PERCENT, judging=judging) == ()
    (warning,) = examine_dense_model(language_model(-4.0), text, goals=None, judging=judging)
    assert warning.code == "worse-than-chance"
    assert warning.data["perplexity"] == pytest.approx(np.exp(4.0) * 5 + 1.0, rel=1e-4)
    assert (warning.data["vocabulary"], warning.data["samples"]) == (6, 40)
    with pytest.raises(InputError, match=r"perplexity is 274 on 40 inputs, .* vocabulary, 6: to keep to --max-drop 1%"):
        examine_dense_model(language_model(-4.0), text, goals=ONE_PERCENT, judging=judging)


@pytest.mark.parametrize(("copies", "is_refused"), [(1, False), (40, True)])
def test_what_may_be_chance_refuses_no_goal(copies: int, is_refused: bool) -> None:
    """Of 32 texts 6 are as the model expects and 26 are not: exp(2.01 - 0.9 * 6 / 32) is 6.3, give or take 0.4."""
    steps = np.where(np.arange(32) < 6, 1, 2)
    tokens = np.tile((np.arange(9) * steps[:, None]) % 6, (copies, 1))
    text = open_samples({"ids": tokens}, (InputSpec("ids", np.dtype(np.int64), (None, None)),))
    how: Any = {"goals": ONE_PERCENT, "judging": Judging("perplexity", is_named=True)}
    if is_refused:
        with pytest.raises(InputError, match=r"perplexity is 6\.\d+ on 1,024 inputs"):
            examine_dense_model(language_model(0.9), text, **how)
        return
    (warning,) = examine_dense_model(language_model(0.9), text, **how)
    assert warning.code == "worse-than-chance"
    assert warning.data["samples"] == 32


def test_a_token_that_cannot_follow_refuses_a_goal_by_itself() -> None:
    """The perplexity is then infinite, whatever the other inputs give."""
    tokens = (np.arange(40)[:, None] + np.arange(9)) % 6
    tokens[::4, 4] = 0
    text = open_samples({"ids": tokens}, (InputSpec("ids", np.dtype(np.int64), (None, None)),))
    with pytest.raises(InputError, match="would prove nothing"):  # scores of 0 and 1 are probabilities
        examine_dense_model(language_model(1.0), text, goals=ONE_PERCENT, judging=Judging("perplexity", is_named=True))
