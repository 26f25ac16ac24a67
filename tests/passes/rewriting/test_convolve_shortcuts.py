"""Shortcuts of Slice and Pad become convolutions where they are, and stay where they are something else."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from netsurgeon.passes.rewriting.convolve_shortcuts import ConvolveShortcuts
from netsurgeon.passes.rewriting.normalise import normal_form

Array = NDArray[Any]
END = 2**63 - 1


def model_of(
    pads: tuple[int, ...] = (0, 1, 0, 0, 0, 3, 0, 0),
    starts: tuple[int, ...] = (0, 0),
    ends: tuple[int, ...] = (END, END),
    axes: tuple[int, ...] = (2, 3),
    steps: tuple[int, ...] = (2, 2),
    filler: float = 0.0,
    mode: str = "constant",
    join: str = "Add",
    main: str = "Conv",
    dtype: Any = np.float32,
) -> ir.Model:
    """A block with a stride whose shortcut is sliced and padded: x (N, 4, 9, 9) to y (N, 8, 5, 5)."""
    rng = np.random.default_rng(0)
    constants: dict[str, Array] = {
        "w": rng.standard_normal((8, 4, 3, 3)).astype(dtype),
        "starts": np.array(starts),
        "ends": np.array(ends),
        "axes": np.array(axes),
        "steps": np.array(steps),
        "pads": np.array(pads),
        "filler": np.array(filler, dtype),
        "picked": np.zeros(8, np.int64),
    }
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Conv", ["r", "w"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Slice", ["r", "starts", "ends", "axes", "steps"], ["s"]),
        helper.make_node("Pad", ["s", "pads", "filler"], ["p"], mode=mode),
        helper.make_node("Gather", ["c", "picked"], ["g"], axis=1),
        helper.make_node(join, ["c" if main == "Conv" else "g", "p"], ["y"]),
    ]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes,
        "block",
        [helper.make_tensor_value_info("x", kind, ["N", 4, 9, 9])],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model = ir.from_proto(proto)
    normal_form()(model)
    return model


def run(model: ir.Model, x: Array) -> Array:
    proto: onnx.ModelProto = ir.to_proto(model)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def inputs() -> Array:
    return np.random.default_rng(1).standard_normal((3, 4, 9, 9)).astype(np.float32)


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"join": "Sum"},
        {"axes": (-2, -1)},
        {"pads": (0, 4, 0, 0, 0, 0, 0, 0)},
        {"axes": (2, 3), "steps": (2, 2), "ends": (2**31 - 1, END)},
    ],
)
def test_a_shortcut_is_a_convolution_of_the_same_values(how: dict[str, Any]) -> None:
    model = model_of(**how)
    before, x = run(model, inputs()), inputs()
    assert ConvolveShortcuts()(model).modified
    assert sorted(operators(model)) == sorted(["Relu", "Conv", "Conv", how.get("join", "Add")])
    np.testing.assert_allclose(run(model, x), before, rtol=1e-6, atol=1e-6)
    assert not ConvolveShortcuts()(model).modified


def test_slices_one_after_the_other_are_one_stride() -> None:
    model = model_of(axes=(2,), starts=(0,), ends=(END,), steps=(2,))
    first = next(node for node in model.graph if node.op_type == "Slice")
    axes, second = ir.val("axes3", const_value=ir.tensor(np.array([3]), name="axes3")), ir.Value(name="s3")
    model.graph.register_initializer(axes)
    again = ir.node("Slice", [first.outputs[0], *first.inputs[1:3], axes, first.inputs[4]], outputs=[second])
    first.outputs[0].replace_all_uses_with(second)
    again.replace_input_with(0, first.outputs[0])
    model.graph.insert_after(first, again)
    before = run(model, inputs())
    assert ConvolveShortcuts()(model).modified
    assert "Slice" not in operators(model)
    np.testing.assert_allclose(run(model, inputs()), before, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("how", [{"ends": (9, 9)}, {"starts": (0, -9)}])
def test_a_slice_that_is_more_than_a_stride_stays_before_the_convolution(how: dict[str, Any]) -> None:
    model = model_of(**how)
    before = run(model, inputs())
    assert ConvolveShortcuts()(model).modified
    assert sorted(operators(model)) == ["Add", "Conv", "Conv", "Relu", "Slice"]
    np.testing.assert_allclose(run(model, inputs()), before, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "how",
    [
        {"filler": 1.0},
        {"mode": "edge", "pads": (0, 2, 0, 0, 0, 2, 0, 0)},
        {"main": "Gather"},
        {"join": "Mul"},
        {"starts": (1, 1), "ends": (END, END), "pads": (0, 1, 0, 0, 0, 3, 1, 1)},
        {"dtype": np.float64},
    ],
)
def test_what_is_something_else_stays(how: dict[str, Any]) -> None:
    model = model_of(**how)
    before = ir.to_proto(model).SerializeToString()
    assert not ConvolveShortcuts()(model).modified
    assert ir.to_proto(model).SerializeToString() == before


def test_channels_that_nobody_knows_stay() -> None:
    model = model_of()
    relu, entry = model.graph[0], model.graph.inputs[0]
    entry.shape = ir.Shape(["N", "C", 9, 9])
    weight = next(node for node in model.graph if node.op_type == "Conv").inputs[0]
    assert weight is relu.outputs[0]
    assert not ConvolveShortcuts()(model).modified
