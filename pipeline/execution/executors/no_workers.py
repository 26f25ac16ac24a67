"""A cluster that has lost all of its workers: that is said soon, and after a while it is the end of what waits."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

from netsurgeon.pipeline.errors import InputError, NoWorkersError
from netsurgeon.pipeline.notation import counted

if TYPE_CHECKING:
    import distributed

SAID_AFTER = 20.0
"""Seconds without workers until that is said: those of this machine are replaced sooner."""
PATIENCE = 1800.0
"""Seconds without workers until tasks that wait for one fail, where Dask's configuration does not say."""
SETTING = "distributed.scheduler.no-workers-timeout"
logger = logging.getLogger(__name__)


def patience() -> float:
    """How many seconds tasks wait for a worker where there is none: Dask's own setting, or PATIENCE.

    Raises:
        InputError: the setting is no time.
    """
    import dask
    from dask.utils import parse_timedelta

    setting = dask.config.get(SETTING, None)
    try:
        return PATIENCE if setting is None else float(parse_timedelta(setting))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"Dask's setting {SETTING} is {setting!r}, expected a time, such as '2 hours'") from error


class Absence:
    """How long tasks have waited on a cluster that has no workers."""

    def __init__(self, client: distributed.Client, token: str):
        """There are some now.

        Args:
            client: of the scheduler.
            token: that the names of tasks contain which are failed.

        Raises:
            InputError: what says how long to wait is no time.
        """
        self._client, self._token, self._patience = client, token, patience()
        self._address = str(client.scheduler.address)
        self._since: dict[str, float] = {}
        self._is_said = False

    def look(self, now: float) -> None:
        """Say that tasks wait and there are no workers, or that there are some again; fail what has waited too long.

        Args:
            now: seconds of a clock that never goes back.
        """
        if self._client.nthreads():
            if self._is_said:
                logger.warning("the cluster at %s has workers again", self._address)
            self._since, self._is_said = {}, False
            return
        self._since = {name: self._since.get(name, now) for name in self._waiting()}
        longest = now - min(self._since.values(), default=now)
        if longest >= self._patience:
            self._fail_what_waits_since(now - self._patience)
        elif longest >= SAID_AFTER and not self._is_said:
            self._is_said = True
            logger.warning(
                "the cluster at %s has no workers any more: tasks wait for the next one, and fail if none comes within "
                "%s",
                self._address,
                _in_words(self._patience),
            )

    def error(self, seconds: float) -> NoWorkersError:
        """What tasks end with that have waited for too long.

        Args:
            seconds: how long, of which the scheduler may have a limit of its own.
        """
        return NoWorkersError(
            f"the cluster at {self._address} has had no workers for {_in_words(seconds)}: start some and give "
            f"the same command again; with a work folder it goes on from what is kept there ({SETTING} of Dask's "
            "configuration sets how long to wait)"
        )

    def _waiting(self) -> dict[str, Any]:
        """States of results that are to be made, or made anew since the worker that had them is gone, by name."""
        states = {str(name): state for name, state in [*self._client.futures.items()]}
        return {
            name: state for name, state in states.items() if self._token in name and state.status in ("pending", "lost")
        }

    def _fail_what_waits_since(self, latest: float) -> None:
        async def fail() -> None:  # where the client takes what the scheduler says of them
            for name, state in self._waiting().items():
                if self._since.get(name, math.inf) <= latest:
                    state.set_error(self.error(self._patience), None)

        self._client.sync(fail)


def _in_words(seconds: float) -> str:
    return counted(round(seconds), "second") if seconds < 120.0 else counted(round(seconds / 60), "minute")
