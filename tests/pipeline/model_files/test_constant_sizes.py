"""How large constants become, told by rules without computing them."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from netsurgeon.pipeline.model_files import constant_sizes
from netsurgeon.pipeline.model_files.constant_sizes import large_constant

SMALL = 1 << 10
"""Entries along each of two axes: four megabytes of floats."""


def model(nodes: list[onnx.NodeProto], **constants: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        [*nodes, helper.make_node("Identity", ["x"], ["y"])],
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


SQUARE = np.array([SMALL, SMALL], np.int64)
LARGE: dict[str, onnx.ModelProto] = {
    "filled": model([helper.make_node("ConstantOfShape", ["shape"], ["made"], "maker")], shape=SQUARE),
    "expanded": model(
        [helper.make_node("Expand", ["one", "shape"], ["made"], "maker")], one=np.ones(1, np.float32), shape=SQUARE
    ),
    "tiled": model(
        [helper.make_node("Tile", ["row", "repeats"], ["made"], "maker")],
        row=np.ones((1, SMALL), np.float32),
        repeats=np.array([SMALL, 1], np.int64),
    ),
    "broadcast": model(
        [helper.make_node("Add", ["row", "column"], ["made"], "maker")],
        row=np.ones((1, SMALL), np.float32),
        column=np.ones((SMALL, 1), np.float32),
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_what_a_node_makes_is_held_against_the_limit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert large_constant(LARGE[name]) is None
    monkeypatch.setattr(constant_sizes, "MOST_BYTES", 4 * SMALL * SMALL - 1)
    assert "maker" in (large_constant(LARGE[name]) or "")
    monkeypatch.setattr(constant_sizes, "MOST_BYTES", 4 * SMALL * SMALL)
    assert large_constant(LARGE[name]) is None, "as much as may be is not too much"


def test_what_hangs_on_an_input_is_no_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constant_sizes, "MOST_BYTES", 1)
    assert large_constant(model([helper.make_node("Exp", ["x"], ["made"], "maker")])) is None
