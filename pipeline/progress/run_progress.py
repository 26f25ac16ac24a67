"""One object a run that is told what is done, and knows where the run stands."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Callable, Sequence

from netsurgeon.pipeline.progress.forecast import CANDIDATES, Forecast, Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Status:
    """Where a run stands.

    Attributes:
        stage: what is done.
        done: steps of it that are done.
        count: steps of it in all; 0 where nobody knows.
        step: number of the part of the run, from 1; 0 where the parts are not known.
        steps: parts of the run in all.
        name: of the part.
        candidate: number of the candidate that is made, from 1; 0 where none is.
        candidates: how many there may be.
        elapsed: seconds since the run began.
        left: seconds that are left; None where nothing tells.
    """

    stage: str
    done: int
    count: int
    step: int = 0
    steps: int = 0
    name: str = ""
    candidate: int = 0
    candidates: int = 0
    elapsed: float = 0.0
    left: float | None = None

    @property
    def place(self) -> str:
        """The part of the run, as `step 4 of 9, candidate 2 of at most 5`; empty where parts are not known."""
        parts = [f"step {self.step} of {self.steps}"] if self.steps else []
        if self.candidate:
            parts.append(f"candidate {self.candidate} of at most {self.candidates}")
        return ", ".join(parts)

    @property
    def doing(self) -> str:
        """The stage, with its steps once there are some; empty where all is said by the number of the candidate."""
        if self.stage == CANDIDATES and self.candidate:
            return ""
        return f"{self.stage} {self.done}/{self.count}" if self.done and self.count > 1 else self.stage

    @property
    def share(self) -> float | None:
        """Share of the run's time that is over; None where nothing tells."""
        return None if self.left is None else self.elapsed / max(self.elapsed + self.left, 1e-9)

    @property
    def time_left(self) -> str:
        """As `about 6 min left`; empty where nothing tells."""
        return "" if self.left is None else f"{roughly(self.left)} left"


def roughly(seconds: float) -> str:
    """A time as precise as a forecast is: `a few seconds`, `about 40 s`, `about 6 min`, `about 1 h 20 min`."""
    if seconds < 7.5:
        return "a few seconds"
    if seconds < 57.5:
        return f"about {5 * round(seconds / 5)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min"
    hours, rest = divmod(10 * round(minutes / 10), 60)
    return f"about {hours} h {rest} min" if rest else f"about {hours} h"


class RunProgress:
    """Progress of one run: it is called as any `Progress`, and shows what it makes of it.

    Where the parts of the run are expected (`expect`) it forecasts the whole of it, else the stage that goes on.

    Attributes:
        clock: gives the seconds that count.
    """

    def __init__(self, show: Callable[[Status], None], clock: Callable[[], float] = time.monotonic, every: float = 0.0):
        """Keep what shows it; within a stage only every so many seconds, since each forecast takes time, too."""
        self._show, self.clock, self._every, self._shown = show, clock, every, -math.inf
        self._lock = threading.Lock()
        self._begun = self._stage_begun = clock()
        self._steps: tuple[Step, ...] = ()
        self._forecast: Forecast | None = None
        self._at = 0
        self._now = Status(stage="", done=0, count=0)

    def __call__(self, stage: str, done: int, count: int) -> None:
        """So much of a stage is done."""
        with self._lock:
            is_new, moment = stage != self._now.stage, self.clock()
            self._take(stage, done, count)
            if not is_new and moment - self._shown < self._every:
                return
            self._shown = moment
        self._show(self.status())

    def expect(self, steps: Sequence[Step]) -> None:
        """Say what the run will do, from its beginning on; those that are over already are among them."""
        with self._lock:
            self._steps, self._forecast = tuple(steps), Forecast(steps)
            self._at = 0
            self._move(self._now.stage)

    def status(self) -> Status:
        """Where the run stands at this moment."""
        with self._lock:
            now, moment = self._now, self.clock()
            return dataclasses.replace(now, elapsed=moment - self._begun, left=self._left(moment - self._stage_begun))

    def _take(self, stage: str, done: int, count: int) -> None:
        if stage == CANDIDATES:
            if self._forecast is not None:
                self._forecast.begin_candidate(done, count)
            self._now = dataclasses.replace(self._now, candidate=done + 1, candidates=count)
        if stage != self._now.stage:
            moment = self.clock()
            if self._forecast is not None:
                self._forecast.end_visit(self._now.stage, moment - self._stage_begun)
            self._stage_begun = moment
        self._now = dataclasses.replace(self._now, stage=stage, done=done, count=count)
        self._move(stage)

    def _move(self, stage: str) -> None:
        """Go on to the first step from here on that has the stage: there is no way back."""
        for at in range(self._at, len(self._steps)):
            if stage in [work.stage for work in self._steps[at].works]:
                break
        else:
            at = self._at
        if at > self._at and self._forecast is not None:
            self._leave(at)
        self._at = at
        if self._steps:
            self._now = dataclasses.replace(self._now, step=at + 1, steps=len(self._steps), name=self._steps[at].name)

    def _leave(self, at: int) -> None:
        """Steps before this one are over, but that a search goes back to what it measures."""
        assert self._forecast is not None
        searched = [
            number for number, step in enumerate(self._steps) if any(work.of_a_candidate for work in step.works)
        ]
        if searched and at <= searched[-1]:
            return
        passed = [work for step in self._steps[:at] for work in step.works if not work.of_a_candidate]
        self._forecast.skip([work.stage for work in passed])
        self._forecast.end_search()
        self._now = dataclasses.replace(self._now, candidate=0, candidates=0)

    def _left(self, seconds: float) -> float | None:
        stage, done, count = self._now.stage, self._now.done, self._now.count
        share = min(done / count, 1.0) if done and count > 1 else None
        if self._forecast is not None:
            return self._forecast.seconds_left(stage, seconds, share)
        return seconds * (1.0 - share) / share if share else None
