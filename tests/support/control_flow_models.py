"""Models with layers in bodies of If and Loop: a branch is taken by the sign of x[0, 0], a Loop runs three times."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.helper import make_node as node

Array = NDArray[Any]
WIDTH, HIDDEN, CLASSES = 16, 24, 6
FLOAT, BOOL, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.BOOL, onnx.TensorProto.INT64


def weight(*shape: int, seed: int = 0) -> Array:
    """Normal numbers that keep the size of what they multiply."""
    rng = np.random.default_rng([seed, *shape])
    numbers: Array = rng.standard_normal(shape) / np.sqrt(shape[0])
    return numbers.astype(np.float32)


def stored(**arrays: Array) -> list[onnx.TensorProto]:
    """Initializers."""
    return [numpy_helper.from_array(array, name) for name, array in arrays.items()]


def model_of(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], *, opset: int = 17) -> onnx.ModelProto:
    """A model from x (batch, WIDTH) to y."""
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", FLOAT, ["N", WIDTH])],
        [helper.make_tensor_value_info("y", FLOAT, ["N", CLASSES])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def choosing() -> onnx.ModelProto:
    """Gemm and Relu, then an If: two Gemms where x[0, 0] is positive, MatMul and Add where it is not; then a Gemm.

    Both branches store a weight called "w", which only one of them may keep once it lies beside the other.
    """
    then_branch = helper.make_graph(
        [
            node("Gemm", ["h", "w", "b"], ["t"], "then_wide"),
            node("Relu", ["t"], ["r"], "then_relu"),
            node("Gemm", ["r", "v"], ["then_out"], "then_narrow"),
        ],
        "then",
        [],
        [helper.make_tensor_value_info("then_out", FLOAT, None)],
        stored(w=weight(HIDDEN, HIDDEN, seed=1), b=weight(HIDDEN, seed=2), v=weight(HIDDEN, HIDDEN, seed=3)),
    )
    else_branch = helper.make_graph(
        [node("MatMul", ["h", "w"], ["m"], "else_wide"), node("Add", ["m", "c"], ["else_out"], "else_add")],
        "else",
        [],
        [helper.make_tensor_value_info("else_out", FLOAT, None)],
        stored(w=weight(HIDDEN, HIDDEN, seed=4), c=weight(HIDDEN, seed=5)),
    )
    nodes = [
        node("Gemm", ["x", "w1"], ["g"], "first"),
        node("Relu", ["g"], ["h"], "relu"),
        node("Gather", ["x", "zero"], ["row"], "row_of", axis=0),
        node("Gather", ["row", "zero"], ["entry"], "entry_of", axis=0),
        node("Greater", ["entry", "threshold"], ["positive"], "sign"),
        node("If", ["positive"], ["z"], "choice", then_branch=then_branch, else_branch=else_branch),
        node("Relu", ["z"], ["q"], "relu_behind"),
        node("Gemm", ["q", "w2"], ["y"], "last"),
    ]
    constants = {"w1": weight(WIDTH, HIDDEN, seed=6), "w2": weight(HIDDEN, CLASSES, seed=7)}
    return model_of(nodes, stored(**constants, zero=np.array(0), threshold=np.array(0.0, np.float32)))


def merged() -> onnx.ModelProto:
    """An If both of whose branches have the same three weights, as decoders have with and without a cache; then a Gemm.

    What differs is the activation at the end.
    """

    def branch(name: str, activation: str) -> onnx.GraphProto:
        nodes = [
            node("MatMul", ["h", "up"], [f"{name}_m"], f"{name}_up"),
            node("Add", [f"{name}_m", "bias"], [f"{name}_a"], f"{name}_add"),
            node("Relu", [f"{name}_a"], [f"{name}_r"], f"{name}_relu"),
            node("MatMul", [f"{name}_r", "down"], [f"{name}_n"], f"{name}_down"),
            node(activation, [f"{name}_n"], [f"{name}_out"], f"{name}_end"),
        ]
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(f"{name}_out", FLOAT, None)])

    branches = {"then_branch": branch("then", "Sigmoid"), "else_branch": branch("else", "Tanh")}
    nodes = [
        node("Identity", ["x"], ["h"], "entry"),
        node("Gather", ["x", "zero"], ["row"], "row_of", axis=0),
        node("Gather", ["row", "zero"], ["number"], "number_of", axis=0),
        node("Greater", ["number", "threshold"], ["positive"], "sign"),
        node("If", ["positive"], ["z"], "choice", **branches),
        node("MatMul", ["z", "last"], ["y"], "last"),
    ]
    weights = {"up": weight(WIDTH, 80), "bias": weight(80), "down": weight(80, WIDTH), "last": weight(WIDTH, CLASSES)}
    return model_of(nodes, stored(**weights, zero=np.array(0), threshold=np.array(0.0, np.float32)))


def looping(*, iterations: int | None = 3) -> onnx.ModelProto:
    """Gemm, then a Loop whose state goes through MatMul, Add and Tanh three times (None: so often as x is long)."""
    body = helper.make_graph(
        [
            node("Identity", ["go"], ["go_on"], "on"),
            node("MatMul", ["state", "w"], ["m"], "recurrent"),
            node("Add", ["m", "b"], ["a"], "recurrent_add"),
            node("Tanh", ["a"], ["next"], "tanh"),
        ],
        "body",
        [
            helper.make_tensor_value_info("at", INT64, []),
            helper.make_tensor_value_info("go", BOOL, []),
            helper.make_tensor_value_info("state", FLOAT, None),
        ],
        [helper.make_tensor_value_info("go_on", BOOL, []), helper.make_tensor_value_info("next", FLOAT, None)],
        stored(w=3 * weight(HIDDEN, HIDDEN, seed=1), b=weight(HIDDEN, seed=2)),
    )
    nodes = [
        node("Gemm", ["x", "w1"], ["h"], "first"),
        node("Loop", ["count", "yes", "h"], ["z"], "loop", body=body),
        node("Gemm", ["z", "w2"], ["y"], "last"),
    ]
    constants = stored(w1=weight(WIDTH, HIDDEN, seed=6), w2=weight(HIDDEN, CLASSES, seed=7), yes=np.array(True))
    if iterations is not None:
        constants += stored(count=np.array(iterations))
    else:
        nodes[:0] = [
            node("ReduceMax", ["x"], ["top"], "top_of", keepdims=0),
            node("Cast", ["top"], ["count"], "count_of", to=INT64),
        ]
    return model_of(nodes, constants)


def inputs(count: int, *, sign: int = 0, seed: int = 0) -> Array:
    """Inputs that mostly lie in a few directions, so that corrections pay; sign of the first entry, 0 = both."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, 5)) @ weight(5, WIDTH, seed=8)
    rows += 0.3 * rng.standard_normal((count, WIDTH))
    if sign:
        rows[:, 0] = sign * np.abs(rows[:, 0]) - (0.01 if sign < 0 else -0.01)
    return rows.astype(np.float32)
