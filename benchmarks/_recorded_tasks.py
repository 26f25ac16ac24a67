"""An executor that runs all tasks in this process as if they were far away, and keeps what they take."""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from _task_graphs import JOINED, GraphBuilder, Task, TaskGraph

from netsurgeon.pipeline.execution import Executor, Pending
from netsurgeon.pipeline.execution.executors.executor import kind_of
from netsurgeon.pipeline.execution.executors.parcel import Parcel

Result = TypeVar("Result")
FIRST = "open_shard"
"""Makes a shard; what takes one shard alone is a task of it."""
SUMMED = "shard_moments"
"""Makes a leaf of the tree of a layer's sums."""


class Recorder(Executor):
    """Runs each task when it is sent, with the seconds of a core that it takes and the bytes that it makes."""

    def __init__(
        self,
        instead: Callable[[str, tuple[Any, ...]], tuple[Any, ...]] | None = None,
        waits: Mapping[str, int] = MappingProxyType({}),
    ):
        """Begin.

        Args:
            instead: from a task's label and values to values with which it takes as long, and makes as much, as in a
                larger run; it is then run a second time, with these, and that is what is kept.
            waits: of the sums of a layer, by its name, see `Task`; it may grow while tasks run.
        """
        super().__init__()
        self._builder = GraphBuilder()
        self._instead, self._waits = instead, waits
        self._sweep, self._shard = -1, 0
        self._last = time.process_time()

    def submit(
        self, function: Callable[..., Result], *arguments: Any, about: str = "", peers: str = ""
    ) -> Pending[Result]:
        """Run a function."""
        del peers
        return self._run(function, arguments, about)

    def submit_all(
        self,
        function: Callable[..., Result],
        calls: Iterable[Sequence[Any]],
        *,
        about: str = "",
        peers: str = "",
        places: Sequence[int] | None = None,
    ) -> list[Pending[Result]]:
        """Run a function with each list."""
        del peers
        lists = list(calls)
        numbers = [-1 for _ in lists] if places is None else places
        return [self._run(function, arguments, about, at) for arguments, at in zip(lists, numbers, strict=True)]

    def _run(
        self, function: Callable[..., Result], arguments: Sequence[Any], about: str, place: int = -1
    ) -> Pending[Result]:
        self._main()
        label, values = kind_of(function), tuple(map(_value, arguments))
        needs = [argument for argument in arguments if isinstance(argument, Recorded)]
        value, seconds = _timed(function, values)
        result_bytes = sys.getsizeof(Parcel(value))
        if self._instead is not None and (larger := self._instead(label, values)) is not values:
            other, seconds = _timed(function, larger)
            result_bytes = sys.getsizeof(Parcel(other))
        number = self._builder.submit(
            Task(
                label=label,
                needs=tuple(need.number for need in needs),
                sent=sum(sys.getsizeof(Parcel(value)) for value in arguments if not isinstance(value, Recorded)),
                seconds=seconds,
                result_bytes=result_bytes,
                shard=self._shard_of(label, values, needs),
                sweep=max([self._builder.tasks[need.number].sweep for need in needs], default=self._sweep),
                place=place,
                waits=self._waits.get(about, 0) if label == SUMMED else 0,
            )
        )
        pending = Recorded(value, number, self)
        weakref.finalize(pending, self._builder.release, number).atexit = False
        self._last = time.process_time()
        return pending

    def close(self) -> None:
        """Nothing is held."""

    def fetched(self, number: int) -> None:
        """Keep that the main process waits for a result."""
        self._main()
        self._builder.wait(number)

    def graph(self) -> TaskGraph:
        """What has been run so far."""
        self._main()
        return self._builder.built()

    def _main(self) -> None:
        now = time.process_time()
        self._builder.compute(now - self._last)
        self._last = now

    def _shard_of(self, label: str, values: tuple[Any, ...], needs: Sequence[Recorded[Any]]) -> int | None:
        if label == FIRST:  # of the next inputs, or of these
            is_next = values[0].start == 0
            self._sweep, self._shard = (self._sweep + 1, 0) if is_next else (self._sweep, self._shard + 1)
            return self._shard
        shards = {self._builder.tasks[need.number].shard for need in needs} - {None}
        return shards.pop() if len(shards) == 1 and label != JOINED else None


class Recorded(Generic[Result]):
    """A result that is there, of a task by its number."""

    def __init__(self, value: Result, number: int, recorder: Recorder):
        self.value, self.number, self._recorder = value, number, recorder

    def result(self) -> Result:
        """It, as the main process gets it."""
        self._recorder.fetched(self.number)
        return self.value


def _value(argument: Any) -> Any:
    return argument.value if isinstance(argument, Recorded) else argument


def _timed(function: Callable[..., Result], values: tuple[Any, ...]) -> tuple[Result, float]:
    before = time.process_time()
    result = function(*values)
    return result, time.process_time() - before
