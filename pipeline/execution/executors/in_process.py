"""Tasks in this process, one after the other: what they call has threads of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from netsurgeon.pipeline.execution.executors.executor import Executor, Pending

Result = TypeVar("Result")


class InProcess(Executor):
    """Runs each task when its result is asked for, so that no more than one is under way."""

    is_here = True
    ahead = 0

    def submit(
        self, function: Callable[..., Result], *arguments: Any, about: str = "", peers: str = ""
    ) -> Pending[Result]:
        """Remember what is to be done."""
        del about, peers
        return _Deferred(function, arguments)

    def start(self, function: Callable[..., Result], *arguments: Any, about: str = "") -> Pending[Result]:
        """Run a task at once."""
        pending = self.submit(function, *arguments, about=about)
        pending.result()
        return pending

    def close(self) -> None:
        """Nothing is held."""


class _Deferred(Generic[Result]):
    """A task that runs once, when it is asked for; what it was made from is then let go."""

    def __init__(self, function: Callable[..., Result], arguments: tuple[Any, ...]):
        self._function = function
        self._arguments = [*arguments]
        self._results: list[Result] = []
        self._error: Exception | None = None

    def result(self) -> Result:
        if self._error is not None:
            raise self._error
        if not self._results:
            try:
                self._results.append(self._run())
            except Exception as error:
                self._error = error
                raise
        return self._results[0]

    def _run(self) -> Result:
        values = []
        while self._arguments:  # one by one: a tree of sums then holds no more than one branch
            argument = self._arguments.pop(0)
            values.append(argument.result() if isinstance(argument, _Deferred) else argument)
        return self._function(*values)
