"""Models of one layer to prune, their moments, and what they compute."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from netsurgeon.passes.layers.layer import Layer
from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.passes.pruning.layer_moments import LayerMoments
from netsurgeon.passes.solvers.statistics import Moments

Array = NDArray[Any]


INFO = {np.dtype(np.float32): onnx.TensorProto.FLOAT, np.dtype(np.float16): onnx.TensorProto.FLOAT16}


def normal(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def build(nodes: list[onnx.NodeProto], constants: dict[str, Array], shape: list[int | None]) -> ir.Model:
    kind = INFO[next(iter(constants.values())).dtype]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("z", kind, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def conv(bias: bool = True, dtype: Any = np.float32, channels: int = 4) -> ir.Model:
    constants = {"w": normal(6, channels, 3, 3, dtype=dtype)} | ({"b": normal(6, dtype=dtype)} if bias else {})
    node = helper.make_node("Conv", ["x", *constants], ["z"], "layer", pads=[1, 1, 1, 1])
    return build([node], constants, [None, channels, 5, 5])


def gemm(bias: bool = True, dtype: Any = np.float32) -> ir.Model:
    constants = {"w": normal(6, 16, dtype=dtype)} | ({"b": normal(6, dtype=dtype)} if bias else {})
    node = helper.make_node("Gemm", ["x", *constants], ["z"], "layer", transB=1, alpha=0.5, beta=2.0)
    return build([node], constants, [None, 16])


def matmul(bias: bool = True, dtype: Any = np.float32) -> ir.Model:
    constants = {"w": normal(16, 6, dtype=dtype)} | ({"b": normal(6, dtype=dtype)} if bias else {})
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y" if bias else "z"], "layer")]
    nodes += [helper.make_node("Add", ["y", "b"], ["z"], "adder")] if bias else []
    return build(nodes, constants, [None, 16])


MODELS = {"Conv": conv, "Gemm": gemm, "MatMul": matmul}


KINDS = pytest.mark.parametrize("kind", list(MODELS))


def inputs(model: ir.Model, count: int = 60, seed: int = 0) -> Array:
    """Correlated inputs whose mean is far from zero."""
    value = model.graph.inputs[0]
    assert value.shape is not None
    assert value.dtype is not None
    shape = [int(extent) for extent in value.shape.numpy()[1:]] if value.shape.is_static() else []
    shape = shape or [extent for extent in value.shape if isinstance(extent, int)]
    x = normal(count, *shape, seed=seed)
    x = x + 0.7 * np.roll(x, 1, axis=1) + np.linspace(0.5, 2.0, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return x.astype(value.dtype.numpy())


def run(model: ir.Model, x: Array) -> Array:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
    result: Array = session.run(None, {"x": x})[0].astype(np.float64)
    return result


def layer_of(model: ir.Model, name: str = "layer") -> Layer:
    return next(layer for layer in find_layers(model.graph)[0] if layer.name == name)


def moments_of(layer: Layer, x: Array, current: Array | None = None) -> LayerMoments:
    rows = layer.samples(x)
    others = layer.samples(current) if current is not None else None
    fit = Moments(layer.groups, layer.columns, paired=others is not None)
    end = rows.shape[1] * 4 // 5
    fit.update(rows[:, :end], None if others is None else others[:, :end])
    held = fit.like()
    held.update(rows[:, end:], None if others is None else others[:, end:])
    return LayerMoments(fit, held)


def means(z: Array) -> Array:
    return np.asarray(z.mean(axis=(0, 2, 3)) if z.ndim == 4 else z.mean(axis=0))


def nonzeros(model: ir.Model) -> int:
    return int(np.count_nonzero(layer_of(model).matrix()))
