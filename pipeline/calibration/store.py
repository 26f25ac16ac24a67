"""Live values of a walk, batch by batch: in memory while there is room, else on disk."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable
from io import FileIO
from typing import Any

import numpy as np
import numpy.typing as npt

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.runtime import available_bytes

MOST_KEPT = 1 << 27
"""Bytes that stay on the disk in all files of a walk together when nobody needs the values in them any more."""
MEMORY_SHARE, MOST_IN_MEMORY = 0.25, 2 << 30
"""Share of the memory that is available when a sweep begins, and bytes, that the live values of its walks may take."""


class Memory:
    """Bytes that live values may take together, of all walks of a sweep."""

    def __init__(self, left: int):
        """Begin with nothing taken.

        Args:
            left: bytes; 0 = all values go to disk.
        """
        self._left = left

    @classmethod
    def of_machine(cls) -> Memory:
        """As many as this machine can spare at the moment."""
        return cls(min(int(MEMORY_SHARE * available_bytes()), MOST_IN_MEMORY))

    def take(self, size: int) -> bool:
        """Take `size` bytes, if there are as many left; whether there are."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def give_back(self, size: int) -> None:
        """Free `size` bytes that were taken."""
        self._left += size


class Store:
    """Live values of a walk, batch by batch: arrays in `memory` while it has room, else on disk, all others in memory.

    What is fetched is not to be changed. Files have no names, so that whatever ends the process leaves none.
    """

    def __init__(self, memory: Memory | None = None) -> None:
        self._memory = memory or Memory(0)
        self._held: dict[tuple[str, int], Any] = {}
        self._spilled: dict[str, _Spilled] = {}
        self._free: list[_Spilled] = []
        self._files = contextlib.ExitStack()

    def put(self, name: str, batch: int, value: Any) -> None:
        """Keep a value."""
        if not _is_counted(value):
            self._held[name, batch] = value
            return
        if self._memory.take(value.nbytes):
            self._held[name, batch] = _frozen(value)
            return
        try:
            if name not in self._spilled:
                self._spilled[name] = self._free.pop() if self._free else self._new_file()
            self._spilled[name].append(batch, value)
        except OSError as error:
            raise InputError(
                f"activations cannot be spilled to {tempfile.gettempdir()}: {error.strerror or error}; "
                "set TMPDIR to a folder with room"
            ) from error

    def get(self, name: str, batch: int) -> Any:
        """Fetch a value.

        Raises:
            KeyError: it is not there.
        """
        return self._held[name, batch] if (name, batch) in self._held else self._spilled[name].read(batch)

    def reads(self, names: Iterable[str]) -> bool:
        """Whether any of these values is read from the disk, of whichever batch."""
        return any(name in self._spilled for name in names)

    def __contains__(self, name: str) -> bool:
        """Whether a value of the first batch is there."""
        return name in self._spilled or (name, 0) in self._held

    def shape(self, name: str, batch: int) -> tuple[int, ...]:
        """Shape of a value, which is not read for it."""
        in_memory = self._held.get((name, batch))
        return self._spilled[name].shape(batch) if in_memory is None else np.shape(in_memory)

    def drop(self, names: Iterable[str], batches: int) -> None:
        """Forget values."""
        for name in names:
            if name in self._spilled:
                file = self._spilled.pop(name)
                idle = sum(other.idle for other in (*self._spilled.values(), *self._free))
                self._free.append(file.emptied(max(MOST_KEPT - idle, 0)))
            for batch in range(batches):
                self._let_go(name, batch)

    def _let_go(self, name: str, batch: int) -> None:
        value = self._held.pop((name, batch), None)
        if _is_counted(value):
            self._memory.give_back(value.nbytes)

    def _new_file(self) -> _Spilled:
        return _Spilled(self._files.enter_context(tempfile.TemporaryFile(buffering=0)))

    def close(self) -> None:
        """Delete everything."""
        for name, batch in list(self._held):
            self._let_go(name, batch)
        self._files.close()


def _is_counted(value: Any) -> bool:
    """Whether a value is an array of numbers, which may be large and can lie in a file."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiub"


def _frozen(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An array that nobody changes, and that keeps no larger one alive of which it is a part."""
    is_part = isinstance(value.base, np.ndarray) and value.base.nbytes > value.nbytes
    value = value.copy() if is_part else value.view()
    value.flags.writeable = False
    return value


class _Spilled:
    """All batches of one value, one behind the other in one open file: small batches would cost a file each.

    The file is written over by another value later: fresh pages cost more than what is written to them. Only what
    large values have filled is given back to the disk.
    """

    def __init__(self, file: FileIO):
        self._file = file
        self._end, self._size = 0, 0
        self._batches: dict[int, tuple[int, tuple[int, ...], np.dtype[Any]]] = {}

    def append(self, batch: int, value: npt.NDArray[Any]) -> None:
        self._batches[batch] = self._end, value.shape, value.dtype
        left = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        self._file.seek(self._end)
        self._end += left.size
        self._size = max(self._size, self._end)
        while left.size:
            left = left[self._file.write(left.data) :]

    def read(self, batch: int) -> npt.NDArray[Any]:
        start, shape, dtype = self._batches[batch]
        value = np.empty(shape, dtype)
        left = value.reshape(-1).view(np.uint8)
        self._file.seek(start)
        while left.size:
            left = left[self._file.readinto(left.data) :]
        return value

    def shape(self, batch: int) -> tuple[int, ...]:
        return self._batches[batch][1]

    @property
    def idle(self) -> int:
        """Bytes of the file that no value is in."""
        return self._size - self._end

    def emptied(self, most: int) -> _Spilled:
        """The same file for another value, with at most so many bytes."""
        if self._size > most:
            self._file.truncate(most)
            self._size = most
        self._end = 0
        self._batches.clear()
        return self
