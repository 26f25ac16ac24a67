"""What a measurement promises of other inputs: of the embedded network, against outputs compared by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from perceptron_models import UNIFORM, inputs, perceptron
from plain_models import DENSE, TEST, parsed

from netsurgeon.pipeline.compare import compare
from netsurgeon.pipeline.compress import Compression, compress
from netsurgeon.pipeline.data import open_samples
from netsurgeon.pipeline.model_files import input_specs, open_model
from netsurgeon.pipeline.runtime import Runtime
from netsurgeon.pipeline.verification.judging import Judging
from netsurgeon.pipeline.verification.promise import margin_losses
from netsurgeon.pipeline.verification.tolerance import limit_rank, proven_share
from netsurgeon.pipeline.verification.validation import Validation, validate, validate_folds

SUMS = """
<ir_version: 8, opset_import: ["" : 17]>
network (float[N, 4] x) => (float[N, 3] y, float[3] total) <float[4, 3] w = {1,2,3,4,5,6,7,8,9,10,11,12}>
{ y = MatMul(x, w)
  total = ReduceSum <keepdims = 0> (y, axes) }
""".replace("12}>", "12}, int64[1] axes = {0}>")


def logits(model: Path | onnx.ModelProto) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The outputs on all test inputs."""
    with np.load(TEST) as arrays:
        return np.asarray(Runtime().session(model).run({"image": arrays["image"]})["logits"], np.float64)


def test_limits_are_those_of_outputs_that_are_compared_by_hand(small: tuple[Path, Compression]) -> None:
    dense, compressed = logits(DENSE), logits(small[0])
    validation = small[1].report.validation
    rank = limit_rank(450)
    assert rank == 434
    (output,) = validation.promise.outputs
    norms, errors = np.linalg.norm(dense, axis=1), np.linalg.norm(compressed - dense, axis=1)
    relative = errors / np.sqrt(np.mean(norms**2))
    assert (output.output, output.change.samples, output.change.rank) == ("logits", 450, rank)
    assert output.scale == pytest.approx(np.sqrt(np.mean(norms**2)), rel=1e-4)
    assert output.change.limit == pytest.approx(np.sort(relative)[rank - 1], rel=1e-3)
    assert np.sqrt(np.mean(relative**2)) == pytest.approx(validation.outputs[0].relative_error, rel=1e-3)


def test_margins_and_agreement_are_those_of_scores_that_are_ranked_by_hand(small: tuple[Path, Compression]) -> None:
    dense, compressed = logits(DENSE), logits(small[0])
    losses = []
    for before, after in zip(dense, compressed, strict=True):
        top = int(before.argmax())
        margins = [scores[top] - np.delete(scores, top).max() for scores in (before, after)]
        losses.append(1.0 - margins[1] / margins[0])
    promise = small[1].report.validation.promise
    assert promise.margin_loss is not None
    assert promise.margin_loss.limit == pytest.approx(np.sort(losses)[433], rel=1e-3)
    agreeing = int((dense.argmax(axis=1) == compressed.argmax(axis=1)).sum())
    assert np.count_nonzero(np.array(losses) < 1.0) == agreeing < 450
    assert promise.agreement == proven_share(agreeing, 450)
    assert promise.withheld is None


def test_the_batch_size_changes_no_promise(small: tuple[Path, Compression]) -> None:
    whole, single = (compare(DENSE, small[0], TEST, batch_size=size).validation.promise for size in (450, 7))
    assert whole.outputs[0].change.limit == pytest.approx(single.outputs[0].change.limit, rel=1e-3)
    assert whole.agreement == single.agreement == small[1].report.validation.promise.agreement


def test_an_equal_model_promises_no_change_at_all() -> None:
    promise = compare(DENSE, DENSE, TEST, limit=45).validation.promise
    assert [limit.change.limit for limit in promise.outputs] == [0.0]
    assert promise.margin_loss is not None
    assert promise.margin_loss.limit == 0.0
    assert promise.agreement is not None
    assert promise.agreement.at_least == pytest.approx(0.1 ** (1 / 45))


def test_too_few_inputs_have_a_share_but_no_limit_and_say_how_many_would() -> None:
    promise = compare(DENSE, DENSE, TEST, limit=44).validation.promise
    assert (promise.outputs, promise.margin_loss) == ((), None)
    assert promise.agreement == proven_share(44, 44)
    assert promise.withheld is not None
    assert (promise.withheld.code, promise.withheld.data) == ("promise-few-inputs", {"samples": 44, "needed": 45})
    assert "45 would allow it" in promise.withheld


def measured(model: Path | onnx.ModelProto, other: Path | onnx.ModelProto, count: int, **options: Any) -> Validation:
    """Two halves of the test inputs, each given to a model of its own, or all to one."""
    runtime = Runtime()
    sessions = [runtime.session(each) for each in (model, other)]
    samples = open_samples(TEST, input_specs(open_model(model, runtime).original), limit=count)
    halves = samples.split(0.5, np.random.default_rng(0))
    folds = [(sessions[1], half) for half in halves] if options.pop("halves") else [(sessions[1], samples)]
    return validate_folds(sessions[0], folds, judging=Judging("agreement"), **options)


