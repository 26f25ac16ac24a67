"""Rows of the arrays in .npy and .npz files: headers are held against sizes first, and large files are streamed."""

import io
import math
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from netsurgeon.pipeline.data.limits import in_words, open_regular
from netsurgeon.pipeline.data.matching import Array, Feed, stand_in
from netsurgeon.pipeline.data.opened import Indices

HELD_BYTES = 1 << 28
"""Arrays of an .npz up to this size together are held in memory while it is read; larger ones are streamed."""
_MOST_HEADER_BYTES = 1 << 16
_MOST_MEMBERS = 1000
_CHUNK_BYTES = 1 << 24


class OpenedRows(Protocol):
    """An opened file."""

    def take(self, rows: Indices, constants: Iterable[str]) -> Feed:
        """The rows of each array, in the order asked for; constants whole."""

    def close(self) -> None:
        """Let go of the file."""


def read_headers(file: Path) -> Feed:
    """Stand-ins for the arrays of a file, by name; the one of an .npy is called "". No contents are read.

    Raises:
        ValueError: a header does not fit the bytes that are there.
        OSError: the file cannot be read.
    """
    if file.suffix.lower() == ".npy":
        with open_regular(file) as handle:
            return {"": _header(handle, file.stat().st_size)[0]}
    with open_regular(file) as handle, zipfile.ZipFile(handle) as archive:
        members = archive.infolist()
        if len(members) > _MOST_MEMBERS:
            raise ValueError(f"it holds {len(members):,} arrays, at most {_MOST_MEMBERS:,} are read")
        headers = {}
        for member in members:
            with archive.open(member) as content:
                headers[member.filename.removesuffix(".npy")], in_columns = _header(content, member.file_size)
            if in_columns and member.file_size > HELD_BYTES:
                raise ValueError(
                    f"{member.filename} takes {in_words(member.file_size)} column by column, so that no row can be "
                    "read alone: save it with numpy.ascontiguousarray"
                )
        return headers


def open_rows(file: Path, names: Sequence[str]) -> OpenedRows:
    """Open a file whose headers were read, for the rows of these arrays."""
    if file.suffix.lower() == ".npy":
        return _Held({"": np.load(file, mmap_mode="r", allow_pickle=False)})
    with zipfile.ZipFile(file) as archive:
        total = sum(member.file_size for member in archive.infolist())
    if total > HELD_BYTES:
        return _Streamed(file, names)
    with np.load(file, allow_pickle=False) as arrays:
        return _Held({name: arrays[name] for name in names})


def _header(content: IO[bytes], size: int) -> tuple[Array, bool]:
    """A stand-in for an array, and whether it lies column by column; `size` is that of header and values."""
    start = io.BytesIO(content.read(_MOST_HEADER_BYTES))
    version = np.lib.format.read_magic(start)
    reads = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, in_columns, dtype = reads(start)
    needed = start.tell() + math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or (needed != size and not dtype.hasobject):
        raise ValueError(f"its header speaks of shape {shape}, {in_words(needed)}, but {in_words(size)} are there")
    return stand_in(shape, dtype), bool(in_columns) and len(shape) > 1


class _Held:
    """Arrays in memory, or mapped into it."""

    def __init__(self, arrays: Mapping[str, Array]):
        self._arrays = arrays

    def take(self, rows: Indices, constants: Iterable[str]) -> Feed:
        selection: Any = slice(rows[0], rows[-1] + 1) if np.all(np.diff(rows) == 1) else rows
        kept_whole = set(constants)
        return {name: array if name in kept_whole else array[selection] for name, array in self._arrays.items()}

    def close(self) -> None:
        pass


class _Streamed:
    """Arrays of an .npz that are too large for memory: each is read on from where it is, or from its start."""

    def __init__(self, file: Path, names: Sequence[str]):
        self._archive = zipfile.ZipFile(file)
        self._names = names
        self._members: dict[str, _Member] = {}

    def take(self, rows: Indices, constants: Iterable[str]) -> Feed:
        kept_whole, ordered = set(constants), np.unique(rows)
        feed = {}
        for name in self._names:
            if name in kept_whole:
                with self._archive.open(_member_name(self._archive, name)) as content:
                    feed[name] = np.lib.format.read_array(content, allow_pickle=False)
                continue
            member = self._members.get(name)
            if member is None or ordered[0] < member.position:
                member = self._members[name] = _Member(self._archive.open(_member_name(self._archive, name)))
            feed[name] = member.rows(ordered)[np.searchsorted(ordered, rows)]
        return feed

    def close(self) -> None:
        self._members.clear()
        self._archive.close()


def _member_name(archive: zipfile.ZipFile, name: str) -> str:
    return name if name in archive.NameToInfo else f"{name}.npy"


class _Member:
    """One array of an archive on its way from start to end.

    Attributes:
        position: the row that comes next.
    """

    def __init__(self, content: IO[bytes]):
        self._content = content
        version = np.lib.format.read_magic(content)
        reads = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, self._dtype = reads(content)
        self._row_shape = shape[1:]
        self._row_bytes = math.prod(self._row_shape) * self._dtype.itemsize
        self.position = 0

    def rows(self, ordered: Indices) -> Array:
        """Rows at or behind the position, in rising order."""
        result = np.empty((len(ordered), *self._row_shape), self._dtype)
        target = result.reshape(-1).view(np.uint8)
        for run in np.split(np.arange(len(ordered)), np.flatnonzero(np.diff(ordered) != 1) + 1):
            self._read(int(ordered[run[0]]) - self.position, None)
            self._read(len(run), target[run[0] * self._row_bytes : (run[-1] + 1) * self._row_bytes])
        return result

    def _read(self, count: int, target: Array | None) -> None:
        """Read so many rows into a target, or over them."""
        left, at = count * self._row_bytes, 0
        while left:
            block = self._content.read(min(left, _CHUNK_BYTES))
            if not block:
                raise ValueError("it ends too early")
            if target is not None:
                target[at : at + len(block)] = np.frombuffer(block, np.uint8)
            left, at = left - len(block), at + len(block)
        self.position += count
