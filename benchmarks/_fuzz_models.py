"""Small valid models of every kind that surgery meets, from which the attack of fuzz.py starts."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

DIGITS = Path(__file__).parent.parent / "models" / "digits"
ROWS = 24
"""Inputs of a case: fewer are judged with a warning, more take longer."""
SMALL, LARGEST = 1 << 20, 30 << 20
"""Bytes of a shared model up to which it is one of many, and up to which it is used at all: large ones take seconds."""
_HEAD = '<ir_version: 8, opset_import: ["" : 17]>'
_DENSE = {"w1": (8, 6), "b1": (8,), "w2": (8, 4), "b2": (4,)}
_PICTURE = {"w1": (6, 2, 3, 3), "b1": (6,), "wd": (6, 1, 3, 3), "w2": (96, 4), "b2": (4,)}
_NORM = {"scale": (6,), "shift": (6,), "mean": (6,), "variance": (6,)}

_TEXTS: dict[str, tuple[str, Mapping[str, tuple[int, ...]]]] = {
    "dense": (
        f"""{_HEAD} dense (float[n, 6] x) => (float[n, 4] y) {{
            h = Gemm <transB = 1> (x, w1, b1)
            r = Relu (h)
            y = Gemm (r, w2, b2)
        }}""",
        _DENSE,
    ),
    "wide": (
        f"""{_HEAD} wide (float[n, 32] x) => (float[n, 10] y) {{
            h = Gemm <transB = 1> (x, w1, b1)
            r = Relu (h)
            y = MatMul (r, w2)
        }}""",
        {"w1": (64, 32), "b1": (64,), "w2": (64, 10)},
    ),
    "picture": (
        f"""{_HEAD} picture (float[n, 2, 8, 8] x) => (float[n, 4] y) {{
            c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w1, b1)
            m = BatchNormalization (c, scale, shift, mean, variance)
            r = Relu (m)
            d = Conv <group = 6, kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (r, wd)
            p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (d)
            f = Flatten (p)
            y = Gemm (f, w2, b2)
        }}""",
        {**_PICTURE, **_NORM},
    ),
    "photo": (
        f"""{_HEAD} photo (float[n, 3, 8, 8] x) => (float[n, 3] y) {{
            c = Conv <strides = [2, 2]> (x, w1, b1)
            r = Relu (c)
            f = Flatten (r)
            y = Gemm (f, w2, b2)
        }}""",
        {"w1": (6, 3, 3, 3), "b1": (6,), "w2": (54, 3), "b2": (3,)},
    ),
    "residual": (
        f"""{_HEAD} residual (float[n, 2, 6, 6] x) => (float[n, 4] y) {{
            c = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
            r = Relu (c)
            d = Conv <pads = [1, 1, 1, 1]> (r, wr)
            s = Add (d, r)
            g = GlobalAveragePool (s)
            f = Flatten (g)
            y = Gemm (f, w2, b2)
        }}""",
        {"w1": (6, 2, 3, 3), "b1": (6,), "wr": (6, 6, 3, 3), "w2": (6, 4), "b2": (4,)},
    ),
    "attention": (
        f"""{_HEAD} attention (float[n, 5, 6] x) => (float[n, 5, 4] y) {{
            q = MatMul (x, wq)
            k = MatMul (x, wk)
            v = MatMul (x, wv)
            t = Transpose <perm = [0, 2, 1]> (k)
            s = MatMul (q, t)
            a = Softmax <axis = -1> (s)
            o = MatMul (a, v)
            y = MatMul (o, wo)
        }}""",
        {"wq": (6, 8), "wk": (6, 8), "wv": (6, 8), "wo": (8, 4)},
    ),
    "shapes": (
        f"""{_HEAD} shapes (float[n, 6] x) => (float[n, 4] y)
        <int64[2] parts = {{3, 5}}, int64[3] target = {{0, 2, 4}}, int64[1] from = {{1}}, int64[1] to = {{4}}> {{
            h = Gemm <transB = 1> (x, w1, b1)
            a, b = Split <axis = 1> (h, parts)
            c = Concat <axis = 1> (b, a)
            r = Reshape (c, target)
            t = Transpose <perm = [0, 2, 1]> (r)
            l = Slice (t, from, to, from)
            f = Flatten (l)
            y = Gemm (f, w2, b2)
        }}""",
        {"w1": (8, 6), "b1": (8,), "w2": (6, 4), "b2": (4,)},
    ),
    "function": (
        """<ir_version: 8, opset_import: ["" : 17, "own" : 1]> function (float[n, 6] x) => (float[n, 4] y) {
            h = own.block (x, w1, b1)
            y = Gemm (h, w2, b2)
        }
        <domain: "own", opset_import: ["" : 17]> block (x, w, b) => (y) {
            h = Gemm <transB = 1> (x, w, b)
            y = Relu (h)
        }""",
        _DENSE,
    ),
    "body": (
        f"""{_HEAD} body (float[n, 6] x) => (float[n, 4] y) <float zero = {{0}}> {{
            total = ReduceSum <keepdims = 0> (x)
            cond = Greater (total, zero)
            h = If (cond) <
                then_branch = yes () => (float[n, 8] p) {{ p = Gemm <transB = 1> (x, w1, b1) }},
                else_branch = no () => (float[n, 8] q) {{ q = Gemm <transB = 1> (x, w3, b1) }}
            >
            y = Gemm (h, w2, b2)
        }}""",
        {**_DENSE, "w3": (8, 6)},
    ),
    "recurrent": (
        f"""{_HEAD} recurrent (float[5, n, 6] x) => (float[5, 1, n, 8] y) {{
            h = MatMul (x, w1)
            y, last, cell = LSTM <hidden_size = 8> (h, w, r)
        }}""",
        {"w1": (6, 6), "w": (1, 32, 6), "r": (1, 32, 8)},
    ),
}


def _parsed(name: str) -> onnx.ModelProto:
    text, weights = _TEXTS[name]
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(len(text))
    for weight, shape in weights.items():
        values = rng.normal(size=shape, scale=0.5).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(abs(values) if weight == "variance" else values, weight))
    return model


def _quantised() -> onnx.ModelProto:
    model = _parsed("dense")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w1")
    integers = np.arange(48, dtype=np.uint8).reshape(8, 6)
    weight.CopyFrom(numpy_helper.from_array(integers, "w1_integers"))
    scale = numpy_helper.from_array(np.array(0.02, np.float32), "w1_scale")
    model.graph.initializer.append(scale)
    node = onnx.helper.make_node("DequantizeLinear", ["w1_integers", "w1_scale"], ["w1"])
    model.graph.node.insert(0, node)
    return model


def _with_constants() -> onnx.ModelProto:
    """Weights in Constant nodes in place of initializers."""
    model = _parsed("dense")
    for tensor in list(model.graph.initializer):
        model.graph.node.insert(0, onnx.helper.make_node("Constant", [], [tensor.name], value=tensor))
    del model.graph.initializer[:]
    return model


@functools.cache
def seed_models(shared: Path | None = None) -> Mapping[str, onnx.ModelProto]:
    """Models by name, the small ones of the shared folder among them."""
    models = {name: _parsed(name) for name in _TEXTS}
    models |= {"quantised": _quantised(), "constants": _with_constants()}
    models["digits"] = onnx.load(DIGITS / "digits.onnx")
    return models | _shared_models(shared, 0, SMALL)


@functools.cache
def large_models(shared: Path | None) -> Mapping[str, onnx.ModelProto]:
    """The larger ones of the shared folder."""
    return _shared_models(shared, SMALL, LARGEST)


def _shared_models(shared: Path | None, above: int, to: int) -> dict[str, onnx.ModelProto]:
    paths = [path for name in ("zoo", "models") for path in sorted((shared / name).glob("*.onnx"))] if shared else []
    sizes = {path: path.stat().st_size for path in paths}
    return {f"{path.parent.name}/{path.stem}": onnx.load(path) for path in paths if above < sizes[path] <= to}
