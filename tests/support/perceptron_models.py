"""Small models from x to y, their inputs, and what a compression has made of them."""

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from netsurgeon.passes.packing.unpack_weights import UnpackWeights
from netsurgeon.pipeline.calibration.sweep import Calibration
from netsurgeon.pipeline.compress import Compression
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.model_files.loading import input_specs
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.verification.validation import Validation

Array: TypeAlias = NDArray[Any]
ROOT = Path(__file__).parent.parent.parent
DIGITS = ROOT / "models" / "digits"
FAST: dict[str, Any] = {"method": "obs", "damping": 0.01}
"""One solver and no search for its damping."""
UNIFORM: dict[str, Any] = {**FAST, "uniform": True}


def random(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def built(
    nodes: list[onnx.NodeProto],
    weights: dict[str, Array],
    *,
    entry: tuple[int | str, ...] = ("N", 32),
    end: tuple[int | str, ...] = ("N", 10),
    dtype: Any = np.float32,
    opset: int = 17,
) -> onnx.ModelProto:
    """A model from x to y."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = onnx.helper.make_graph(
        nodes,
        "network",
        [onnx.helper.make_tensor_value_info("x", kind, entry)],
        [onnx.helper.make_tensor_value_info("y", kind, end)],
        [onnx.numpy_helper.from_array(array.astype(dtype), name) for name, array in weights.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    onnx.helper.set_model_props(model, {"author": "somebody"})
    return model


def perceptron(dtype: Any = np.float32, opset: int = 17, batch: int | str = "N") -> onnx.ModelProto:
    """Gemm, Relu, Gemm: 32 inputs, 64 neurons, 10 outputs."""
    nodes = [
        onnx.helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="first"),
        onnx.helper.make_node("Relu", ["h"], ["r"], name="relu"),
        onnx.helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], name="second"),
    ]
    weights = {"w1": random(32, 64), "b1": random(64), "w2": random(64, 10, seed=1), "b2": random(10)}
    return built(nodes, weights, entry=(batch, 32), end=(batch, 10), dtype=dtype, opset=opset)


def inputs(count: int = 80, dtype: Any = np.float32) -> Array:
    return random(count, 32, seed=2, dtype=dtype)


def calibration_of(model: ir.Model, x: Array) -> Calibration:
    return Calibration(open_samples({"x": x}, input_specs(model)), Runtime())


def weights_of(model: Path | ir.Model) -> dict[str, Array]:
    """Initializers by name, packed ones unpacked."""
    plain = ir.load(model) if isinstance(model, Path) else model.clone()
    UnpackWeights()(plain)
    return {name: v.const_value.numpy() for name, v in plain.graph.initializers.items() if v.const_value is not None}


def run_model(model: Path | onnx.ModelProto | ir.Model, x: Array) -> Array:
    proto = ir.to_proto(model) if isinstance(model, ir.Model) else model
    source = str(proto) if isinstance(proto, Path) else proto.SerializeToString()
    session = ort.InferenceSession(source, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def proto_bytes(result: Compression) -> bytes:
    return bytes(ir.to_proto(result.model).SerializeToString())


def top1(validation: Validation) -> tuple[float, float]:
    dense, compressed = validation.dense.top1, validation.compressed.top1
    assert dense is not None
    assert compressed is not None
    return dense, compressed
