"""Weights in files beside the model: find them, check them, map them into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
import onnx_ir as ir

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.runtime import first_line


def map_external_data(model: ir.Model, folder: Path | None = None) -> ir.Model:
    """Map external data into memory: nothing that is run or saved later depends on where it was.

    Raises:
        InputError: a file cannot be read, or holds less than a tensor needs.
    """
    for graph in (*model.graphs(), *(f.graph for f in model.functions.values())):
        if folder is not None:
            ir.external_data.set_base_dir(graph, folder)
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = _mapped(value.const_value)
        for node in graph:
            for name, attribute in list(node.attributes.items()):
                if isinstance(attribute.value, ir.ExternalTensor):
                    node.attributes[name] = ir.AttrTensor(name, _mapped(attribute.value))
    return model


def _mapped(tensor: ir.ExternalTensor) -> ir.TensorProtocol:
    try:
        return ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"tensor {tensor.name!r} cannot be read from {tensor.location!r}: {first_line(error)}"
        ) from error


def external_files(proto: onnx.ModelProto, path: Path) -> list[Path]:
    """Files of external data, sorted; every one must lie inside the model's folder and be long enough.

    Raises:
        InputError: one does not.
    """
    folder = path.resolve().parent
    files: set[Path] = set()
    for tensor in _tensors(proto):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        file = (folder / location.replace("\0", "")).resolve()
        if not location or "\0" in location or not file.is_relative_to(folder):
            raise InputError(
                f"tensor {tensor.name!r} has its data at {location!r}, outside the model's folder: "
                "move it beside the model"
            )
        if not file.is_file():
            raise InputError(
                f"tensor {tensor.name!r} has its data in {location!r}, which is missing beside {path}: put it there"
            )
        needed = sum(_count(entries.get(key, "0"), tensor) for key in ("offset", "length"))
        if file.stat().st_size < needed:
            raise InputError(
                f"{file} holds {file.stat().st_size} bytes, tensor {tensor.name!r} needs {needed}: it is cut off, "
                "copy it again"
            )
        files.add(file)
    return sorted(files)


def _count(text: str, tensor: onnx.TensorProto) -> int:
    if not text.isdecimal():
        raise InputError(f"tensor {tensor.name!r} has its data at {text!r} in a file, expected a number of bytes")
    return int(text)


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from _graph_tensors(proto.graph)
    for function in proto.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for body in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _graph_tensors(body)
