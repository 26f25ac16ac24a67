"""What the processor's instructions allow a sparse layer: weights of steps, *slots*, that they multiply in a second."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import netsurgeon_sparse
import numpy as np
import onnx
from onnx import numpy_helper

from netsurgeon.passes.solvers import Tiles

COLUMNS = {"avx512-vnni": 16, "avx-vnni": 16, "avx2": 16}
"""Columns of a tile where they are not 64, by the instruction set."""
SLOTS = 50_000_000
"""Of one run: a fraction of a millisecond."""


class Roof:
    """Runs like a session, and only chooses and multiplies, with all that it reads in the nearest cache.

    Raises:
        RuntimeError: the library is of an older version, or cannot run here.
    """

    def __init__(self) -> None:
        self._library = ctypes.CDLL(str(netsurgeon_sparse.library_path()))
        if not hasattr(self._library, "netsurgeon_sparse_repeat"):
            raise RuntimeError("netsurgeon-sparse is older than this benchmark: build the wheel anew by `make kernels`")
        for function in (self._library.netsurgeon_sparse_isa, self._library.netsurgeon_sparse_error):
            function.restype = ctypes.c_char_p
        self._library.netsurgeon_sparse_repeat.restype = ctypes.c_int64
        self._library.netsurgeon_sparse_repeat.argtypes = [ctypes.c_char_p, ctypes.c_int64]
        isa: bytes | None = self._library.netsurgeon_sparse_isa()
        if isa is None:
            raise self._error()
        self._isa = isa
        self.columns = COLUMNS.get(self._isa.decode(), 64)
        self.slots = 0

    def run(self, _outputs: None, _feed: Mapping[str, Any]) -> None:
        """Multiply once more; `slots` says how many."""
        self.slots = self._library.netsurgeon_sparse_repeat(self._isa, SLOTS)
        if self.slots < 0:
            raise self._error()

    def _error(self) -> RuntimeError:
        return RuntimeError(f"netsurgeon-sparse: {self._library.netsurgeon_sparse_error().decode()}")


def slots_of(model: onnx.ModelProto, columns: int) -> int:
    """Slots of a model's steps at one pixel: of its int8 weights [rows, channels, height, width] and [columns, rows].

    Args:
        model: an integer network.
        columns: of a tile.
    """
    count = 0
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) in (2, 4):
            array = numpy_helper.to_array(tensor)
            weight = array.T if array.ndim == 2 else array.transpose(0, 2, 3, 1).reshape(len(array), -1)
            count += Tiles(columns, np.arange(weight.shape[1])).slots(weight[None] != 0)
    return count
