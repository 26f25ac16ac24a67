"""The part of a model that makes some of its constants, as a model of its own that can be run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

MOST_SENT = 2**20
"""Bytes of a weight above which its size alone counts: that of its constants hangs on it, not on its values."""
Source = onnx.NodeProto | onnx.TensorProto


def bodies_of(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs inside a node."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def reads_of(node: onnx.NodeProto) -> Iterator[str]:
    """Names of what a node and its bodies read; what a body makes itself hides a name outside."""
    yield from node.input
    for body in bodies_of(node):
        own = {output for inner in body.node for output in inner.output}
        own.update(value.name for value in itertools.chain(body.input, body.initializer))
        read = itertools.chain((value.name for value in body.output), *(reads_of(inner) for inner in body.node))
        yield from (name for name in read if name not in own)


def constant_graph(
    proto: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], sources: Mapping[str, Source], folder: Path | None
) -> tuple[onnx.ModelProto, int]:
    """A model without inputs that computes nodes of a graph, and the bytes that it starts from.

    Args:
        proto: the model, whose functions and operator sets it has.
        nodes: what it computes.
        sources: what makes each constant, by name.
        folder: of external data; None = its values do not matter.
    """
    needed: dict[int, Source] = {}  # in an order in which each comes after what it reads
    waiting: list[tuple[Source, bool]] = [(node, False) for node in reversed(nodes)]
    while waiting:
        source, is_ready = waiting.pop()
        if id(source) in needed:
            continue
        if is_ready or isinstance(source, onnx.TensorProto):
            needed[id(source)] = source
            continue
        waiting.append((source, True))
        waiting += [(sources[name], False) for name in reads_of(source) if name in sources]
    graph = onnx.GraphProto(name="constants")
    stored = 0
    for source in needed.values():
        if isinstance(source, onnx.NodeProto):
            graph.node.append(source)
        else:
            stored += _add_tensor(graph, source, folder)
    graph.output.extend(onnx.ValueInfoProto(name=name) for node in nodes for name in node.output if name)
    return helper.make_model(
        graph, opset_imports=_opsets(proto), functions=proto.functions, ir_version=max(proto.ir_version, 4)
    ), stored


def _opsets(proto: onnx.ModelProto) -> list[onnx.OperatorSetIdProto]:
    """Operator sets of a model, and those that only its functions import."""
    imports = {entry.domain: entry for function in proto.functions for entry in function.opset_import}
    return list((imports | {entry.domain: entry for entry in proto.opset_import}).values())


def _add_tensor(graph: onnx.GraphProto, tensor: onnx.TensorProto, folder: Path | None) -> int:
    """Add a stored constant, a large one as ones of its shape; its bytes."""
    try:
        kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, TypeError, ValueError):
        kind = np.dtype(np.uint8)
    size = math.prod(map(int, tensor.dims)) * int(kind.itemsize)
    is_outside = tensor.data_location == onnx.TensorProto.EXTERNAL
    if size <= MOST_SENT and (not is_outside or folder is not None):
        copy = graph.initializer.add()
        copy.CopyFrom(tensor)
        if is_outside:
            copy.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor, str(folder)), tensor.name))
        return size
    shape = f"{tensor.name} (shape)"
    graph.initializer.append(numpy_helper.from_array(np.array(tensor.dims, np.int64), shape))
    one = helper.make_tensor("one", tensor.data_type, [1], [1])
    graph.node.append(helper.make_node("ConstantOfShape", [shape], [tensor.name], value=one))
    return size
