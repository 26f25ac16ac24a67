"""What every executor does: run tasks, wherever that is, with results that do not depend on the number of workers."""

from __future__ import annotations

import abc
import collections
import functools
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from netsurgeon.pipeline.execution.executors.task_log import ClusterFacts

Task = TypeVar("Task")
Result = TypeVar("Result")
Part = TypeVar("Part")
Result_co = TypeVar("Result_co", covariant=True)


MOST_REMEMBERED = 2
"""Sets of inputs that stay on workers from sweep to sweep: the scheduler has them in its memory."""


class Pending(Protocol[Result_co]):
    """The result of a task, which may not be there yet."""

    def result(self) -> Result_co:
        """Wait for it.

        Raises:
            Exception: what the task has raised.
            ClusterError: it was lost together with the cluster that it ran on.
        """


class Executor(abc.ABC):
    """Runs functions of modules on arguments that can be pickled, and does so again where a worker was lost.

    Use as a context manager: workers that were started for it end with it.
    """

    is_here = False
    """Whether tasks run in this process, where they share what it has open."""
    ahead = 16
    """Tasks that `gather` has taken while it waits for one."""

    def __init__(self) -> None:
        """Nothing is remembered yet."""
        self._sent: dict[Hashable, Pending[Any]] = {}
        self._remembered: collections.OrderedDict[int, tuple[object, Any]] = collections.OrderedDict()

    @abc.abstractmethod
    def submit(
        self, function: Callable[..., Result], *arguments: Any, about: str = "", peers: str = ""
    ) -> Pending[Result]:
        """Let a function run; a `Pending` among its arguments stands for its result, which stays where it is.

        Args:
            function: of a module.
            *arguments: of the function, which does not change them: large arrays that have come through a store are
                read-only.
            about: what it is done to, such as the name of a layer.
            peers: a name that tasks have in common which take about as long if they do the same to the same, such as
                those of a sweep: one that takes many times longer has stalled. Without it a task may take any time.
        """

    def submit_all(
        self,
        function: Callable[..., Result],
        calls: Iterable[Sequence[Any]],
        *,
        about: str = "",
        peers: str = "",
        places: Sequence[int] | None = None,
    ) -> list[Pending[Result]]:
        """Let a function run with each of some lists of arguments, which are sent in one message.

        Args:
            function: of a module. It does not change its arguments: one that several lists have is one object for all
                tasks on a worker, so that a generator of random numbers would give other ones with other workers.
            calls: the arguments of each task, as many in each.
            about: see `submit`, as `peers`.
            peers: see `submit`.
            places: a number for each: those of one number go to one worker as long as it is there and no more come, in
                later calls, too, and numbers that follow each other to different ones. Without them tasks go to workers
                that have some of what they need.

        Returns:
            A result for each list, in their order.
        """
        return [self.submit(function, *arguments, about=about, peers=peers) for arguments in calls]

    @property
    def facts(self) -> ClusterFacts | None:
        """What ran on workers, and what was lost there; None where there are none."""
        return None

    @property
    def cores(self) -> Sequence[int]:
        """Of workers, counted once where several share the same; none where tasks run in this process."""
        return ()

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of all workers."""

    def start(self, function: Callable[..., Result], *arguments: Any, about: str = "") -> Pending[Result]:
        """The same, and in this process at once: what it is made from need not last until it is asked for."""
        return self.submit(function, *arguments, about=about)

    def send(self, value: Result, key: Hashable = None) -> Pending[Result]:
        """What many tasks need, sent once: what has a key, such as the hash of its content, stays there."""
        if key is None:
            return self.submit(as_is, value)
        if key not in self._sent:
            self._sent[key] = self.submit(as_is, value)
        sent: Pending[Result] = self._sent[key]
        return sent

    def remember(self, source: object, make: Callable[[], Result]) -> Result:
        """What was made from a source, such as inputs that were sent; that of MOST_REMEMBERED sources is kept."""
        if id(source) not in self._remembered:
            self._remembered[id(source)] = source, make()  # the source stays, so that its id is its own
            if len(self._remembered) > MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        self._remembered.move_to_end(id(source))
        result: Result = self._remembered[id(source)][1]
        return result

    def gather(self, pending: Iterable[Pending[Result]]) -> Iterator[Result]:
        """Results in order, whichever is done first; tasks are taken a few ahead of the result that is waited for."""
        waiting: collections.deque[Pending[Result]] = collections.deque()
        for task in pending:
            waiting.append(task)
            if len(waiting) > self.ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Results in the order of the tasks."""
        return self.gather(self.submit(function, task) for task in tasks)

    def tree_reduce(
        self, combine: Callable[[Result, Result], Result], parts: Iterable[Pending[Result]], about: str = ""
    ) -> Pending[Result]:
        """All parts combined in the tree of `fold`, level by level, each pair where one of the two is.

        Args:
            combine: an earlier and a later part.
            parts: whoever keeps them keeps all of their results; else no more than a branch of the tree is held.
            about: what they are of.

        Raises:
            ValueError: there are no parts.
        """
        return _fold_levels(lambda pairs: self.submit_all(combine, pairs, about=about), parts)

    def __enter__(self) -> Executor:
        """Enter."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Let go of all workers."""
        self.close()


def as_is(value: Result) -> Result:
    """What is sent once, for many tasks."""
    return value


def kind_of(function: Callable[..., Any]) -> str:
    """What a task does, in one word: the name of its function, or of the one that a partial one calls in the end."""
    while isinstance(function, functools.partial):
        inner = [argument for argument in function.args if callable(argument)]
        function = inner[0] if inner else function.func
    return getattr(function, "__name__", type(function).__name__).strip("<>")


def fold(combine: Callable[[Part, Part], Part], parts: Iterable[Part]) -> Part:
    """Combine parts in a binary tree that their number alone decides, so that sums of floats are the same everywhere.

    In each level neighbours are combined; a last one without a neighbour is set aside, and those that were are combined
    with the whole from the last one on.

    Raises:
        ValueError: there are no parts.
    """
    return _fold_levels(lambda pairs: [combine(*pair) for pair in pairs], parts)


def _fold_levels(combine: Callable[[list[tuple[Part, Part]]], list[Part]], parts: Iterable[Part]) -> Part:
    """The same, where all pairs of a level are combined by one call."""
    level, aside = list(parts), list[Part]()
    if not level:
        raise ValueError("there are no parts to combine")
    while len(level) > 1:
        if len(level) % 2:
            aside.append(level.pop())
        level = combine(list(zip(level[::2], level[1::2], strict=True)))
    whole, *others = (*aside, *level)
    for part in others:
        (whole,) = combine([(part, whole)])
    return whole
