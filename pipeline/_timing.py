"""Clocks: callables timed in turn, so that what disturbs the machine disturbs them alike, and paired intervals."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Seconds = npt.NDArray[np.float64]
WARM_UP_SECONDS = 0.1
WARM_UP_RUNS = 3
SHORTEST = 2e-3
"""Seconds that one measurement takes at least: short runs are repeated and averaged."""
RESAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class Spread:
    """Milliseconds of one run: median, and the first and the last decile of the rounds."""

    median: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Ratio:
    """The median of paired ratios, with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def alternate(calls: Sequence[Callable[[], object]], rounds: int) -> Seconds:
    """Seconds a call, (rounds, calls): all of them in turn each round, forwards and backwards by turns.

    Each is warmed up first.
    """
    quick = [warm_up(call) for call in calls]
    repeats = [max(1, math.ceil(SHORTEST / max(seconds, 1e-7))) for seconds in quick]
    seconds = np.empty((rounds, len(calls)))
    for number in range(rounds):
        for at in range(len(calls))[:: 1 if number % 2 == 0 else -1]:
            seconds[number, at] = _clock(calls[at], repeats[at])
    return seconds


def warm_up(call: Callable[[], object]) -> float:
    """Seconds of the quickest of the first calls."""
    quickest, started, runs = math.inf, time.perf_counter(), 0
    while runs < WARM_UP_RUNS or time.perf_counter() - started < WARM_UP_SECONDS:
        quickest = min(quickest, _clock(call, 1))
        runs += 1
    return quickest


def _clock(call: Callable[[], object], repeats: int) -> float:
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - started) / repeats


def spread(seconds: Seconds) -> Spread:
    """Milliseconds of seconds of any shape."""
    low, median, high = np.quantile(1000.0 * seconds, (0.1, 0.5, 0.9))
    return Spread(float(median), float(low), float(high))


def paired_ratio(first: Seconds, second: Seconds, seed: int = 0) -> Ratio:
    """Median of first / second over all rounds, with the percentile interval of a two-stage bootstrap.

    Sittings are resampled, and then rounds within each: where a session's threads and memory come to lie stays the
    same for a whole sitting (Kalibera and Jones, Rigorous benchmarking in reasonable time, ISMM 2013).

    Args:
        first: seconds (sittings, rounds) of one callable.
        second: seconds (sittings, rounds) of the other in the same rounds.
        seed: of the resampling.
    """
    ratios = first / second
    sittings, rounds = ratios.shape
    rng = np.random.default_rng(seed)
    sitting = rng.integers(0, sittings, (RESAMPLES, sittings, 1))
    drawn = ratios[sitting, rng.integers(0, rounds, (RESAMPLES, sittings, rounds))]
    low, high = np.quantile(np.median(drawn.reshape(RESAMPLES, -1), axis=1), (0.025, 0.975))
    return Ratio(float(np.median(ratios)), float(low), float(high))