@pytest.mark.parametrize(
    ("halves", "held_out", "code"),
    [(True, True, "promise-halves"), (False, False, "not-held-out"), (False, True, None)],
)
def test_nothing_is_promised_of_inputs_that_made_the_model_or_of_models_of_halves(
    small: tuple[Path, Compression], halves: bool, held_out: bool, code: str | None
) -> None:
    validation = measured(DENSE, small[0], 200, halves=halves, held_out=held_out)
    promise = validation.promise
    assert validation.agreement is not None
    assert (promise.withheld.code if promise.withheld else None) == code
    assert (promise.outputs == (), promise.margin_loss is None, promise.agreement is None) == (code is not None,) * 3


def test_compression_by_few_inputs_withholds_the_promise() -> None:
    validation = compress(perceptron(), inputs(48), sparsity=0.5, **UNIFORM).report.validation
    assert validation.folds == 2
    assert validation.promise.withheld is not None
    assert validation.promise.withheld.code == "promise-halves"
    assert validation.promise.outputs == ()


def test_an_output_of_the_whole_batch_has_an_error_but_no_limit() -> None:
    other = parsed(SUMS.replace("{1,2", "{1.5,2"))
    x = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    validation = compare(parsed(SUMS), other, x, batch_size=20).validation
    assert [output.output for output in validation.outputs] == ["y", "total"]
    assert [limit.output for limit in validation.promise.outputs] == ["y"]


def test_feeds_of_one_input_count_as_inputs() -> None:
    other = parsed(SUMS.replace("{1,2", "{1.5,2"))
    x = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    limits = compare(parsed(SUMS), other, x, batch_size=1).validation.promise.outputs
    assert [(limit.output, limit.change.samples) for limit in limits] == [("y", 50), ("total", 50)]
    rank = limit_rank(50)
    assert rank == 50
    scale = np.sqrt(np.mean(np.sum((x @ np.arange(1.0, 13.0).reshape(4, 3)) ** 2, axis=1)))
    assert limits[0].change.limit == pytest.approx(np.abs(0.5 * x[:, 0]).max() / scale, rel=1e-4)


@pytest.mark.parametrize(("weights", "limit"), [("{0,0", 0.0), ("{1,0", np.inf)])
def test_an_output_that_was_zero_has_no_size_to_compare_with(weights: str, limit: float) -> None:
    zero = SUMS.replace("{1,2,3,4,5,6,7,8,9,10,11,12}", "{0,0,0,0,0,0,0,0,0,0,0,0}")
    x = np.ones((50, 4), np.float32)
    dense, other = (Runtime().session(parsed(model)) for model in (zero, zero.replace("{0,0", weights)))
    samples = open_samples({"x": x}, input_specs(open_model(parsed(zero), Runtime()).original))
    output = validate(dense, other, samples, judging=Judging("outputs"), held_out=True).promise.outputs[0]
    assert (output.scale, output.change.limit) == (0.0, limit)


@pytest.mark.parametrize(
    ("dense", "compressed", "loss"),
    [
        ((1.0, 5.0, 3.0), (1.0, 5.0, 3.0), 0.0),
        ((1.0, 5.0, 3.0), (1.0, 4.0, 3.0), 0.5),
        ((1.0, 5.0, 3.0), (4.0, 5.0, 3.0), 0.5),  # another class is the runner-up now
        ((1.0, 5.0, 3.0), (6.0, 5.0, 3.0), 1.5),  # and wins
        ((1.0, 5.0, 3.0), (1.0, 5.0, 5.0), 1.0),
        ((1.0, 5.0, 3.0), (1.0, 9.0, 3.0), -2.0),
        ((4.0, 4.0, 3.0), (4.0, 4.0, 3.0), 0.0),
        ((4.0, 4.0, 3.0), (5.0, 4.0, 3.0), 0.0),
        ((4.0, 4.0, 3.0), (4.0, 4.1, 3.0), np.inf),
        ((1.0, np.inf, 3.0), (1.0, 9.0, 3.0), np.inf),
        ((1.0, np.nan, 3.0), (1.0, 9.0, 3.0), np.inf),
        ((1.0, 5.0, -np.inf), (1.0, 5.0, -np.inf), 0.0),
    ],
)
def test_the_loss_of_margin_is_told_by_all_other_classes(
    dense: tuple[float, ...], compressed: tuple[float, ...], loss: float
) -> None:
    assert margin_losses(np.array([dense]), np.array([compressed])).tolist() == [loss]


def test_below_a_loss_of_one_the_top_class_stays_and_above_it_does_not() -> None:
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((500, 5)).astype(np.float32)
    compressed = dense + 0.5 * rng.standard_normal((500, 5)).astype(np.float32)
    stays = dense.argmax(axis=1) == compressed.argmax(axis=1)
    assert 0 < stays.sum() < 500
    np.testing.assert_array_equal(margin_losses(dense, compressed) < 1.0, stays)


def test_scores_of_another_number_of_classes_keep_no_margin() -> None:
    assert margin_losses(np.eye(3), np.eye(3)[:, :2]).tolist() == [np.inf] * 3
