"""What became of the tasks that were sent to workers: how long each took, how much went in and came out, and where."""

from __future__ import annotations

import dataclasses
import json
import logging
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)

STALLED_TIMES, STALLED_SECONDS = 10.0, 60.0
"""A worker has stalled whose task takes as many times the median of its peers, and as long."""
FEWEST_PEERS = 3
"""Of which the median says how long a task takes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskRecord:
    """A task that has ended on a worker. One that was run again, because its worker was lost, has several.

    Attributes:
        name: of the task, the same each time that it is run.
        kind: what was done: the name of the function.
        about: what it was done to, such as the name of a layer.
        needs: names of the tasks whose results it took.
        worker: address of the worker.
        seconds: that the function took there.
        bytes_in: of its arguments, results of other tasks included: those of `needs` are what did not come with it.
        bytes_out: of its result.
    """

    name: str
    kind: str
    about: str
    needs: tuple[str, ...]
    worker: str
    seconds: float
    bytes_in: int
    bytes_out: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class KindOfTask:
    """All tasks of a kind together.

    Attributes:
        kind: what was done.
        tasks: how many have ended.
        seconds: that they took on their workers.
        bytes_in: of their arguments.
        bytes_out: of their results.
    """

    kind: str
    tasks: int = 0
    seconds: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0

    def and_one(self, record: TaskRecord) -> KindOfTask:
        """With one more."""
        return KindOfTask(
            kind=self.kind,
            tasks=self.tasks + 1,
            seconds=self.seconds + record.seconds,
            bytes_in=self.bytes_in + record.bytes_in,
            bytes_out=self.bytes_out + record.bytes_out,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LostWorker:
    """A worker that was lost, or not used any more.

    Attributes:
        worker: its address.
        why: in words.
        tasks: how many it was to do, or had the results of, that others did again.
    """

    worker: str
    why: str
    tasks: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClusterFacts:
    """What ran on the workers of a cluster.

    Attributes:
        scheduler: its address.
        tasks: what ran there by kind, the longest first; tasks that were run again count each time.
        lost: workers that were lost, or not used any more, in order.
    """

    scheduler: str
    tasks: tuple[KindOfTask, ...]
    lost: tuple[LostWorker, ...]


class SentTask(NamedTuple):
    """A task as it was sent; see `Executor.submit`."""

    kind: str
    about: str
    peers: str
    needs: tuple[str, ...]

    @property
    def group(self) -> tuple[str, ...]:
        """What its peers have in common."""
        return self.kind, self.about, self.peers


class TaskLog:
    """Tasks of one executor, as their workers tell of them; each that has ended is logged as a line of JSON.

    The logger is this module's, at level DEBUG. Events come from a thread of the client's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent: dict[str, SentTask] = {}
        self._kinds: dict[str, KindOfTask] = {}
        self._under_way: dict[tuple[str, str], float] = {}
        self._seconds: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)

    def sent(self, name: str, task: SentTask) -> None:
        """A task was sent."""
        with self._lock:
            self._sent[name] = task

    def take(self, event: Mapping[str, Any]) -> None:
        """A worker tells of a task: its name, that it has begun, failed or ended, and then its seconds and bytes.

        It fails with the state "unfit" where the worker was the reason.
        """
        measured = dict(event)
        state, task = measured.pop("state"), (event["name"], event["worker"])
        with self._lock:
            if state == "begun":
                self._under_way[task] = time.monotonic()
                return
            self._under_way.pop(task, None)
            if state in ("failed", "unfit"):
                return
            sent = self._sent[event["name"]]
            record = TaskRecord(kind=sent.kind, about=sent.about, needs=sent.needs, **measured)
            self._kinds[sent.kind] = self._kinds.get(sent.kind, KindOfTask(kind=sent.kind)).and_one(record)
            if sent.peers:
                self._seconds[sent.group].append(record.seconds)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s", json.dumps(dataclasses.asdict(record)))

    def forget(self, worker: str) -> None:
        """A worker is gone, with what it had under way."""
        with self._lock:
            for task in [task for task in self._under_way if task[1] == worker]:
                del self._under_way[task]

    def overdue(self) -> list[tuple[str, str]]:
        """Workers that have stalled, and why that is thought."""
        now, stalled = time.monotonic(), []
        with self._lock:
            for (name, worker), begun in self._under_way.items():
                sent, seconds = self._sent[name], now - begun
                peers = self._seconds.get(sent.group, [])
                if seconds < STALLED_SECONDS or len(peers) < FEWEST_PEERS:
                    continue
                median = statistics.median(peers)
                if seconds > STALLED_TIMES * median:
                    why = f"it had stalled: {sent.kind} took {seconds:.0f} s, elsewhere {median:.1f} s"
                    stalled.append((worker, why))
        return stalled

    @property
    def kinds(self) -> tuple[KindOfTask, ...]:
        """What has ended so far, by kind, the longest first."""
        with self._lock:
            return tuple(sorted(self._kinds.values(), key=lambda kind: -kind.seconds))
