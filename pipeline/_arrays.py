"""Arrays by input name as a source: in memory, in .npz and .npy files, or in a folder of these."""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from netsurgeon.pipeline._opened import Opened, read_parts
from netsurgeon.pipeline._parts import (
    LABELS,
    Array,
    Feed,
    InputSpec,
    Labels,
    Part,
    check_labels,
    describe,
    is_input,
    join_labels,
    only_input,
    split_labels,
    stand_in,
)
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.pictures import SUFFIXES


def open_arrays(source: Mapping[str, Any], specs: Sequence[InputSpec], origin: str) -> Opened:
    """Open a mapping of arrays in memory, one for each input, and perhaps labels.

    Raises:
        InputError: it does not fit the model.
    """
    arrays, labels = split_labels(source, specs, origin)
    part = describe(arrays, specs, origin)
    checked = None if labels is None else check_labels(labels, part.rows, origin)
    return Opened([part], partial(read_parts, [part], lambda _: (part, arrays)), checked)


def array_files(path: Path) -> list[Path]:
    """The .npz and .npy files a path stands for, without the labels of a folder; none where it may hold pictures.

    Raises:
        InputError: it is a file of another kind, or a folder that holds pictures, too.
    """
    if not path.is_dir():
        if path.suffix.lower() not in (".npz", ".npy", ".zip"):
            raise InputError(
                f"{path} is of a kind that is not read: expected .npz, .npy, a .zip of pictures, or a folder of .npz "
                f"or .npy files or of pictures"
            )
        return [] if path.suffix.lower() == ".zip" else [path]
    found = [file for file in sorted(path.iterdir()) if not file.name.startswith(".") and file.is_file()]
    arrays = [file for file in found if file.suffix.lower() in (".npz", ".npy") and file.name != f"{LABELS}.npy"]
    if arrays and any(file.suffix.lower() in SUFFIXES for file in found):
        raise InputError(f"{path} holds both pictures and array files: keep one kind in a folder")
    return arrays


def open_files(path: Path, files: Sequence[Path], specs: Sequence[InputSpec]) -> Opened:
    """Open the `array_files` of a path by their shapes and types; labels may lie in them or in the folder.

    Raises:
        InputError: a file cannot be read or does not fit the model.
    """
    parts, each = zip(*(_open_file(file, specs) for file in files), strict=True)
    labels = join_labels(each, str(path))
    beside = path / f"{LABELS}.npy"
    if beside.is_file():
        if labels is not None:
            raise InputError(f"{path} has labels both in {beside.name} and in its files: keep one of the two")
        labels = check_labels(_load(beside)[""], sum(part.rows for part in parts), str(beside))

    def load(number: int) -> tuple[Part, Feed]:
        file = files[number]
        arrays, _ = split_labels(_by_input(_load(file), specs, file), specs, str(file))
        return describe(arrays, specs, str(file)), arrays

    return Opened(parts, partial(read_parts, parts, load), labels)


def _open_file(file: Path, specs: Sequence[InputSpec]) -> tuple[Part, Labels | None]:
    arrays, labels = split_labels(_by_input(_stand_ins(file), specs, file), specs, str(file))
    part = describe(arrays, specs, str(file))
    return part, None if labels is None else check_labels(_load(file, LABELS)[LABELS], part.rows, str(file))


def _by_input(arrays: Feed, specs: Sequence[InputSpec], file: Path) -> Feed:
    """Name the array of an .npy after the model's only input."""
    return {only_input(specs, str(file)): arrays[""]} if "" in arrays else arrays


def _load(file: Path, *names: str) -> Feed:
    """The arrays of a file by name, or those of some names; the one of an .npy, mapped into memory, is called ""."""
    with _reading(file):
        loaded = np.load(file, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:
            return {name: loaded[name] for name in names or loaded.files}


def _stand_ins(file: Path) -> Feed:
    """Arrays of the shapes and types in a file, read without their contents."""
    with _reading(file):
        if file.suffix.lower() == ".npy":
            return {"": _stand_in(file.open("rb"))}
        with zipfile.ZipFile(file) as archive:
            return {name.removesuffix(".npy"): _stand_in(archive.open(name)) for name in archive.namelist()}


def _stand_in(opened: IO[bytes]) -> Array:
    with opened as content:
        version = np.lib.format.read_magic(content)
        reads = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = reads(content)
    return stand_in(shape, dtype)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Turn whatever a broken file raises into one clear error."""
    try:
        yield
    except Exception as error:
        raise InputError(
            f"{file} cannot be read ({error}): write plain numbers with numpy.save or savez, Python objects (pickles) "
            f"are not read"
        ) from error
