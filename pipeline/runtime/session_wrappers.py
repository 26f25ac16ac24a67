"""Sessions around another one: with 0 at positions that a mask excludes, or run once on each feed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from netsurgeon.pipeline.data import PositionMask
from netsurgeon.pipeline.runtime.session import Session

MOST_REMEMBERED_BYTES = 1 << 26
"""Of outputs: class scores of many thousand inputs."""


class _Wrapper(Session):
    """What wraps another session."""

    def __init__(self, session: Session):
        self._session = session
        self.inputs, self.outputs = session.inputs, session.outputs


class _Counted(_Wrapper):
    """Runs another session."""

    def __init__(self, session: Session, mask: PositionMask):
        super().__init__(session)
        self._mask = mask

    def run(self, feed: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        return self._mask.counted(self._session.run(feed, outputs), feed)


class Remembering(_Wrapper):
    """Runs another session once on each feed, and keeps what it says as long as there is room; feeds are digested."""

    def __init__(self, session: Session):
        super().__init__(session)
        self._known: dict[tuple[bytes, tuple[str, ...]], dict[str, Any]] = {}
        self._room = MOST_REMEMBERED_BYTES

    def run(self, feed: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Outputs by name.

        Raises:
            RunError: the model fails on this feed.
        """
        arrays = {name: np.asarray(value) for name, value in feed.items()}
        if any(array.dtype.hasobject for array in arrays.values()):  # texts, whose bytes are addresses
            return self._session.run(feed, outputs)
        key = _digest(arrays), tuple(self.outputs if outputs is None else outputs)
        if key in self._known:
            return _copied(self._known[key])
        values = self._session.run(feed, outputs)
        size = sum(value.nbytes if _has_known_size(value) else self._room for value in values.values())
        if size < self._room:
            self._room -= size
            self._known[key] = _copied(values)
        return values


def _has_known_size(value: Any) -> bool:
    """Whether it is an array of numbers: of texts only the addresses are counted."""
    return isinstance(value, np.ndarray) and not value.dtype.hasobject


def _copied(values: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """The same: a metric of the user's own may change what it gets."""
    return {name: value.copy() for name, value in values.items()}


def _digest(arrays: Mapping[str, np.ndarray]) -> bytes:
    whole = hashlib.sha256()
    for name, array in arrays.items():
        whole.update(f"{name} {array.dtype} {array.shape} ".encode())
        whole.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return whole.digest()


def counted(session: Session, mask: PositionMask | None) -> Session:
    """The session, where there is a mask with 0 for all that does not count."""
    return session if mask is None else _Counted(session, mask)
