"""A compressed model never holds more parameters than the dense one, whatever its weights are shared with."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from netsurgeon import compress
from netsurgeon.passes.packing import UnpackWeights
from netsurgeon.pipeline.runtime import Runtime

Array = NDArray[Any]
ROWS, WIDTH = 2048, 32
IDS = np.random.default_rng(1).integers(0, ROWS, (96, 6))
FLOATS = np.random.default_rng(2).standard_normal((96, WIDTH)).astype(np.float32)
BLOCK = "h = MatMul(rows, up) r = Relu(h) k = MatMul(r, down) out = Add(k, rows)"
GRAPHS: dict[str, tuple[str, str, str]] = {
    "head behind a Transpose": (
        "int64[N, 6] x",
        f"rows = Gather(table, x) {BLOCK} t = Transpose<perm = [1, 0]>(table) y = MatMul(out, t)",
        "float[N, 6, 2048] y",
    ),
    "head as a Gemm": (
        "int64[N, 6] x",
        f"rows = Gather(table, x) {BLOCK} m = ReduceMean<axes = [1], keepdims = 0>(out) y = Gemm<transB = 1>(m, table)",
        "float[N, 2048] y",
    ),
    "two lookups": (
        "int64[N, 6] x",
        f"one = Gather(table, x) two = Gather(table, x) rows = Add(one, two) {BLOCK} y = Identity(out)",
        "float[N, 6, 32] y",
    ),
    "table that is added as well": (
        "int64[N, 6] x",
        f"rows = Gather(table, x) {BLOCK} m = ReduceMean<axes = [0], keepdims = 0>(table) y = Add(out, m)",
        "float[N, 6, 32] y",
    ),
    "one weight of many layers": (
        "float[N, 32] x",
        "a = MatMul(x, square) b = Tanh(a) c = MatMul(b, square) d = Tanh(c) e = Gemm(d, square, bias) y = Tanh(e)",
        "float[N, 32] y",
    ),
    "one weight behind several Transposes": (
        "float[N, 32] x",
        "s = Transpose(square) a = MatMul(x, s) b = Tanh(a) t = Transpose(square) y = MatMul(b, t)",
        "float[N, 32] y",
    ),
    "one weight both ways round": (
        "float[N, 32] x",
        "a = MatMul(x, square) b = Tanh(a) t = Transpose(square) c = MatMul(b, t) y = MatMul(c, other)",
        "float[N, 32] y",
    ),
    "one small weight of two layers": (
        "float[N, 32] x",
        "s = Reshape(x, halves) a = MatMul(s, small) b = Tanh(a) c = MatMul(b, small) f = Flatten(c)"
        "y = MatMul(f, other)",
        "float[N, 32] y",
    ),
    "one convolution twice": (
        "float[N, 32] x",
        "s = Reshape(x, shape) a = Conv(s, kernel) b = Relu(a) z = Conv(b, kernel) f = Flatten(z) y = MatMul(f, other)",
        "float[N, 32] y",
    ),
    "one convolution before two normalisations": (
        "float[N, 32] x",
        "s = Reshape(x, shape) a = Conv(s, kernel) n = BatchNormalization(a, scale, bias, mean, var) b = Relu(n)"
        "z = Conv(b, kernel) m = BatchNormalization(z, scale, bias, mean, var) f = Flatten(m) y = MatMul(f, other)",
        "float[N, 32] y",
    ),
}
WAYS: dict[str, dict[str, Any]] = {
    "half": {"sparsity": 0.5, "damping": 0.01},
    "codebook": {"sparsity": 0.3, "damping": 0.01, "values": "codebook"},
    "units": {"trim": "up-to:20%", "round_to": 1},
    "integer weights": {"quantize": "w8"},
    "integers": {"quantize": "int8"},
    "four bits": {"sparsity": 0.5, "damping": 0.01, "tables": "int4", "pack": False},
}


def network(graph: str) -> onnx.ModelProto:
    entry, nodes, end = GRAPHS[graph]
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> net ({entry}) => ({end}) {{ {nodes} }}')
    rng = np.random.default_rng(0)
    constants: dict[str, Callable[[], Array]] = {
        "table": lambda: rng.standard_normal((ROWS, WIDTH)),
        "up": lambda: 0.2 * rng.standard_normal((WIDTH, 96)),
        "down": lambda: 0.2 * rng.standard_normal((96, WIDTH)),
        "square": lambda: 0.2 * rng.standard_normal((WIDTH, WIDTH)),
        "other": lambda: 0.2 * rng.standard_normal((WIDTH, WIDTH)),
        "small": lambda: 0.3 * rng.standard_normal((WIDTH // 2, WIDTH // 2)),
        "bias": lambda: rng.standard_normal(WIDTH),
        "kernel": lambda: rng.standard_normal((32, 32, 1, 1)),
        "scale": lambda: 1.0 + rng.random(WIDTH),
        "mean": lambda: rng.standard_normal(WIDTH),
        "var": lambda: 1.0 + rng.random(WIDTH),
        "shape": lambda: np.array([-1, 32, 1, 1]),
        "halves": lambda: np.array([-1, 2, WIDTH // 2]),
    }
    used = {name for node in proto.graph.node for name in node.input}
    for name in sorted(used & set(constants)):
        array = constants[name]()
        array = array if array.dtype.kind == "i" else array.astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return proto


SCALES = {"DequantizeLinear": 1, "MatMulNBits": 2}
"""Which input of an operator holds the scales of its integers."""


def matrix_numbers(model: ir.Model) -> int:
    """Elements of all weights: not of constants of one axis, for a layer may get a bias, nor of scales of integers."""
    scales = {node.inputs[SCALES[node.op_type]] for node in model.graph if node.op_type in SCALES}
    constants = [value.const_value for value in model.graph.initializers.values() if value not in scales]
    return sum(constant.size for constant in constants if constant is not None and len(constant.shape) > 1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_no_more_parameters_than_before(graph: str, way: str) -> None:
    proto = network(graph)
    x = IDS if "int64" in GRAPHS[graph][0] else FLOATS
    before = proto.SerializeToString()
    result = compress(proto, {"x": x}, effort="fast", **WAYS[way])
    assert proto.SerializeToString() == before, "the model that came in is not written to"
    dense, plain = ir.from_proto(proto), result.model.clone()
    UnpackWeights()(plain)
    assert matrix_numbers(plain) <= matrix_numbers(dense)
    assert result.report.compressed.parameters <= result.report.dense.parameters + 3 * 96
    outputs = [Runtime(threads=1).session(model).run({"x": x})["y"] for model in (dense, plain)]
    assert outputs[0].shape == outputs[1].shape
    assert np.linalg.norm(outputs[1] - outputs[0]) < np.linalg.norm(outputs[0])
