"""Arrays by input name as a source: in memory, made up, in .npz and .npy files, or in a folder of these."""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from netsurgeon.pipeline.data.dataset import Dataset, read_parts
from netsurgeon.pipeline.data.images import SUFFIXES
from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.matching import (
    LABELS,
    Array,
    Feed,
    Shape,
    Shard,
    check_labels,
    examine,
    is_float,
    is_whole,
    join_labels,
    only_input,
    stand_in,
)
from netsurgeon.pipeline.errors import InputError


def open_arrays(source: Mapping[str, Any], specs: Sequence[InputSpec], origin: str) -> Dataset:
    """Open arrays in memory, one for each input, and perhaps labels."""
    part, arrays, labels = examine(source, specs, origin)
    return Dataset([part], partial(read_parts, [part], lambda _: (part, arrays)), labels)


def open_random(specs: Sequence[InputSpec], count: int, seed: int) -> Dataset:
    """Make up samples, as many as give whole feeds."""
    shapes = {spec.name: _filled(spec) for spec in specs}
    first = {spec.shape[0] for spec in specs if spec.shape}
    if len(first) == 1:  # else the sizes of axis 0 have nothing to do with one another
        count += -count % (first.pop() or 1)
        shapes = {name: (count, *shape[1:]) if shape else () for name, shape in shapes.items()}
    else:
        shapes = {name: (count, *shape) for name, shape in shapes.items()}
    rng = np.random.default_rng(seed)
    arrays = {spec.name: _draw(spec, shapes[spec.name], rng) for spec in specs}
    return open_arrays(arrays, specs, "random data")


def _filled(spec: InputSpec) -> Shape:
    if spec.shape is None:
        raise InputError(f"the rank of the input {spec.name!r} is unknown: give real data instead of random")
    return tuple(1 if size is None else size for size in spec.shape)


def _draw(spec: InputSpec, shape: Shape, rng: np.random.Generator) -> Array:
    if is_float(spec.dtype):
        return rng.standard_normal(shape, np.float32).astype(spec.dtype)
    if is_whole(spec.dtype):
        return rng.integers(0, 2, shape).astype(spec.dtype)
    raise InputError(f"random values of type {spec.dtype} for {spec.name!r} are not made: give real data")


def array_files(path: Path) -> list[Path]:
    """The .npz and .npy files a path stands for, without the labels of a folder; none where it may hold pictures."""
    if not path.is_dir():
        if path.suffix.lower() not in (".npz", ".npy", ".zip"):
            raise InputError(
                f"{path} is of a kind that is not read: expected .npz, .npy, a .zip of pictures, or a folder of .npz "
                f"or .npy files or of pictures"
            )
        return [] if path.suffix.lower() == ".zip" else [path]
    files_found = [file for file in sorted(path.iterdir()) if not file.name.startswith(".") and file.is_file()]
    arrays = [file for file in files_found if file.suffix.lower() in (".npz", ".npy") and file.name != f"{LABELS}.npy"]
    if arrays and any(file.suffix.lower() in SUFFIXES for file in files_found):
        raise InputError(f"{path} holds both pictures and array files: keep one kind in a folder")
    return arrays


def open_files(path: Path, files: Sequence[Path], specs: Sequence[InputSpec]) -> Dataset:
    """Open the `array_files` of a path by their shapes and types; labels may lie in them or in the folder."""
    shards = [examine(_by_input(_headers(file), specs, file), specs, str(file)) for file in files]
    parts = [part for part, _, _ in shards]
    labels = join_labels([shard_labels for _, _, shard_labels in shards], str(path))
    beside = path / f"{LABELS}.npy"
    if beside.is_file():
        if labels is not None:
            raise InputError(f"{path} has labels both in {beside.name} and in its files: keep one of the two")
        labels = check_labels(_load(beside)[""], sum(part.rows for part in parts), str(beside))

    def load(number: int) -> tuple[Shard, Feed]:
        file = files[number]
        return examine(_by_input(_load(file), specs, file), specs, str(file))[:2]

    return Dataset(parts, partial(read_parts, parts, load), labels)


def _by_input(arrays: Feed, specs: Sequence[InputSpec], file: Path) -> Feed:
    """Name the array of an .npy after the model's only input."""
    return {only_input(specs, str(file)): arrays[""]} if "" in arrays else arrays


def _load(file: Path) -> Feed:
    """The arrays of a file by name; the one of an .npy, mapped into memory, is called ""."""
    with _reading(file):
        loaded = np.load(file, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:
            return dict(loaded)


def _headers(file: Path) -> Feed:
    """The labels of a file, and stand-ins for the other arrays, whose contents are not read."""
    with _reading(file):
        if file.suffix.lower() == ".npy":
            return {"": _header(file.open("rb"))}
        with zipfile.ZipFile(file) as archive:
            headers = {name.removesuffix(".npy"): _header(archive.open(name)) for name in archive.namelist()}
        if LABELS in headers:
            with np.load(file, allow_pickle=False) as arrays:
                headers[LABELS] = arrays[LABELS]
        return headers


def _header(opened: IO[bytes]) -> Array:
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
    except PermissionError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): allow it, or give other data") from error
    except Exception as error:
        raise InputError(
            f"{file} cannot be read ({error}): it may be damaged; write plain numbers with numpy.save or savez, Python "
            f"objects (pickles) are not read"
        ) from error
