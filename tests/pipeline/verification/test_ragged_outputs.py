"""Outputs of varying length: compared feed by feed, scored in the order of the source, never joined."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.data.samples import Samples
from netsurgeon.pipeline.model_files.loading import input_specs
from netsurgeon.pipeline.runtime.session import Runtime, Session
from netsurgeon.pipeline.verification.drop_evaluator import DropEvaluator
from netsurgeon.pipeline.verification.judging import Judging, choose_measure
from netsurgeon.pipeline.verification.validation import validate

LENGTHS = [4, 1, 2, 4, 1, 3, 2, 4] * 4


def model(factor: float = 1.0) -> ir.Model:
    """Every number times a factor, and their sum."""
    return ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,S] x) => (float[N,S] y, float[N] total) '
        f"<float factor = {{{factor}}}, int64[1] axes = {{-1}}> "
        "{ y = Mul(x, factor) total = ReduceSum <keepdims = 0> (y, axes) }"
    )


def session(factor: float = 1.0) -> Session:
    return Runtime().session(model(factor))


def arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(length).astype(np.float32) for length in LENGTHS]


def samples() -> Samples:
    return open_samples({"x": arrays(), "labels": list(range(len(LENGTHS)))}, input_specs(model()), batch_size=8)


def judging(metric: Any = None) -> Judging:
    return choose_measure(model(), session(), samples(), metric=metric)


def evaluator(metric: Any = None) -> DropEvaluator:
    return DropEvaluator(session(), samples(), judging(metric).measure(samples()))


def in_order(outputs: Any, labels: Any) -> float:
    """1 where everything stands beside its label in the order of the source, times the mean of the totals."""
    assert isinstance(outputs["y"], list)
    assert len(outputs["y"]) == len(outputs["total"]) == len(labels)
    sums = np.array([row.sum() for row in outputs["y"]])
    np.testing.assert_allclose(sums, outputs["total"], rtol=1e-5, atol=1e-6)
    return float(np.mean(np.abs(outputs["total"])))


def test_errors_are_those_of_all_numbers() -> None:
    result = validate(session(), session(0.9), samples(), judging=judging(), held_out=True)
    by_name = {output.output: output for output in result.outputs}
    assert by_name["y"].relative_error == pytest.approx(0.1, rel=1e-4)
    assert by_name["total"].relative_error == pytest.approx(0.1, rel=1e-4)
    assert result.measure == "outputs"  # rows of one number, of two and of four are no scores of the same classes


def test_a_metric_gets_one_array_a_sample_in_the_order_of_the_source() -> None:
    def sees_the_source(outputs: Any, labels: Any) -> float:
        assert labels.tolist() == list(range(len(LENGTHS)))
        for row, array in zip(outputs["y"], arrays(), strict=True):
            assert row.shape == array.shape
        return in_order(outputs, labels)

    result = validate(session(), session(0.5), samples(), judging=judging(sees_the_source), held_out=True)
    assert result.dense.metric is not None
    assert result.compressed.metric == pytest.approx(0.5 * result.dense.metric, rel=1e-5)


def test_a_metric_that_guides_a_search_is_resampled_by_sample() -> None:
    drop = evaluator(in_order).estimate_drop(session(0.5))
    assert drop.drop == pytest.approx(0.5 * drop.dense, rel=1e-5)
    assert drop.low < drop.drop


def test_without_a_metric_outputs_are_compared_by_their_energy() -> None:
    drop = evaluator().estimate_drop(session(0.9))
    assert drop.measure == "outputs"
    assert drop.drop == pytest.approx(0.01, rel=1e-3)
    assert drop.samples == len(LENGTHS)
