"""From shares of the weights kept to the smallest candidate whose drop is within a limit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from netsurgeon.pipeline.progress import CANDIDATES
from netsurgeon.pipeline.pruning import can_evaluate_at_low_fidelity
from netsurgeon.pipeline.search.candidates import Candidate, CandidateEvaluator
from netsurgeon.pipeline.search.pruner import Structure
from netsurgeon.pipeline.verification import DropEstimate, expected_drop

LOW_FIDELITY_SHARES, LOW_FIDELITY_SHARES_FAST = (0.7, 0.5, 0.35, 0.2, 0.1, 0.05, 0.025), (0.75, 0.4, 0.15)
"""Shares of the weights kept by the plans that are evaluated at low fidelity; the second for a first look."""
FIRST_KEPT = 0.5
"""Share kept by the first candidate where layers are too wide to evaluate at low fidelity."""
REPAIRS = 3
"""Most candidates that are repaired; one in a first look."""
TRIES, FEW_TRIES = 5, 1
"""Most real operations in a row for one goal; the second where the user wants a first look, and one more that keeps all
weights where that does not reach it."""
STEP = 1.3
"""Factor between shares kept, and by which it grows, until the goal lies between two of them."""
CLOSE, CLOSE_UNPROVEN = 1.12, 1.25
"""The search ends when the goal lies between two shares of which one is so many times the other. The second where the
inputs are too few to prove anything: neighbours that are closer differ by less than chance makes of either. (With 500
inputs that take turns SqueezeNet's bounds were 1.16, 1.31, 1.06 and 1.12 %, from the smallest file to the largest.)"""
NEAR, NEAR_UNPROVEN = 1.03, 1.06
"""Nor is a share between the two tried that a line through both excesses says to be less than so many times smaller."""
STRAIGHT = 1.7
"""The line is believed between two shares of which one is less than so many times the other: what is lost bends upwards
farther away, and LeNet-5 ended with a tenth more bytes by it."""
STRIDES = (1.06, 3.0)
"""Least and largest factor by which the first candidate is moved to where evaluations at low fidelity say that the
limit lies."""
FEWEST_KEPT = 0.004
UNPROVEN, BOUND_FAST = 0.5, 1.5
"""Where nothing can be proven, the drop expected must be within this share of the limit: the best of a few is lucky.
In a first look, whose halves take no turns, the bound must be within so many times the limit as well."""


class Descent:
    """Shares of the weights kept, downwards until the drop goes beyond the limit, then between the last two."""

    def __init__(self, evaluator: CandidateEvaluator, structure: Structure, limit: float, *, is_hasty: bool):
        self.evaluator, self.structure, self.limit, self.is_hasty = evaluator, structure, limit, is_hasty
        self.candidates: dict[float, Candidate] = {}
        self.low_fidelity_estimates: list[DropEstimate] = []
        self.has_enough = True
        self._other_estimates: tuple[DropEstimate, ...] = ()
        self._accepted_share: float | None = None

    def run(self) -> Candidate | None:
        """The smallest candidate within the limit; None where there is none."""
        start = self._start()
        best = self._descend(start)
        if self.is_hasty:
            return best or self._nearest()
        if best is None and self.has_enough:  # too few inputs after all
            self.has_enough = False
            best = self._descend(min(self.candidates))
        if best is None and 1.0 not in self.candidates:  # so many steps up were not enough
            best = self._descend(1.0)
        return best

    def settled(self, evaluator: CandidateEvaluator) -> Descent:
        """A descent among candidates as they are delivered, from where this one has ended until one is within.

        Being corrected on more inputs they lose a little less than this one's: they are asked for as few weights first
        as a line through its excesses says that the limit allows, then for as many as its best has.
        """
        settled = Descent(evaluator, self.structure, self.limit, is_hasty=self.is_hasty)
        settled.has_enough, settled._other_estimates = self.has_enough, self._estimates
        low, high = self._bracket()
        shares = [1.0]
        if low is not None:
            shares = [low if high is None else self._crossing(low, high), low, min(1.0, STEP * low), 1.0]
        for share in dict.fromkeys(shares):
            evaluator.context.progress("making the chosen model", 0, 1)
            settled.candidates[share] = evaluator.candidate(self.structure, share)
            if settled.best is not None:
                break
        return settled

    @property
    def best(self) -> Candidate | None:
        """The smallest candidate within the limit so far; None where there is none."""
        low, _ = self._bracket()
        return None if low is None else self.candidates[low]

    def run_below(self, candidate: Candidate) -> Candidate | None:
        """The smallest within the limit of those that are smaller than one of another evaluator that is within it.

        Few are made: what makes this evaluator's candidates better takes long. None is larger than the given one, which
        counts as within the limit even where it does not by its own drop, without what the other search has tried.
        """
        self.has_enough = candidate.evidence.has_enough_samples(self.limit)
        self.candidates[candidate.share], self._accepted_share = candidate, candidate.share
        best = self._descend(max(candidate.share / STEP, FEWEST_KEPT), most=1 if self.is_hasty else REPAIRS)
        return None if best is candidate else best

    def _nearest(self) -> Candidate | None:
        """The smallest within the limit for all one knows, else the surest that may be, all weights kept among them."""
        self.has_enough = False
        self.evaluator.context.progress(CANDIDATES, FEW_TRIES, FEW_TRIES + 1)
        self.candidates[1.0] = self.evaluator.candidate(self.structure, 1.0)
        low, _ = self._bracket()
        if low is not None:
            return self.candidates[low]
        may_be = [candidate for candidate in self.candidates.values() if self._unproven(candidate.evidence) <= 0.0]
        return min(may_be, key=lambda candidate: candidate.evidence.high, default=None)

    def whole_is_beyond(self) -> bool:
        """Whether more than the limit is lost though all weights are kept: then no share of them is within it."""
        evidence = self.evaluator.candidate(self.structure, 1.0).evidence
        if evidence.drop <= self.limit or evidence.low > self.limit:
            return evidence.drop > self.limit
        return self.evaluator.as_delivered().candidate(self.structure, 1.0).evidence.drop > self.limit

    def _excess(self, evidence: DropEstimate) -> float:
        if self.has_enough:
            return evidence.high - self.limit
        unproven = self._unproven(evidence)
        return max(unproven, evidence.high - BOUND_FAST * self.limit) if self.is_hasty else unproven

    def _unproven(self, evidence: DropEstimate) -> float:
        expected = expected_drop(evidence, self._estimates)
        return max(expected - UNPROVEN * self.limit, evidence.drop - self.limit)

    @property
    def _estimates(self) -> tuple[DropEstimate, ...]:
        """Of all that was tried on all the inputs: not on a part of them, as of candidates that were broken off."""
        of_candidates = (candidate.evidence for candidate in self.candidates.values())
        estimates = (*self.low_fidelity_estimates, *self._other_estimates, *of_candidates)
        guiding = self.evaluator.guiding_samples
        return tuple(estimate for estimate in estimates if estimate.samples >= guiding)

    def _start(self) -> float:
        """About where the limit lies by evaluations at low fidelity, whose drops are larger than real ones."""
        evaluator, structure = self.evaluator, self.structure
        if evaluator.context.options.uniform or not can_evaluate_at_low_fidelity(
            evaluator.context.dense, structure.selection.sizes
        ):
            return FIRST_KEPT
        shares = LOW_FIDELITY_SHARES_FAST if self.is_hasty else LOW_FIDELITY_SHARES
        estimates = evaluator.evaluate_at_low_fidelity(structure, shares, self._goes_on)
        self._take(estimates)
        within = [kept for kept, estimate in zip(shares, estimates, strict=False) if self._excess(estimate) <= 0.0]
        if not within:  # a first look has no tries to come nearer step by step
            return evaluator.share_like(structure, math.sqrt(shares[0]) if self.is_hasty else shares[0])
        if self.is_hasty:  # no second try: not where nothing is known
            return evaluator.share_like(structure, min(within))
        place = shares.index(min(within))
        next_place = min(place + 1, len(shares) - 1)
        return evaluator.share_like(structure, math.sqrt(shares[place] * shares[next_place]))

    def _take(self, estimates: Sequence[DropEstimate]) -> None:
        """Go by evaluations at low fidelity; in a first look they may be of a part of the inputs that guide it."""
        self.low_fidelity_estimates = list(estimates)
        largest = max(estimates, key=lambda estimate: estimate.samples)
        samples = max(largest.samples, self.evaluator.guiding_samples)
        self.has_enough = dataclasses.replace(largest, samples=samples).has_enough_samples(self.limit)

    def _goes_on(self, estimates: Sequence[DropEstimate]) -> bool:
        """Whether smaller shares may be within the limit; in a first look, whether the smallest so far is."""
        if not self.is_hasty:
            return not estimates[-1].low > self.limit  # which may be no number
        self._take(estimates)
        return self._excess(estimates[-1]) <= 0.0

    def _descend(self, kept: float, most: int | None = None) -> Candidate | None:
        step = STEP
        most = most or (FEW_TRIES if self.is_hasty else TRIES)
        for attempt in range(most):
            if kept not in self.candidates:
                self.evaluator.context.progress(CANDIDATES, attempt, most + self.is_hasty)
                self.candidates[kept] = self.evaluator.candidate(self.structure, kept)
            low, high = self._bracket()
            if low is None and high == 1.0:
                return None
            stride = self._stride(self.candidates[kept]) if attempt == 0 else None
            if low is None:
                assert high is not None
                kept = min(1.0, high * (stride or step))
            elif high is None:
                kept = max(low / (stride or step), FEWEST_KEPT)
                if low == FEWEST_KEPT:
                    break
            elif self._is_close(low, high):
                break
            else:
                kept = self._between(low, high)
            step = step if stride else step * STEP
        return self.best

    def _bracket(self) -> tuple[float | None, float | None]:
        """The smallest share within the limit, and the largest below it that is not."""
        within = [
            kept
            for kept, candidate in self.candidates.items()
            if kept == self._accepted_share or self._excess(candidate.evidence) <= 0.0
        ]
        low = min(within, default=None)
        beyond = [kept for kept in self.candidates if kept not in within and (low is None or kept < low)]
        return low, max(beyond, default=None)

    def _is_close(self, low: float, high: float) -> bool:
        """Whether no share between the two would be much smaller than the one within the limit."""
        close, near = (CLOSE, NEAR) if self.has_enough else (CLOSE_UNPROVEN, NEAR_UNPROVEN)
        return low / high < close or (low / high < STRAIGHT and low / self._crossing(low, high) < near)

    def _crossing(self, low: float, high: float, least: float = 0.0) -> float:
        """Where a line through both excesses over the logarithm of the share meets the limit.

        Args:
            low: the smaller share of the two that is within the limit.
            high: the one that is not.
            least: part of the way from either that is gone at least.
        """
        inside, outside = (self._excess(self.candidates[kept].evidence) for kept in (low, high))
        inside = min(inside, 0.0)  # a candidate that another search has accepted may seem beyond the limit
        part = min(max(inside / (inside - outside), least), 1.0 - least)
        return float(low * (high / low) ** part)

    def _between(self, low: float, high: float) -> float:
        """The same, well between the two."""
        return self._crossing(low, high, least=0.25)

    def _stride(self, first: Candidate) -> float | None:
        """By how much the first candidate should keep less, or more where it is beyond the limit; None = nothing tells.

        What candidates lose by their shares of the weights is what evaluations at low fidelity lose, but at other
        shares, which are all so many times smaller: as many times as the first candidate's is.
        """
        shares = LOW_FIDELITY_SHARES[: len(self.low_fidelity_estimates)]
        excesses = np.maximum.accumulate([self._excess(estimate) for estimate in self.low_fidelity_estimates])
        if self.is_hasty or len(shares) < 2 or not excesses[0] < 0.0 < excesses[-1]:
            return None
        limit, alike = np.interp([0.0, self._excess(first.evidence)], excesses, np.log(shares))
        return float(np.clip(np.exp(abs(alike - limit)), *STRIDES))
