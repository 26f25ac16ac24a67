"""Weights of a large model on disk, from where they are mapped: whatever changes them, memory holds a few layers."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import FLOATS
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.runtime import EXTERNAL_BYTES, PAGE, is_large, weight_bytes


class WeightFile:
    """A file without a name, which lives as long as a weight in it does.

    It is mapped as a whole, because each mapping would hold a file descriptor.
    """

    def __init__(self, size: int):
        """Make room for so many bytes, which the disk gives when they are written.

        Raises:
            InputError: the folder for temporary files cannot be written.
        """
        self._end = 0
        try:
            with tempfile.TemporaryFile(prefix="netsurgeon-", buffering=0) as file:
                file.truncate(size)
                self._bytes = np.memmap(file, np.uint8, "r")
                self._handle = os.dup(file.fileno())
        except OSError as error:
            raise _full(error) from error
        weakref.finalize(self, os.close, self._handle)

    @classmethod
    def of(cls, model: ir.Model) -> WeightFile | None:
        """Room for all weights of a model; None where it is so small that they stay in memory."""
        if not is_large(model):
            return None
        return cls(weight_bytes(model) + PAGE * (len(model.graph.initializers) + 1))

    def keep(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """The same array, mapped from the file if it is large.

        Raises:
            InputError: the disk is full.
        """
        if array.nbytes < EXTERNAL_BYTES:
            return array
        start, self._end = self._end, self._end + -(-array.nbytes // PAGE) * PAGE
        try:
            self._write(np.ascontiguousarray(array).reshape(-1).view(np.uint8), start)
        except OSError as error:
            raise _full(error) from error
        mapped = self._bytes[start : start + array.nbytes].view(array.dtype)
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

    def _write(self, left: npt.NDArray[np.uint8], start: int) -> None:
        while left.size:
            written = os.pwrite(self._handle, left.data, start)
            left, start = left[written:], start + written


def _full(error: OSError) -> InputError:
    folder, reason = tempfile.gettempdir(), error.strerror or error
    return InputError(f"weights cannot be kept in {folder}: {reason}; set TMPDIR to a folder with room")
