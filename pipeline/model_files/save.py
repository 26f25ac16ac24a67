"""Write a model or a text so that the file is whole or not there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir

from netsurgeon.pipeline.atomic_write import refuse_irregular, replace_atomically, sync, sync_names
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.model_files.map_types import has_maps, put_maps_back
from netsurgeon.pipeline.runtime import write_model


def save_model(model: ir.Model, output: Path, check: Callable[[Path], object] | None = None) -> int:
    """Write the model beside its goal and rename; weights over the limit of protobuf go to one external file.

    Args:
        model: what to write.
        output: where to; its folder is made where it is missing.
        check: called with the written file before it is renamed; what it raises stops the delivery.

    Returns:
        Bytes on disk.

    Raises:
        InputError: it cannot be written (disk full, no permission). What was there stays, but for a model of two files
            whose second one the folder does not take: then neither is there.
    """
    goal = output.parent.resolve()
    try:
        goal.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name[:40]}-", dir=goal) as name:
            folder = Path(name)
            write_model(model, folder / output.name)
            if has_maps(model):
                _put_maps_back(folder / output.name, model)
            files = sorted(folder.iterdir(), reverse=True)
            size = sum(file.stat().st_size for file in files)
            if check is not None:
                check(folder / output.name)
            for file in files:
                sync(file)
                refuse_irregular(goal / file.name)
            if len(files) > 1:  # rather no model for a moment than the old one beside new weights
                (goal / output.name).unlink(missing_ok=True)
            for file in files:
                file.replace(goal / file.name)
            sync_names(goal)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror or error}") from error
    return size


def _put_maps_back(file: Path, model: ir.Model) -> None:
    proto = onnx.load(file, load_external_data=False, format="protobuf")
    put_maps_back(proto, model)
    file.write_bytes(proto.SerializeToString())


def forget_inferred(model: ir.Model, original: ir.Model) -> None:
    """Drop what the original file does not state, in place: types and shapes inside the graph, names of nodes.

    They were inferred on the way, every reader infers them again, and in models of many small nodes they take more
    bytes than compression saves. A node without a name goes by that of its first output, which is the one it was given.
    """
    stated = {value.name for node in original.graph for value in node.outputs if value.shape is not None or value.type}
    for node in model.graph:
        for value in node.outputs:
            if value.name not in stated and not value.is_graph_output():
                value.shape = value.type = None
    for value in model.graph.initializers.values():
        if not value.is_graph_input() and not value.is_graph_output():
            value.shape = value.type = None  # the tensor says both
    names = {node.name for node in original.graph.all_nodes()}
    for node in model.graph.all_nodes():
        if node.name not in names and node.name == node.outputs[0].name:
            node.name = ""


def write_text(text: str, output: Path) -> None:
    r"""Write a text file beside its goal and rename, as UTF-8; bytes of paths that are none stand escaped, `\udcff`.

    Raises:
        InputError: it cannot be written; nothing is left behind.
    """
    goal = output.parent.resolve() / output.name
    try:
        goal.parent.mkdir(parents=True, exist_ok=True)
        with replace_atomically(goal) as handle:
            handle.write(text_bytes(text))
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror or error}") from error


def text_bytes(text: str) -> bytes:
    """UTF-8; what cannot be written so is escaped, in the way that JSON reads back as it was."""
    return text.encode("utf-8", "backslashreplace")
