"""What the report says of each layer is true of the file."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
from perceptron_models import DIGITS, weights_of

from netsurgeon.passes.packing.unpack_weights import UnpackWeights
from netsurgeon.pipeline.compress import Compression


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
