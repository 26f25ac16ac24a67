"""The last measurement: on inputs that corrections never saw, or by halves where they are few, and the error bound."""

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from perceptron_models import UNIFORM, inputs, perceptron, random

from netsurgeon.passes.solvers import FactorizationError
from netsurgeon.pipeline.compare import compare
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.run import final_validation
from netsurgeon.pipeline.runtime import large_models


def test_a_part_is_held_out_where_there_is_no_test() -> None:
    report = compress(perceptron(), inputs(64), sparsity=0.5, **UNIFORM).report
    assert (report.calibration.samples, report.validation.samples) == (56, 8)
    assert report.validation.held_out
    assert report.test is None


def test_of_few_inputs_each_half_is_measured_by_a_model_corrected_on_the_other() -> None:
    """The error on the inputs of the corrections says little: on others it is many times as large."""
    few, many = inputs(30), {"x": random(500, 32, seed=9)}
    result = compress(perceptron(), few, sparsity=0.5, **UNIFORM)
    report = result.report
    assert (report.calibration.samples, report.validation.samples, report.validation.folds) == (30, 30, 2)
    assert report.validation.held_out
    (reported,) = report.validation.outputs
    (flattered,) = compare(perceptron(), result.model, few).validation.outputs
    (true,) = compare(perceptron(), result.model, many).validation.outputs
    assert flattered.relative_error < 0.7 * true.relative_error < reported.relative_error


@pytest.mark.parametrize("failure", [FactorizationError, CheckFailedError])
def test_a_model_is_delivered_though_half_of_few_inputs_is_too_little_to_correct_one(
    failure: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delivered model was corrected on twice as many: what fails on a half says nothing of it."""

    def fails(*_: object) -> None:
        raise failure("layer 'first', damping 0: the Hessian has no Cholesky factor")

    monkeypatch.setattr(final_validation, "apply_plan", fails)
    report = compress(perceptron(), inputs(30), sparsity=0.5, **UNIFORM).report
    assert (report.validation.samples, report.validation.folds) == (30, 1)
    assert not report.validation.held_out


def test_test_inputs_are_held_out() -> None:
    report = compress(perceptron(), inputs(40), test=random(9, 32, seed=5), sparsity=0.5, **UNIFORM).report
    assert report.validation.held_out
    assert report.test is not None
    assert (report.test.samples, report.validation.samples) == (9, 9)


def test_the_bound_of_a_large_model_is_measured_on_fewer_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compress(perceptron(), inputs(80), sparsity=0.5, **UNIFORM).report.bound.samples == 64
    monkeypatch.setattr(large_models, "IN_MEMORY_LIMIT", 1000)
    assert compress(perceptron(), inputs(80), sparsity=0.5, **UNIFORM).report.bound.samples == 16


def overflowing(unit: int) -> onnx.ModelProto:
    """A perceptron whose first output is infinite for inputs that one unit answers to by more than 2."""
    model = perceptron()
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == "w2")
    values = np.array(onnx.numpy_helper.to_array(weight))
    values[unit, 0] = 1.5e38
    weight.CopyFrom(onnx.numpy_helper.from_array(values, "w2"))
    return model


def test_what_is_delivered_must_be_finite_where_the_dense_model_is_for_each_half_of_few_inputs() -> None:
    """Models corrected on halves were finite, and the delivered one, which no half shows, overflowed for one input."""
    with pytest.raises(CheckFailedError, match="'y' of the compressed model is NaN or infinite where it was not"):
        compress(overflowing(50), {"x": random(16, 32, seed=3)}, sparsity=0.3, **UNIFORM)


def test_what_was_measured_itself_is_not_run_a_second_time_to_be_seen_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(final_validation, "check_finite", fails)
    compress(perceptron(), inputs(40), test=random(9, 32, seed=5), sparsity=0.5, **UNIFORM)
    with pytest.raises(AssertionError):  # of few inputs each half was measured by a model of its own
        compress(perceptron(), inputs(30), sparsity=0.5, **UNIFORM)


def test_a_dense_model_that_is_infinite_for_a_part_of_the_inputs_is_named() -> None:
    report = compress(overflowing(4), {"x": random(16, 32, seed=3)}, sparsity=0.3, **UNIFORM).report
    (warning,) = (warning for warning in report.warnings if warning.code == "outputs-not-finite")
    assert warning.data == {"output": "y", "inputs": 5, "samples": 16, "first": "sample 11 of the mapping"}
    (output,) = report.bound.outputs
    assert np.isfinite(output.measured), "the error is that of inputs for which there is one"
