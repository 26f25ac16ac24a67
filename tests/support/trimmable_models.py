"""Models with units to remove, their inputs and outputs, and what became of the units."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from netsurgeon.pipeline.compress import Compression
from netsurgeon.pipeline.trimming.facts import TrimFacts

Array = NDArray[Any]
DIGITS = Path(__file__).parent.parent.parent / "models" / "digits"
FAST: dict[str, Any] = {"damping": 0.01, "values": "float32", "pack": False}


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> Array:
    return np.asarray(scale * np.random.default_rng([seed, *shape]).standard_normal(shape), np.float32)


def network_of(nodes: list[onnx.NodeProto], weights: dict[str, Array], entry: list[int | str]) -> onnx.ModelProto:
    graph = onnx.helper.make_graph(
        nodes,
        "network",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, entry)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 5])],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def residual_network() -> onnx.ModelProto:
    """Two residual blocks of 12 channels, 16 inside each, sigmoids (f(0) ≠ 0) and padding, then a classifier."""
    node = onnx.helper.make_node
    pads: dict[str, Any] = {"pads": [1, 1, 1, 1]}
    nodes = [node("Conv", ["x", "stem"], ["s0"], "stem", **pads), node("Sigmoid", ["s0"], ["t0"])]
    weights = {"stem": normal(12, 3, 3, 3, scale=0.4)}
    for block in (1, 2):
        a, b, before = f"a{block}", f"b{block}", f"t{block - 1}"
        nodes += [
            node("Conv", [before, a], [f"h{block}"], a, **pads),
            node("Sigmoid", [f"h{block}"], [f"r{block}"]),
            node("Conv", [f"r{block}", b, f"{b}_bias"], [f"u{block}"], b, **pads),
            node("Add", [f"u{block}", before], [f"t{block}"]),
        ]
        weights |= {
            a: normal(16, 12, 3, 3, seed=block, scale=0.2),
            b: normal(12, 16, 3, 3, seed=block, scale=0.2),
            f"{b}_bias": normal(12),
        }
    nodes += [
        node("GlobalAveragePool", ["t2"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "head"], ["y"], "head"),
    ]
    return network_of(nodes, weights | {"head": normal(12, 5)}, ["N", 3, 6, 6])


def pictures(count: int = 96) -> Array:
    return normal(count, 3, 6, 6, seed=7)


def outputs(model: onnx.ModelProto | ir.Model, x: Array) -> Array:
    proto = ir.to_proto(model) if isinstance(model, ir.Model) else model
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0], np.float64)


def trimmed(result: Compression) -> TrimFacts:
    assert result.report.trim is not None
    return result.report.trim


def elements(model: ir.Model) -> int:
    return sum(value.const_value.size for value in model.graph.initializers.values() if value.const_value is not None)


def idle_network() -> onnx.ModelProto:
    """32 hidden units, of which 12 are read by nothing."""
    read = normal(32, 5)
    read[:12] = 0
    node = onnx.helper.make_node
    nodes = [
        node("Gemm", ["x", "w", "b"], ["h"], "first"),
        node("Sigmoid", ["h"], ["s"]),
        node("Gemm", ["s", "v", "c"], ["y"], "second"),
    ]
    return network_of(nodes, {"w": normal(16, 32), "b": normal(32), "v": read, "c": normal(5)}, ["N", 16])
