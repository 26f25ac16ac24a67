"""Models that are wrong in one way, or that ask for more than there is."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
DENSE: Mapping[str, Array] = {"w": np.random.default_rng(1).standard_normal((8, 4)).astype(np.float32)}


def model(
    nodes: Sequence[onnx.NodeProto] | None = None,
    weights: Mapping[str, Array] = DENSE,
    *,
    x: Sequence[str | int] = ("n", 8),
    z: Sequence[str | int] = ("n", 4),
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    """``z = Relu(x w)``, or other nodes."""
    nodes = nodes or [
        helper.make_node("MatMul", ["x", "w"], ["y"], "layer"),
        helper.make_node("Relu", ["y"], ["z"], "relu"),
    ]
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x))],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, list(z))],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, functions=list(functions), opset_imports=opsets, ir_version=8)


def nested_functions(count: int, calls: int = 1, *, circle: bool = False) -> onnx.ModelProto:
    """Functions each of which calls the next one so often."""
    functions = []
    for at in range(count):
        inner, domain = (f"F{at + 1}", "own") if at + 1 < count else ("F0", "own") if circle else ("Relu", "")
        names = ["x", *(f"t{call}" for call in range(1, calls)), "y"]
        body = [helper.make_node(inner, [names[i]], [names[i + 1]], domain=domain) for i in range(calls)]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        functions.append(helper.make_function("own", f"F{at}", ["x"], ["y"], body, opsets))
    call = helper.make_node("F0", ["x"], ["z"], "call", domain="own")
    return model([call], {}, z=("n", 8), functions=functions)


def sliced(batch: int = -1) -> onnx.ModelProto:
    """A Slice and a layer behind an input whose second dimension is `batch`."""
    nodes = [
        helper.make_node("Slice", ["x", "starts", "ends", "axes"], ["y"], "slice"),
        helper.make_node("MatMul", ["y", "w"], ["z"], "layer"),
    ]
    vectors = {"starts": np.array([0]), "ends": np.array([8]), "axes": np.array([1])}
    return model(nodes, {**DENSE, **vectors}, x=("n", batch))


def convolution(**attributes: Any) -> onnx.ModelProto:
    """One Conv of four channels."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["z"], "layer", **attributes)]
    shape = ("n", 4, 5, 5)
    return model(nodes, {"w": np.ones((4, 4, 1, 1), np.float32)}, x=shape, z=shape)


def filled(rows: int, columns: int) -> onnx.ModelProto:
    """A layer whose weight a ConstantOfShape makes."""
    one = numpy_helper.from_array(np.ones(1, np.float32))
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["w"], "fill", value=one),
        helper.make_node("MatMul", ["x", "w"], ["z"], "layer"),
    ]
    return model(nodes, {"shape": np.array([rows, columns])}, x=("n", rows), z=("n", columns))


def outer_product(size: int) -> onnx.ModelProto:
    """A layer whose weight is a column times a row."""
    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["w"], "outer"),
        helper.make_node("MatMul", ["x", "w"], ["z"], "layer"),
    ]
    weights = {"a": np.ones((size, 1), np.float32), "b": np.ones((1, size), np.float32)}
    return model(nodes, weights, x=("n", size), z=("n", size))


def reversed_nodes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its nodes in the wrong order."""
    nodes = list(proto.graph.node)[::-1]
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    return changed


def with_tensor(**changes: Any) -> onnx.ModelProto:
    """The model with a changed weight: `dims`, `data_type`, or entries of a field."""
    changed = model()
    tensor = changed.graph.initializer[0]
    for name, value in changes.items():
        if isinstance(value, list):
            tensor.ClearField(name)
            getattr(tensor, name).extend(value)
        elif value is None:
            tensor.ClearField(name)
        else:
            setattr(tensor, name, value)
    return changed
