"""A small network to search for goals, and inputs that it labels itself."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from netsurgeon.pipeline.runtime.session import Runtime

FAST: Any = {"method": "obs", "damping": 0.01, "quantize": "none"}
Data = dict[str, np.ndarray]


def labelled(model: Path | ir.Model, count: int, seed: int, scale: float = 1.0) -> Data:
    """Inputs that depend on few numbers, labelled by the dense model itself."""
    mixing = np.random.default_rng(0).standard_normal((6, 24))
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((count, 6)) @ mixing + scale * 0.1 * rng.standard_normal((count, 24))).astype(np.float32)
    return {"x": x, "labels": Runtime().session(model).run({"x": x})["y"].argmax(axis=1)}


def small_network() -> ir.Model:
    rng = np.random.default_rng(0)
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,24] x, float[24,48] w1, float[48,6] w2) '
        "=> (float[N,6] y) { h = Gemm(x, w1) r = Relu(h) y = Gemm(r, w2) }"
    )
    for value, shape in zip(list(model.graph.inputs)[1:], ((24, 48), (48, 6)), strict=True):
        value.const_value = ir.tensor(rng.standard_normal(shape).astype(np.float32), name=value.name)
        model.graph.register_initializer(value)
    del model.graph.inputs[1:]
    return model
