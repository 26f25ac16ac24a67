"""How many seconds of a run are left: first by prediction, then by what the parts that are over have taken.

Every stage has a predicted number of visits, and seconds a visit. What a visit takes is learnt from its own visits,
what is known of no visit from how far all predictions so far were off.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

PRIOR_VISITS = 0.5
"""A prediction counts as so many visits against those that were measured."""
PRIOR_SHARE = 0.05
"""How far predictions are off is learnt once this share of the run was predicted: the first stages are small ones."""
LEAST_LEFT = 0.05
"""Share of a visit that is taken to be left of one that goes on, however long it has taken already."""
CANDIDATES = "candidates"
"""Stage that is told of whenever a search begins a candidate: those that are made, and how many there may be. Its
visits are the candidates that are expected in a row."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """One stage of a run, as progress is called with, and what is expected of it.

    Attributes:
        stage: its name.
        seconds: predicted of one visit.
        visits: how often it is visited in all, but for candidates.
        of_a_candidate: how often it is visited for each candidate.
        last: times as long as those of candidates that the visits besides take, which come behind them.
    """

    stage: str
    seconds: float
    visits: float = 1.0
    of_a_candidate: float = 0.0
    last: float = 1.0


@dataclasses.dataclass(frozen=True)
class Step:
    """What a user sees as one part of a run: stages that belong together.

    Attributes:
        name: what is done in it.
        works: its stages, whichever of them come.
    """

    name: str
    works: tuple[Work, ...]


@dataclasses.dataclass
class _Visits:
    """What is known of one stage.

    Attributes:
        work: what was expected.
        over: visits that are over.
        seconds: what they have taken together.
        unplanned: visits on top of those of the candidates that are made; below 0 where some were left out.
    """

    work: Work
    over: int = 0
    seconds: float = 0.0
    unplanned: float = 0.0


class Forecast:
    """Seconds left of a run, from expected and from measured work."""

    def __init__(self, steps: Sequence[Step]):
        self._stages = {work.stage: _Visits(work) for step in steps for work in step.works}
        self._candidates = 0.0
        self._usual = self._stages[CANDIDATES].work.visits if CANDIDATES in self._stages else 0.0
        self._expected_candidates = self._usual
        self._predicted = sum(
            work.seconds * (work.last * work.visits + work.of_a_candidate * self._usual)
            for step in steps
            for work in step.works
        )
        self._before = 0

    def begin_candidate(self, done: int, most: int) -> None:
        """A candidate begins, of at most `most` in a row, of which `done` are made."""
        if done == 0:
            self._before = int(self._candidates)
        for visits in self._stages.values():
            if visits.work.of_a_candidate:
                visits.unplanned = visits.over - visits.work.of_a_candidate * self._candidates
        if self._candidates:
            self.skip(
                [stage for stage, visits in self._stages.items() if visits.work.of_a_candidate and not visits.over]
            )
        self._candidates = self._before + done + 1
        self._expected_candidates = self._before + min(max(self._usual, done + 1.5), most)

    def end_search(self) -> None:
        """No candidate comes any more: of the stages that candidates have, what comes besides is left."""
        for visits in self._stages.values():
            if visits.work.of_a_candidate:
                work, count = visits.work, visits.over + visits.work.visits
                # from now on a visit is one of the last, and those that are over have taken as much less as they had to
                visits.work = Work(stage=work.stage, seconds=work.last * work.seconds, visits=count)
                visits.seconds *= work.last
                visits.unplanned = 0.0

    def skip(self, stages: Sequence[str]) -> None:
        """These stages do not come any more."""
        for stage in stages:
            visits = self._stages[stage]
            visits.work = dataclasses.replace(visits.work, visits=visits.over, of_a_candidate=0.0)
            visits.unplanned = 0.0

    def end_visit(self, stage: str, seconds: float) -> None:
        """A visit of a stage is over and has taken so long; one before the first candidate tells nothing of those."""
        visits = self._stages.get(stage)
        if visits is not None and not self._comes_before(visits.work):
            visits.over += 1
            visits.seconds += seconds

    def seconds_left(self, stage: str, seconds: float, share: float | None) -> float:
        """Seconds left of the run.

        Args:
            stage: the one that goes on.
            seconds: what this visit of it has taken.
            share: of this visit that is done; None where nothing tells.
        """
        scale = self._scale()
        return sum(
            self._left(visits, scale, *((seconds, share) if name == stage else (0.0, 0.0)), goes_on=name == stage)
            for name, visits in self._stages.items()
        )

    def _scale(self) -> float:
        """How many times as long as predicted the visits that are over have taken.

        Stages that are not predicted say nothing, such as reading a slow disk.
        """
        stages = [visits for visits in self._stages.values() if visits.work.seconds]
        measured = sum(visits.seconds for visits in stages)
        predicted = sum(visits.over * visits.work.seconds for visits in stages)
        prior = PRIOR_SHARE * self._predicted
        return (measured + prior) / (predicted + prior) if prior else 1.0

    def _left(self, visits: _Visits, scale: float, seconds: float, share: float | None, *, goes_on: bool) -> float:
        work = visits.work
        count = work.visits + visits.unplanned + work.of_a_candidate * self._expected_candidates
        prior = scale * work.seconds
        visit = (visits.seconds + PRIOR_VISITS * prior) / (visits.over + PRIOR_VISITS)
        longer = (work.last - 1.0) * work.visits
        is_planned = goes_on and not self._comes_before(work)
        others = max(0.0, count - visits.over - is_planned) + longer
        if not goes_on:
            return visit * others
        if share is None:
            return max(visit - seconds, LEAST_LEFT * visit) + visit * others
        this = (visits.seconds + seconds + PRIOR_VISITS * prior) / (visits.over + share + PRIOR_VISITS)
        return this * (1.0 - share) + (this if is_planned else visit) * others

    def _comes_before(self, work: Work) -> bool:
        """Whether what is made of this kind is no candidate yet: models that lack units but no weights, for their drop.

        They take less time than candidates, all of which are still to come.
        """
        return bool(work.of_a_candidate) and not self._candidates
