"""Where progress is shown: a bar on a terminal, a bar in a notebook, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import html
import importlib
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Column

from netsurgeon.pipeline.progress.run_progress import Status

LONGEST_SILENCE = 60.0
"""Seconds after which a run without a terminal writes a line at the latest."""
REDRAWN_EVERY = 1.0
"""Seconds between two looks at the clock of what is shown outside of a terminal."""
REDRAWN_AT_MOST_EVERY = 0.25
"""Seconds between two updates of a notebook's output, which travel through the network."""
SOON = 1.0
"""Seconds that a stage must have lasted to be worth a line."""
WIDEST_LEFT = len("about 1 h 20 min left")


class Display(Protocol):
    """Something that shows where a run stands."""

    def show(self, status: Status) -> None:
        """Something was done."""

    def beat(self, status: Status) -> None:
        """Time has passed."""

    def close(self, status: Status, *, is_done: bool) -> None:
        """The run has ended: it is done, or an error or a stop has ended it."""


def sentence(status: Status) -> str:
    """One line about a run: `step 4 of 9, candidate 2 of at most 5: pruning layers 3/20; about 6 min left`."""
    return _sentence(status, status.doing)


def _sentence(status: Status, doing: str) -> str:
    return "; ".join(filter(None, (_what(status, doing), status.time_left)))


def _what(status: Status, doing: str) -> str:
    return ": ".join(filter(None, (status.place, doing)))


class TerminalDisplay:
    """One line with a bar that is gone when the work is done; the terminal's own thread keeps the clock going."""

    def __init__(self, console: Console):
        left = Column(no_wrap=True, min_width=WIDEST_LEFT)
        self._bar = Bar(
            TextColumn("{task.description}", table_column=Column(overflow="fold")),
            BarColumn(24),
            TextColumn("{task.fields[left]}", table_column=left),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, left="")

    def show(self, status: Status) -> None:
        """Draw the line anew."""
        share = status.share
        if share is None and status.count > 1:
            share = min(status.done / status.count, 1.0)
        self._bar.update(
            self._task,
            description=_what(status, status.doing),
            left=status.time_left,
            total=None if share is None else 1.0,
            completed=share or 0.0,
        )
        self._bar.start()

    beat = show

    def close(self, status: Status, *, is_done: bool) -> None:
        """Take the line away."""
        del status, is_done
        self._bar.stop()


class NotebookDisplay:
    """A bar, a clock and a sentence below the cell, redrawn in place; rich would need ipywidgets for that."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._publish: Callable[..., Any] = importlib.import_module("IPython.display").display
        self._handle: Any = None
        self._clock, self._drawn = clock, -REDRAWN_AT_MOST_EVERY

    def show(self, status: Status) -> None:
        """Draw anew, unless that has been done just now."""
        if self._clock() - self._drawn >= REDRAWN_AT_MOST_EVERY:
            share = "" if status.share is None else f' value="{status.share:.3f}"'
            text = f"[{_clock_time(status.elapsed)}] {sentence(status)}"
            self._draw(text, f'<progress max="1"{share}></progress> {html.escape(text)}')

    beat = show

    def close(self, status: Status, *, is_done: bool) -> None:
        """Say how long it has taken, and where it was stopped."""
        if self._handle is not None:
            after = _clock_time(status.elapsed)
            text = f"done in {after}" if is_done else f"stopped after {after}: {status.stage}"
            self._draw(text, html.escape(text))

    def _draw(self, text: str, markup: str) -> None:
        self._drawn = self._clock()
        bundle = {"text/plain": text, "text/html": markup}
        if self._handle is None:
            self._handle = self._publish(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


class LineDisplay:
    """A plain line for each step of the run and for each stage that lasts, and at least one a minute.

    The first step has none at once: there most runs end that cannot be done, with one sentence of their own.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic):
        self._stream, self._clock = stream, clock
        self._silent_until = clock() + LONGEST_SILENCE
        self._due, self._step, self._stage = self._silent_until, "", ""

    def show(self, status: Status) -> None:
        """Write a line where another step begins; of another stage later, if it lasts."""
        step = status.name or status.stage
        if self._step and step != self._step:
            self._write(status, step)
        elif self._stage and status.stage != self._stage:
            self._due = min(self._clock() + SOON, self._silent_until)
        self._step, self._stage = step, status.stage
        self.beat(status)

    def beat(self, status: Status) -> None:
        """Write a line of a stage that has lasted, or where none was for long."""
        if self._clock() >= self._due:
            self._write(status, status.doing)

    def close(self, status: Status, *, is_done: bool) -> None:
        """Nothing is left to say."""

    def _write(self, status: Status, doing: str) -> None:
        self._due = self._silent_until = self._clock() + LONGEST_SILENCE
        line = f"[{_clock_time(status.elapsed)}] {_sentence(status, doing)}"
        with contextlib.suppress(OSError):  # a reader that has gone away must not end the run
            print(line, file=self._stream or sys.stderr, flush=True)


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def fitting_display(console: Console | None = None) -> Display:
    """What suits where this runs; it shows on the console, by default that of standard error."""
    console = console or Console(stderr=True)
    if console.is_jupyter:
        return NotebookDisplay()
    return TerminalDisplay(console) if console.is_terminal else LineDisplay()
