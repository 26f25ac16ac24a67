"""Weights in files beside the model: find them, check them, map them into memory."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.model_files.limits import bytes_needed, tensors_of
from netsurgeon.pipeline.runtime import first_line

MOST_DIGITS = 19
"""Of an offset or length: those of 64 bits."""


def map_external_data(model: ir.Model, folder: Path | None = None) -> ir.Model:
    """Map external data into memory, each file once: nothing that is run or saved later depends on where it was.

    Raises:
        InputError: a file cannot be read, or holds less than a tensor needs.
    """
    files = dict[str, NDArray[np.uint8]]()
    for graph in (*model.graphs(), *(f.graph for f in model.functions.values())):
        if folder is not None:
            ir.external_data.set_base_dir(graph, folder)
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = _mapped(value.const_value, files)
        for node in graph:
            for name, attribute in list(node.attributes.items()):
                if isinstance(attribute.value, ir.ExternalTensor):
                    node.attributes[name] = ir.AttrTensor(name, _mapped(attribute.value, files))
    return model


def _mapped(tensor: ir.ExternalTensor, files: dict[str, NDArray[np.uint8]]) -> ir.TensorProtocol:
    try:
        values = tensor.numpy() if tensor.dtype.bitwidth < 8 or not tensor.size else _view(tensor, files)
        return ir.Tensor(values, dtype=tensor.dtype, name=tensor.name)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"tensor {tensor.name!r} cannot be read from {tensor.location!r}: {first_line(error)}"
        ) from error


def _view(tensor: ir.ExternalTensor, files: dict[str, NDArray[np.uint8]]) -> NDArray[Any]:
    """A tensor's part of a file; a mapping for each tensor would hold a file descriptor for each."""
    if tensor.base_dir and not Path(tensor.path).resolve().is_relative_to(Path(tensor.base_dir).resolve()):
        raise ValueError("it lies outside the model's folder")
    if tensor.path not in files:
        files[tensor.path] = np.asarray(np.memmap(tensor.path, np.uint8, "r"))
    start = tensor.offset or 0
    data = files[tensor.path][start : start + tensor.nbytes]
    return data.view(np.dtype(tensor.dtype.numpy()).newbyteorder("<")).reshape(tensor.shape.numpy())


def external_files(proto: onnx.ModelProto, path: Path) -> list[Path]:
    """Files of external data, sorted; every one must lie inside the model's folder and be long enough.

    The folder is that of the file which the path leads to; a file may also be found by a link beside the path.

    Raises:
        InputError: one does not.
    """
    folder = path.resolve().parent
    files: set[Path] = set()
    for tensor in tensors_of(proto):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        file = _file_of(tensor, entries.get("location", ""), folder, path)
        needed = bytes_needed(tensor)
        offset = _count(entries.get("offset", "0"), tensor)
        length = _count(entries.get("length", str(needed)), tensor)
        if length < needed:
            raise InputError(
                f"tensor {tensor.name!r} has {length} bytes in {file}, its dimensions need {needed}: "
                "the model is damaged, export it anew"
            )
        if file.stat().st_size < offset + length:
            raise InputError(
                f"{file} holds {file.stat().st_size} bytes, tensor {tensor.name!r} needs {offset + length}: "
                "it is cut off, copy it again"
            )
        files.add(file)
    return sorted(files)


def name_real_files(proto: onnx.ModelProto, path: Path) -> None:
    """Let external tensors name their files as they are called in the folder that the path leads to, in place.

    Raises:
        InputError: a file does not lie there.
    """
    folder = path.resolve().parent
    for tensor in tensors_of(proto):
        for entry in tensor.external_data:
            if tensor.data_location == onnx.TensorProto.EXTERNAL and entry.key == "location":
                entry.value = str(_file_of(tensor, entry.value, folder, path).relative_to(folder))


def _file_of(tensor: onnx.TensorProto, location: str, folder: Path, path: Path) -> Path:
    """The file a tensor names, which lies in the model's folder."""
    try:
        file = _resolved(location.replace("\0", ""), folder, path)
    except (OSError, RuntimeError) as error:  # a loop of links, a name that is too long
        raise InputError(
            f"tensor {tensor.name!r} has its data at {location[:100]!r}, which leads nowhere "
            f"({first_line(error)}): put the file beside the model"
        ) from error
    if not location or "\0" in location or not file.is_relative_to(folder):
        raise InputError(
            f"tensor {tensor.name!r} has its data at {location!r}, outside the model's folder: move it beside the model"
        )
    if not file.is_file():
        raise InputError(
            f"tensor {tensor.name!r} has its data in {location!r}, which is missing beside {path}: put it there"
        )
    return file


def _resolved(location: str, folder: Path, path: Path) -> Path:
    """Where a file lies that is in the model's folder, or linked to beside the model, as caches of downloads do."""
    for place in (folder, path.parent):
        with contextlib.suppress(FileNotFoundError):
            return (place / location).resolve(strict=True)
    return (folder / location).resolve()


def _count(text: str, tensor: onnx.TensorProto) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > MOST_DIGITS:
        raise InputError(f"tensor {tensor.name!r} has its data at {text[:40]!r} in a file, expected a number of bytes")
    return int(text)
