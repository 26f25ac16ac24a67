"""Clocks: callables timed in turn, so that what disturbs the machine disturbs them alike, and paired intervals."""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import psutil
import scipy.stats

from netsurgeon.pipeline.runtime import Runtime, computes_on_the_cpu

Seconds = npt.NDArray[np.float64]
WARM_UP_SECONDS = 0.05
WARM_UP_RUNS = 3
SHORTEST = 2e-3
"""Seconds that one measurement takes at least: short runs are repeated and averaged."""
COARSEST_STEP = 5e-5
"""Seconds of a clock's step from which on runs of SHORTEST would differ by its steps alone."""
SPINNING_SECONDS = 1e-3
"""How long the steps of a clock are watched."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """Milliseconds of one run.

    Attributes:
        median: over the rounds.
        low: first decile of the rounds.
        high: last decile of the rounds.
    """

    median: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Ratio:
    """A ratio of paired times.

    Attributes:
        value: the ratio.
        low: lower end of its 95 % interval.
        high: upper end of its 95 % interval.
    """

    value: float
    low: float
    high: float


def milliseconds(spread: Spread) -> str:
    """`4.21 (4.10 to 4.77)`: median, first and last decile."""
    return f"{spread.median:.4g} ({spread.low:.4g} to {spread.high:.4g})"


def speedup(ratio: Ratio) -> str:
    """`÷ 1.84 (1.80 to 1.88)`: how many times less, with its 95 % interval."""
    return f"÷ {ratio.value:.3g} ({ratio.low:.3g} to {ratio.high:.3g})"


def alternate(
    calls: Sequence[Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> Seconds:
    """Seconds a call, (rounds, calls): all of them in turn each round, forwards and backwards by turns.

    Each is warmed up first.
    """
    quick = [warm_up(call) for call in calls]
    repeats = [max(1, math.ceil(SHORTEST / max(seconds, 1e-7))) for seconds in quick]
    seconds = np.empty((rounds, len(calls)))
    for number in range(rounds):
        for at in range(len(calls))[:: 1 if number % 2 == 0 else -1]:
            seconds[number, at] = _measure(calls[at], repeats[at], clock)
    return seconds


def run_clock(runtime: Runtime) -> Callable[[], float]:
    """What runs are timed by: processor time of the thread that calls, where it has a part in all of the work.

    Where other programs take the processor from a run, what passes on the wall says little of it: with three of them on
    its core, SqueezeNet on integers seemed 38 times as fast as on floats, whose runs are longer than a turn that a
    program gets; by this clock it is twice as fast, as on a quiet machine. On the CPU the calling thread works on each
    operator and spins until the other threads are through. Of other providers it sees nothing, nor of what the user's
    own operators leave to threads of theirs, and Windows, as some kernels, counts it in steps of milliseconds.
    """
    is_seen = computes_on_the_cpu(runtime.provider) and not runtime.custom_ops and sys.platform != "win32"
    return time.thread_time if is_seen and not _has_coarse_thread_clock() else time.perf_counter


@functools.cache
def _has_coarse_thread_clock() -> bool:
    """Whether the thread's processor time is counted in steps that are long beside a run."""
    return time.get_clock_info("thread_time").resolution > COARSEST_STEP or _step(time.thread_time) > COARSEST_STEP


def _step(clock: Callable[[], float]) -> float:
    """Seconds of the smallest step of a clock that is seen while the thread spins; infinite where there is none."""
    smallest, started, last = math.inf, time.perf_counter(), clock()
    while time.perf_counter() - started < SPINNING_SECONDS:
        now = clock()
        if now > last:
            smallest = min(smallest, now - last)
        last = now
    return smallest


def warm_up(call: Callable[[], object]) -> float:
    """Seconds on the wall of the quickest of the first calls."""
    quickest, started, runs = math.inf, time.perf_counter(), 0
    while runs < WARM_UP_RUNS or time.perf_counter() - started < WARM_UP_SECONDS:
        quickest = min(quickest, _measure(call, 1, time.perf_counter))
        runs += 1
    return quickest


def _measure(call: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    started = clock()
    for _ in range(repeats):
        call()
    return (clock() - started) / repeats


def spread(seconds: Seconds) -> Spread:
    """Milliseconds of seconds of any shape."""
    low, median, high = np.quantile(1000.0 * seconds, (0.1, 0.5, 0.9))
    return Spread(float(median), float(low), float(high))


def paired_ratio(first: Seconds, second: Seconds) -> Ratio:
    """Geometric mean over the sittings of the median of first / second, with Student's 95 % interval.

    Where a session's threads and memory come to lie stays the same for a whole sitting, so that sittings are what is
    repeated, not rounds (Kalibera and Jones, Rigorous benchmarking in reasonable time, ISMM 2013).

    Args:
        first: seconds (sittings, rounds) of one callable.
        second: seconds (sittings, rounds) of the other in the same rounds.
    """
    logarithms = np.log(np.median(first / second, axis=1))
    count = len(logarithms)
    error = float(np.std(logarithms, ddof=1)) / math.sqrt(count)
    reach = float(scipy.stats.t.ppf(0.975, count - 1)) * error
    middle = float(np.mean(logarithms))
    return Ratio(math.exp(middle), math.exp(middle - reach), math.exp(middle + reach))


def busy_seconds() -> float:
    """Processor seconds that all programs but this one have taken so far."""
    times = psutil.cpu_times()._asdict()
    idle = ("idle", "iowait", "guest", "guest_nice")  # guests are counted as users, too
    own = psutil.Process().cpu_times()
    return float(sum(value for name, value in times.items() if name not in idle)) - float(own.user + own.system)
