"""The last measurement: on inputs that corrections never saw, or by halves where they are few, and the error bound."""

from perceptron_models import UNIFORM, inputs, perceptron, random

from netsurgeon.pipeline.compare import compare
from netsurgeon.pipeline.compress import compress


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


def test_test_inputs_are_held_out() -> None:
    report = compress(perceptron(), inputs(40), test=random(9, 32, seed=5), sparsity=0.5, **UNIFORM).report
    assert report.validation.held_out
    assert report.test is not None
    assert (report.test.samples, report.validation.samples) == (9, 9)
