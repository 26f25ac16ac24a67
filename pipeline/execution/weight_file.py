"""Weights of large models on disk, from where they are mapped: whatever changes them, memory holds a few layers."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import FLOATS
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.runtime import EXTERNAL_BYTES, PAGE, is_large

LEAST_MAPPED = 1 << 28
"""Bytes of the file that are mapped at once, at least: each mapping holds a file descriptor."""


class WeightFile:
    """A file without a name, which lives as long as a weight in it does, and grows with them."""

    def __init__(self) -> None:
        """Make an empty file.

        Raises:
            InputError: the folder for temporary files cannot be written.
        """
        self._size, self._end = 0, 0
        self._mapped: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        try:
            self._file = tempfile.TemporaryFile(prefix="netsurgeon-", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise _full(error) from error
        weakref.finalize(self, self._file.close)

    @classmethod
    def of(cls, model: ir.Model) -> WeightFile | None:
        """A file for weights of a model; None where it is so small that they stay in memory."""
        return cls() if is_large(model) else None

    def keep(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """The same array, mapped from the file if it is large.

        Raises:
            InputError: the disk is full.
        """
        if array.nbytes < EXTERNAL_BYTES:
            return array
        try:
            self._make_room(array.nbytes)
            self._write(np.ascontiguousarray(array).reshape(-1).view(np.uint8), self._end)
        except OSError as error:
            raise _full(error) from error
        start = self._end - (self._size - len(self._mapped))
        mapped = self._mapped[start : start + array.nbytes].view(array.dtype)
        self._end += -(-array.nbytes // PAGE) * PAGE
        return np.asarray(mapped).reshape(array.shape)

    def take(self, values: Iterable[ir.Value]) -> None:
        """Move the constants of initializers to the file.

        Raises:
            InputError: the disk is full.
        """
        for value in values:
            if value.const_value is not None and value.const_value.dtype in FLOATS:
                array = self.keep(value.const_value.numpy())
                value.const_value = ir.Tensor(array, dtype=value.const_value.dtype, name=value.const_value.name)

    def _make_room(self, size: int) -> None:
        """Map more of the file where what is mapped is too small; the disk gives bytes when they are written."""
        if self._end + size <= self._size:
            return
        length = max(-(-size // PAGE) * PAGE, LEAST_MAPPED)
        self._file.truncate(self._size + length)
        self._mapped = np.memmap(self._file, np.uint8, "r", offset=self._size, shape=(length,))
        self._end, self._size = self._size, self._size + length

    def _write(self, left: npt.NDArray[np.uint8], start: int) -> None:
        self._file.seek(start)
        while left.size:
            left = left[self._file.write(left.data) :]


def _full(error: OSError) -> InputError:
    folder, reason = tempfile.gettempdir(), error.strerror or error
    return InputError(f"weights cannot be kept in {folder}: {reason}; set TMPDIR to a folder with room")
