"""What travels between processes, so that it is after the journey what it was before, to the last bit of all sums."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from netsurgeon.pipeline.errors import InputError


class Parcel:
    """A value that is pickled whole where it leaves a process, and is handed on as it is inside one.

    Dask sends buffers of arrays apart and puts them together at any address. numpy gives arrays that are not aligned to
    other code than BLAS, whose sums have other last bits; those of one pickle are aligned.
    """

    def __init__(self, value: Any, name: str | None = None):
        """Pack a value.

        Args:
            value: any.
            name: of the value, where no one waits for the error if it cannot be pickled: it then arrives in its place.
        """
        self._value, self._name = value, name

    @property
    def value(self) -> Any:
        """What it holds.

        Raises:
            InputError: it cannot be read here.
        """
        if isinstance(self._value, _Unreadable):
            raise InputError(self._value.why)
        return self._value

    def __reduce__(self) -> tuple[Any, ...]:
        """As bytes; of functions that no module has, too."""
        import cloudpickle

        if isinstance(self._value, _Unreadable):
            return _unpacked, (self._value.data,)
        try:
            return _unpacked, (cloudpickle.dumps(self._value, protocol=4),)
        except Exception as error:
            if self._name is None:
                raise
            return Parcel, (_Unreadable(b"", _unsendable(self._name, self._value, error, "from a worker")),)

    def __sizeof__(self) -> int:
        """By which Dask decides what goes to disk."""
        return object.__sizeof__(self) + _size(self._value)


@dataclasses.dataclass(frozen=True)
class _Unreadable:
    """What this process cannot read, and why; to raise it as a message is read would end a worker of Dask."""

    data: bytes
    why: str


def _unpacked(data: bytes) -> Parcel:
    import cloudpickle

    try:
        return Parcel(cloudpickle.loads(data))
    except Exception as error:
        why = f"{os.uname().nodename} cannot read what was sent to it ({type(error).__name__}: {error})"
        advice = "install modules of yours there, or start its workers in their folder"
        return Parcel(_Unreadable(data, f"{why}: {advice}"))


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
        cloudpickle.dumps(value, protocol=4)
    except Exception as error:
        is_record = dataclasses.is_dataclass(value)
        for part_name, part in (vars(value) if is_record else value if isinstance(value, Mapping) else {}).items():
            check_sendable(str(part_name), part)
        raise InputError(_unsendable(name, value, error, "to a worker")) from error


def _unsendable(name: str, value: Any, error: Exception, where: str) -> str:
    return f"{name} is a {type(value).__name__} that cannot be sent {where} ({error}): give what can be pickled"


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
