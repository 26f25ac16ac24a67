"""Models to pack, what they compute, and what their files hold."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from netsurgeon.passes.packing.encodings import Encoding
from netsurgeon.passes.packing.pack_weights import Packing, PackWeights
from netsurgeon.passes.packing.unpack_weights import UnpackWeights

Array = NDArray[Any]


OFF = ort.GraphOptimizationLevel.ORT_DISABLE_ALL


EXTENDED = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED


FLOATS = ("float16", "float32", "float64")


LAYOUTS = [Encoding("dense", ""), Encoding("bitmap", "")] + [Encoding("gaps", "", bits) for bits in (2, 3, 5, 8)]


def model_of(weight: Array, operator: str = "Identity", opset: int = 13) -> ir.Model:
    """One operator on the initializer ``w``: ``Identity`` gives the weight itself."""
    value = ir.val("w", const_value=ir.tensor(weight, name="w"))
    dtype = ir.DataType.from_numpy(weight.dtype)
    shapes: dict[str, tuple[list[int], list[int]]] = {
        "Identity": ([1], list(weight.shape)),
        "Gemm": ([3, weight.shape[0]], [3, *weight.shape[1:]]),
        "Conv": ([1, *weight.shape[1:]], [1, weight.shape[0], 1, 1]),
    }
    entry = ir.val("x", dtype, shapes[operator][0])
    inputs = [value] if operator == "Identity" else [entry, value]
    node = ir.node(operator, inputs, outputs=[ir.val("y", dtype, shapes[operator][1])], name="op")
    graph = ir.Graph([entry], node.outputs, nodes=[node], initializers=[value], opset_imports={"": opset}, name="g")
    return ir.Model(graph, ir_version=7)


def run(model: ir.Model, level: Any = EXTENDED, optimized: Path | None = None) -> Array:
    """The first output in ONNX Runtime on a fixed input."""
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    if level == OFF:
        # A weight that is not folded cannot be rearranged ahead of time, and without this the plain model's is: the
        # two would take different matrix kernels, which differ in the last bit.
        options.add_session_config_entry("session.disable_prepacking", "1")
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    source = ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    dtype = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}[entry.type]
    data = np.random.default_rng(7).standard_normal(entry.shape).astype(dtype)
    return np.asarray(session.run(None, {entry.name: data})[0])


def assert_same(expected: ir.Model, actual: ir.Model) -> None:
    """Both models give the same bytes, with ONNX Runtime's optimisation off and on."""
    for level in (OFF, EXTENDED):
        assert run(expected, level).tobytes() == run(actual, level).tobytes()


def plain(model: ir.Model) -> tuple[list[Any], dict[str, bytes]]:
    """Nodes and initializers, for an exact comparison."""
    proto = ir.to_proto(model)
    nodes = [node.SerializeToString() for node in proto.graph.node]
    return nodes, {tensor.name: tensor.SerializeToString() for tensor in proto.graph.initializer}


def sparse(shape: tuple[int, ...], sparsity: float, dtype: str = "float32", seed: int = 0, grid: int = 0) -> Array:
    """Normal values, at most ``grid`` distinct ones if given, a share of them zero."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal(shape)
    if grid:
        weight = rng.choice(np.linspace(0.5, 2, grid), shape)
    weight[rng.random(shape) < sparsity] = 0
    return weight.astype(np.float16).astype(dtype) if grid else weight.astype(dtype)


def pack_as(weight: Array, encoding: Encoding, operator: str = "Identity") -> ir.Model:
    model = model_of(weight, operator)
    PackWeights([Packing(name="w", encoding=encoding, bytes_before=0, bytes_after=0)])(model)
    return model


def unpacked_weight(model: ir.Model) -> Array:
    UnpackWeights()(model)
    tensor = model.graph.initializers["w"].const_value
    assert tensor is not None
    return tensor.numpy()
