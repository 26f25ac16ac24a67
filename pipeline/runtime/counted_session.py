"""Sessions whose outputs hold 0 at positions that a mask excludes, so that two models are the same there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from netsurgeon.pipeline.data import PositionMask
from netsurgeon.pipeline.runtime.session import Session


class _Counted(Session):
    """Runs another session."""

    def __init__(self, session: Session, mask: PositionMask):
        self._session, self._mask = session, mask
        self.inputs, self.outputs = session.inputs, session.outputs

    def run(self, feed: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        return self._mask.counted(self._session.run(feed, outputs), feed)


def counted(session: Session, mask: PositionMask | None) -> Session:
    """The session, where there is a mask with 0 for all that does not count."""
    return session if mask is None else _Counted(session, mask)
