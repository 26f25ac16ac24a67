"""What travels between processes, so that it is after the journey what it was before, to the last bit of all sums."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class Parcel:
    """A value that is pickled whole where it leaves a process, and is handed on as it is inside one.

    Dask sends buffers of arrays apart and puts them together at any address. numpy gives arrays that are not aligned to
    other code than BLAS, whose sums have other last bits; those of one pickle are aligned.
    """

    def __init__(self, value: Any):
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        """As bytes; of functions that no module has, too."""
        import cloudpickle

        return _unpacked, (cloudpickle.dumps(self.value, protocol=4),)

    def __sizeof__(self) -> int:
        """By which Dask decides what goes to disk."""
        return object.__sizeof__(self) + _size(self.value)


def _unpacked(data: bytes) -> Parcel:
    import cloudpickle

    return Parcel(cloudpickle.loads(data))


def _size(value: Any) -> int:
    """Bytes of all arrays in a value, and of texts."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, bytes | str):
        return sys.getsizeof(value)
    if isinstance(value, Mapping):
        return sum(map(_size, value.values()))
    if isinstance(value, Sequence) and not isinstance(value, range):
        return sum(map(_size, value))
    return sum(map(_size, vars(value).values())) if hasattr(value, "__dict__") and not isinstance(value, type) else 0
