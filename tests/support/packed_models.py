"""Models to pack, what they compute, and what their files hold."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from netsurgeon.passes.packing.encodings import Encoding
from netsurgeon.passes.packing.pack_weights import PackWeights
from netsurgeon.passes.packing.shared_streams import Packing
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


def packed_before(weight: Array, layout: str) -> ir.Model:
    """``Gemm`` with a float32 weight as earlier versions packed it, in bytes: ``gaps`` (4 bit) or ``bitmap``.

    Either has a codebook of at most 16 values with zero, with indices of 4 bits.
    """
    flat = weight.reshape(-1)
    book = np.unique(np.append(flat, np.float32(0)))
    positions = np.flatnonzero(flat)
    if layout == "bitmap":
        stream = np.append(np.float32(0), flat[positions])
        places = _bytes_of((flat != 0).astype(np.uint8), 1)
    else:
        gaps = np.diff(positions, prepend=0)
        assert gaps.max() < 16
        stream, places = flat[positions], _bytes_of(gaps.astype(np.uint8), 4)
    arrays: dict[str, Array] = {
        "book": book.astype(np.float16),
        "indices": _bytes_of(np.searchsorted(book, stream).astype(np.uint8), 4),
        "places": places,
        "by1": np.arange(8, dtype=np.uint8),
        "by4": np.array([0, 4], np.uint8),
        "two": np.array(2, np.uint8),
        "sixteen": np.array(16, np.uint8),
        "flat": np.array([-1]),
        "start": np.array([0]),
        "stream": np.array([stream.size]),
        "size": np.array([flat.size]),
        "axis": np.array(0),
        "shape": np.array(weight.shape),
    }
    tail = {
        "bitmap": """
            i = BitShift <direction = "RIGHT"> (places, by1)
            j = Mod (i, two)
            k = Reshape (j, flat)
            l = Slice (k, start, size)
            m = Cast <to = 6> (l)
            n = CumSum (m, axis)
            o = Mul (n, m)
            p = Gather (values, o)
        """,
        "gaps": """
            i = BitShift <direction = "RIGHT"> (places, by4)
            j = Mod (i, sixteen)
            k = Reshape (j, flat)
            l = Slice (k, start, stream)
            m = Cast <to = 6> (l)
            n = CumSum (m, axis)
            o = ConstantOfShape <value = float[1] {0}> (size)
            p = ScatterElements (o, n, values)
        """,
    }
    text = f"""
        <ir_version: 7, opset_import: ["": 13]>
        g (float[3, {weight.shape[0]}] x) => (float[3, {weight.shape[1]}] y) {{
            a = Cast <to = 1> (book)
            b = BitShift <direction = "RIGHT"> (indices, by4)
            c = Mod (b, sixteen)
            d = Reshape (c, flat)
            e = Slice (d, start, stream)
            f = Cast <to = 6> (e)
            values = Gather (a, f)
            {tail[layout]}
            w = Reshape (p, shape)
            y = Gemm (x, w)
        }}
    """
    proto = onnx.parser.parse_model(text)
    used = {name for node in proto.graph.node for name in node.input}
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in arrays.items() if name in used
    )
    proto.graph.node[-2].name = "w/unpack"
    proto.graph.node[-1].name = "op"
    return ir.from_proto(proto)


def _bytes_of(integers: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Integers side by side in bytes (n, 1), the first in the lowest bits."""
    fields = 8 // bits
    padded = np.pad(integers, (0, -integers.size % fields)).reshape(-1, fields)
    words: NDArray[np.uint8] = (padded << (np.arange(fields) * bits)).sum(axis=1, keepdims=True).astype(np.uint8)
    return words
