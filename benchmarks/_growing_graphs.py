"""Graphs of so many nodes, of the kinds that took too long to open, to analyse or to compress."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 8


def _model(nodes: list[onnx.NodeProto], weights: dict[str, np.typing.NDArray[np.float32]]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTH])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", WIDTH])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _weight(rows: int = WIDTH) -> np.typing.NDArray[np.float32]:
    weight = np.random.default_rng(rows).standard_normal((rows, WIDTH)) / np.sqrt(rows)
    return np.asarray(weight, np.float32)


def constants(count: int) -> onnx.ModelProto:
    """A weight behind so many constant nodes."""
    nodes = [helper.make_node("Add", [f"w{at}", "one"], [f"w{at + 1}"]) for at in range(count - 1)]
    nodes.append(helper.make_node("MatMul", ["x", f"w{count - 1}"], ["z"], "layer"))
    return _model(nodes, {"w0": _weight(), "one": np.full(1, 1e-6, np.float32)})


def deep(count: int) -> onnx.ModelProto:
    """Layers one behind the other."""
    nodes = []
    for at in range(count // 2):
        nodes.append(helper.make_node("MatMul", [f"h{at}" if at else "x", f"w{at}"], [f"m{at}"]))
        nodes.append(helper.make_node("Relu", [f"m{at}"], ["z" if at == count // 2 - 1 else f"h{at + 1}"]))
    return _model(nodes, {f"w{at}": _weight() for at in range(count // 2)})


def residual(count: int) -> onnx.ModelProto:
    """Blocks that each add to the one before, so that all axes hang together."""
    nodes = [helper.make_node("MatMul", ["x", "first"], ["h0"])]
    for at in range(count // 2):
        nodes.append(helper.make_node("MatMul", [f"h{at}", f"w{at}"], [f"m{at}"]))
        nodes.append(helper.make_node("Add", [f"h{at}", f"m{at}"], [f"h{at + 1}"]))
    nodes.append(helper.make_node("MatMul", [f"h{count // 2}", "last"], ["z"]))
    weights = {f"w{at}": 0.01 * _weight() for at in range(count // 2)}
    return _model(nodes, {"first": _weight(), "last": _weight(), **weights})


def shared(count: int) -> onnx.ModelProto:
    """Layers one behind the other, all of the same weight."""
    nodes = []
    for at in range(count // 2):
        nodes.append(helper.make_node("MatMul", [f"h{at}" if at else "x", "w"], [f"m{at}"]))
        nodes.append(helper.make_node("Tanh", [f"m{at}"], ["z" if at == count // 2 - 1 else f"h{at + 1}"]))
    return _model(nodes, {"w": _weight()})


def parts(count: int) -> onnx.ModelProto:
    """Values that are cut into two and joined again the other way round, between layers."""
    nodes, steps = [], count // 3
    for at in range(steps):
        nodes.append(helper.make_node("MatMul", [f"h{at}" if at else "x", f"w{at}"], [f"m{at}"]))
        nodes.append(helper.make_node("Split", [f"m{at}"], [f"a{at}", f"b{at}"], axis=1))
        output = "z" if at == steps - 1 else f"h{at + 1}"
        nodes.append(helper.make_node("Concat", [f"b{at}", f"a{at}"], [output], axis=1))
    return _model(nodes, {f"w{at}": _weight() for at in range(steps)})


def flattened(count: int) -> onnx.ModelProto:
    """Layers between reshapes that cut their units into heads: each is a choice of what may go."""
    nodes, steps = [], count // 3
    for at in range(steps):
        nodes.append(helper.make_node("MatMul", [f"h{at}" if at else "x", f"w{at}"], [f"m{at}"]))
        nodes.append(helper.make_node("Reshape", [f"m{at}", "cut"], [f"c{at}"]))
        nodes.append(helper.make_node("Reshape", [f"c{at}", "flat"], ["z" if at == steps - 1 else f"h{at + 1}"]))
    weights = {f"w{at}": _weight() for at in range(steps)}
    model = _model(nodes, weights)
    for name, sizes in (("cut", [0, 2, WIDTH // 2]), ("flat", [0, WIDTH])):
        model.graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), name))
    return model


def branches(count: int) -> onnx.ModelProto:
    """Pairs of layers beside each other, that are summed up."""
    nodes, pairs = [], count // 3
    for at in range(pairs):
        nodes.append(helper.make_node("MatMul", ["x", f"v{at}"], [f"m{at}"]))
        nodes.append(helper.make_node("Relu", [f"m{at}"], [f"h{at}"]))
        nodes.append(helper.make_node("MatMul", [f"h{at}", f"w{at}"], [f"s{at}"]))
    nodes.append(helper.make_node("Sum", [f"s{at}" for at in range(pairs)], ["z"]))
    return _model(nodes, {f"{name}{at}": _weight() for name in "vw" for at in range(pairs)})


def wide(count: int) -> onnx.ModelProto:
    """Layers beside each other, whose units are joined and read by one more."""
    branches = count // 2
    nodes = []
    for at in range(branches):
        nodes.append(helper.make_node("MatMul", ["x", f"w{at}"], [f"m{at}"]))
        nodes.append(helper.make_node("Relu", [f"m{at}"], [f"h{at}"]))
    nodes.append(helper.make_node("Concat", [f"h{at}" for at in range(branches)], ["all"], axis=1))
    nodes.append(helper.make_node("MatMul", ["all", "last"], ["z"]))
    return _model(nodes, {"last": _weight(branches * WIDTH), **{f"w{at}": _weight() for at in range(branches)}})
