"""Follow a run as its caller wants: not at all, by a callable of the caller's own, or shown where it runs."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from netsurgeon.pipeline.progress.displays import REDRAWN_EVERY, Display, fitting_display
from netsurgeon.pipeline.progress.run_progress import RunProgress, Status
from netsurgeon.pipeline.progress.ticks import Progress

ProgressLike = Progress | bool | None
"""True = shown as suits the terminal, the notebook or the log it runs in; None or False = not at all; a callable is
called with the stage, the steps done and the steps in all."""
SHOWN_EVERY = 0.1
"""Seconds between two looks at one stage: a sweep has thousands of ticks, of which each would cost a forecast."""


@contextmanager
def following(progress: ProgressLike) -> Iterator[RunProgress]:
    """What a run tells of its progress, from now until the run is over."""
    if isinstance(progress, RunProgress):
        yield progress
    elif progress is True:
        with shown_on(fitting_display()) as run:
            yield run
    elif progress is None or progress is False:
        yield RunProgress(_unseen, every=math.inf)
    else:
        called = progress
        yield RunProgress(lambda status: called(status.stage, status.done, status.count))


@contextmanager
def shown_on(display: Display) -> Iterator[RunProgress]:
    """Progress that a display shows; in between it is told that time passes, for a stage may take long."""
    lock, over = threading.Lock(), threading.Event()

    def show(status: Status) -> None:
        with lock:
            display.show(status)

    def beat() -> None:
        while not over.wait(REDRAWN_EVERY):
            status = run.status()
            if status.stage:
                with lock:
                    display.beat(status)

    run, is_done = RunProgress(show, every=SHOWN_EVERY), False
    thread = threading.Thread(target=beat, name="netsurgeon-progress", daemon=True)
    thread.start()
    try:
        yield run
        is_done = True
    finally:
        over.set()
        thread.join()
        display.close(run.status(), is_done=is_done)


def _unseen(status: Status) -> None:
    del status
