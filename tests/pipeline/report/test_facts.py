"""What the report says of each layer is true of the file."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from perceptron_models import DIGITS, UNIFORM, inputs, perceptron, weights_of

from netsurgeon.passes.packing.unpack_weights import UnpackWeights
from netsurgeon.pipeline.compress import Compression, compress


def test_report_of_layers_is_true_of_the_file(delivered: tuple[Path, Compression]) -> None:
    folder, result = delivered
    plain = ir.load(folder / "small.onnx")
    UnpackWeights()(plain)
    nodes = {node.name: node for node in plain.graph}
    dense = weights_of(DIGITS / "digits.onnx")
    for layer in result.report.layers:
        weight = nodes[layer.name].inputs[1]
        assert weight is not None
        assert weight.const_value is not None
        array = weight.const_value.numpy()
        assert layer.weights == dense[weight.name or ""].size
        assert layer.kept == np.count_nonzero(array)
        assert layer.bytes_before == dense[weight.name or ""].nbytes
        assert layer.bytes_after <= layer.bytes_before
    total = sum(layer.weights for layer in result.report.layers)
    assert 0.9 * (total - round(0.9 * total)) < sum(layer.kept for layer in result.report.layers)
    assert sum(layer.kept for layer in result.report.layers) <= total - round(0.9 * total)


@pytest.mark.parametrize(("dtype", "size"), [(np.float16, 2), (np.float32, 4), (np.float64, 8)])
def test_what_is_not_packed_is_dense_and_as_large_as_before(dtype: type, size: int) -> None:
    report = compress(perceptron(dtype), inputs(dtype=dtype), sparsity=0.5, pack=False, **UNIFORM).report
    for layer, count in zip(report.layers, (32 * 64, 64 * 10), strict=True):
        assert (layer.stored, layer.weights, layer.kept) == ("dense", count, count // 2)
        assert layer.bytes_before == layer.bytes_after == count * size
        assert layer.sparsity == 0.5


def test_each_layer_has_its_operator_shape_and_effort() -> None:
    report = compress(perceptron(), inputs(), sparsity=0.5, keep_unread=True, method="obs").report
    assert [(layer.name, layer.operator, layer.shape) for layer in report.layers] == [
        ("first", "Gemm", (1, 64, 32)),
        ("second", "Gemm", (1, 10, 64)),
    ]
    for layer in report.layers:
        assert layer.sensitivity is not None
        assert layer.sensitivity > 0.0
        assert layer.damping > 0.0
        assert layer.samples == report.calibration.samples == 70
        assert layer.error is not None
        assert layer.error > 0.0
        assert layer.seconds >= 0.0


def test_layers_that_lost_nothing_have_no_error() -> None:
    """The error bound lists only what has changed."""
    options = {**UNIFORM, "method": "magnitude", "values": "float32"}
    report = compress(perceptron(), inputs(), sparsity=0.0, **options).report
    assert not report.bound.layers
    assert [(layer.kept, layer.error) for layer in report.layers] == [(2048, 0.0), (640, 0.0)]
