"""What travels between processes, so that it is after the journey what it was before, to the last bit of all sums."""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.execution.executors.array_store import ArrayStore, Pickler, origin

BESIDE = 5
"""The protocol of pickle from which arrays travel beside it."""


class Parcel:
    """A value that is pickled once where it leaves a process, and is handed on as it is inside one.

    Arrays travel beside the pickle, so that nobody on their way copies them; the scheduler reads nothing of it. Dask
    may put them at any address. numpy gives arrays that are not aligned to other code than BLAS, whose sums have other
    last bits: where the value is asked for, each is copied once to where numpy would have it.
    """

    def __init__(self, value: Any, name: str | None = None, store: ArrayStore | None = None):
        """Pack a value.

        Args:
            value: any.
            name: of the value, where no one waits for the error if it cannot be pickled: it then arrives in its place.
            store: takes large arrays; None = they travel with it.
        """
        self._value, self._name, self._store = value, name, store
        self._packed: _Packed | None = None

    @classmethod
    def arrived(cls, data: bytes, arrays: Sequence[Any]) -> Parcel:
        """One that comes from another process."""
        parcel = cls(None)
        parcel._packed = _Packed(data, arrays)
        return parcel

    @property
    def value(self) -> Any:
        """What it holds.

        Raises:
            InputError: it cannot be read here, or could not be sent.
        """
        packed = self._packed
        if packed is not None:  # another thread may be packing it: the value is there before what it was made from goes
            self._value, self._packed = packed.value(), None
        if isinstance(self._value, _Unsendable):
            raise InputError(self._value.why)
        return self._value

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """As bytes and arrays; of functions that no module has, too."""
        packed = self._packed
        try:
            packed = packed or _Packed.of(self._value, self._store)
        except Exception as error:
            if self._name is None:
                raise
            return Parcel, (_Unsendable(_unsendable(self._name, self._value, error, "from a worker")),)
        arrays = [pickle.PickleBuffer(array) if protocol >= BESIDE else bytes(array) for array in packed.arrays]
        return Parcel.arrived, (packed.data, arrays)

    def __sizeof__(self) -> int:
        """By which Dask decides what goes to disk."""
        packed = self._packed
        return object.__sizeof__(self) + (_size(self._value) if packed is None else packed.size)


@dataclasses.dataclass(frozen=True)
class _Packed:
    """A pickle, and the arrays beside it, as bytes in a row."""

    data: bytes
    arrays: Sequence[Any]

    @classmethod
    def of(cls, value: Any, store: ArrayStore | None) -> _Packed:
        arrays: list[pickle.PickleBuffer] = []
        data = io.BytesIO()
        Pickler(data, BESIDE, arrays.append, store=store).dump(value)
        return cls(data.getvalue(), [array.raw() for array in arrays])

    @property
    def size(self) -> int:
        return len(self.data) + sum(memoryview(array).nbytes for array in self.arrays)

    def value(self) -> Any:
        try:
            return pickle.loads(self.data, buffers=map(bytearray, self.arrays))
        except InputError:
            raise
        except Exception as error:
            why = f"{os.uname().nodename} cannot read what was sent to it ({type(error).__name__}: {error})"
            advice = "install modules of yours there, or start its workers in their folder"
            raise InputError(f"{why}: {advice}") from error


@dataclasses.dataclass(frozen=True)
class _Unsendable:
    """What arrives in the place of a result that cannot be pickled."""

    why: str


def check_sendable(name: str, value: Any) -> None:
    """Refuse what no parcel can hold, by the name of the least part of it.

    Args:
        name: of the value.
        value: an object; entries of mappings and fields of records have their own names.

    Raises:
        InputError: it cannot be pickled.
    """
    import cloudpickle

    try:
        cloudpickle.dumps(value)
    except Exception as error:
        is_record = dataclasses.is_dataclass(value)
        for part_name, part in (vars(value) if is_record else value if isinstance(value, Mapping) else {}).items():
            check_sendable(str(part_name), part)
        raise InputError(_unsendable(name, value, error, "to a worker")) from error


def _unsendable(name: str, value: Any, error: Exception, where: str) -> str:
    return f"{name} is a {type(value).__name__} that cannot be sent {where} ({error}): give what can be pickled"


def _size(value: Any) -> int:
    """Bytes of all arrays in the memory of a value, and of texts."""
    if isinstance(value, np.ndarray):
        return 0 if origin(value) else value.nbytes  # what is mapped from a file needs none of the memory
    if isinstance(value, bytes | str):
        return sys.getsizeof(value)
    if isinstance(value, Mapping):
        return sum(map(_size, value.values()))
    if isinstance(value, Sequence) and not isinstance(value, range):
        return sum(map(_size, value))
    return sum(map(_size, vars(value).values())) if hasattr(value, "__dict__") and not isinstance(value, type) else 0
