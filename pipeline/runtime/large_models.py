"""Models of gigabytes: how ONNX Runtime gets their weights without a copy of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from netsurgeon.passes.graph import FLOATS

Feed = dict[str, npt.NDArray[np.generic]]
IN_MEMORY_LIMIT = 1_500_000_000
"""Models with more bytes of weights are large: protobuf ends at 2 GB, and no copy is made of them in memory."""
EXTERNAL_BYTES = 1 << 16
"""Smallest tensor beside a model's file. ONNX Runtime infers shapes from sizes of Split and the like, and does not look
for them there: they are smaller."""
PAGE = 4096
"""Bytes at whose multiples tensors begin in files that are mapped: any runtime can map them."""
SHARED = ("MatMul", "Gemm", "Gather")
"""Operators that take a weight as well from an input, where ONNX Runtime neither copies nor rearranges it."""


def weight_bytes(model: ir.Model) -> int:
    """Bytes of all initializers of a model's graph and of its bodies."""
    tensors = (value.const_value for graph in model.graphs() for value in graph.initializers.values())
    return sum(int(tensor.nbytes) for tensor in tensors if tensor is not None)


def is_large(model: ir.Model) -> bool:
    """Whether a model's weights are too many to be copied, or to be one message of protobuf."""
    return weight_bytes(model) > IN_MEMORY_LIMIT


def has_large_data(path: Path) -> bool:
    """Whether the tensors beside a model's file are too many to be copied."""
    try:
        proto = onnx.load(path, load_external_data=False)
    except Exception:  # ONNX Runtime will say what is wrong
        return False
    beside = (tensor for tensor in _initializers(proto.graph) if tensor.data_location == onnx.TensorProto.EXTERNAL)
    sizes = (math.prod(tensor.dims) * ir.DataType(tensor.data_type).itemsize for tensor in beside)
    return bool(sum(sizes) > IN_MEMORY_LIMIT)


def _initializers(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Those of a graph and of its bodies."""
    yield from graph.initializer
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        for body in (attribute.g, *attribute.graphs):
            yield from _initializers(body)


def without_shared_weights(model: ir.Model) -> tuple[ir.Model, Feed]:
    """A clone whose large weights are inputs, and the weights: sessions read them where they lie, mapped or in memory.

    Those that are overridable stay so, as inputs that are given unless the feed has them.
    """
    clone, weights = model.clone(), {}
    for name, value in list(clone.graph.initializers.items()):
        constant, users = value.const_value, [use.node for use in value.uses()]
        if constant is None or constant.nbytes < EXTERNAL_BYTES or value.is_graph_output():
            continue
        if any(node.domain or node.op_type not in SHARED for node in users) or constant.dtype not in FLOATS:
            continue
        del clone.graph.initializers[name]
        value.const_value = None
        value.shape, value.type = ir.Shape(constant.shape.numpy()), ir.TensorType(constant.dtype)
        if value not in clone.graph.inputs:
            clone.graph.inputs.append(value)
        weights[name] = np.ascontiguousarray(constant.numpy())
    return clone, weights


def serialize(model: ir.Model, folder: Path) -> bytes | Path:
    """The model as bytes, or as a file with external data in `folder` where it is too large for protobuf."""
    if not is_large(model):
        data: bytes = ir.to_proto(model).SerializeToString()
        return data
    path = folder / "model.onnx"
    write_model(model, path)
    return path


def write_model(model: ir.Model, path: Path) -> None:
    """Write a model to a file; the weights of a large one to a second file beside it, each where a page begins."""
    ir.save(
        model,
        path,
        format="protobuf",
        external_data=f"{path.name}.data" if is_large(model) else None,
        size_threshold_bytes=EXTERNAL_BYTES,
        alignment=PAGE,
        align_threshold=0,
    )
