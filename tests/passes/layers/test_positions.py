"""How often weights are used for one input, as the shapes of the layers' outputs say."""

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from netsurgeon.passes.layers.positions import UNKNOWN_EXTENT, multiply_adds_of, positions_of


def model(height: int | str) -> ir.Model:
    """A convolution of 3 channels, every second row and column, and a layer of 5 outputs behind its mean."""
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], "conv", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("ReduceMean", ["c"], ["p"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["p", "w"], ["y"], "gemm"),
    ]
    weights = {"k": np.ones((3, 2, 3, 3), np.float32), "w": np.ones((3, 5), np.float32)}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, height, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def test_a_convolution_uses_its_weights_at_every_place_of_its_output() -> None:
    assert positions_of(model(6)) == {"conv": 3 * 4, "gemm": 1}
    assert multiply_adds_of(model(6)) == 12 * 54 + 15


def test_an_extent_that_is_left_open_is_taken_for_a_usual_one() -> None:
    assert positions_of(model("H")) == {"conv": UNKNOWN_EXTENT * 4, "gemm": 1}
