"""Clocks and intervals: what is called in which order, and whether an interval holds what it says."""

import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from netsurgeon.pipeline.profiling import timing
from netsurgeon.pipeline.profiling.timing import (
    Ratio,
    Spread,
    alternate,
    milliseconds,
    paired_ratio,
    run_clock,
    speedup,
    spread,
)


def rounds_of(rng: np.random.Generator, ratio: float, placement: float) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of two models, (5, 20): noise both share, noise of their own, and luck that stays for a sitting."""
    shared = np.exp(0.3 * rng.standard_normal((5, 20)))
    first, second = (
        shared * np.exp(0.05 * rng.standard_normal((5, 20)) + placement * rng.standard_normal((5, 1))) for _ in range(2)
    )
    return ratio * first, second


def test_each_round_times_all_of_them_forwards_and_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(timing, "warm_up", lambda call: timing.SHORTEST)
    seconds = alternate([lambda: called.append("a"), lambda: called.append("b")], 3)
    assert called == ["a", "b", "b", "a", "a", "b"]
    assert seconds.shape == (3, 2)
    assert (seconds > 0.0).all()


def test_what_is_short_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(timing, "warm_up", lambda call: timing.SHORTEST / 7)
    alternate([lambda: called.append("a")], 2)
    assert len(called) == 14


@pytest.mark.parametrize(
    ("provider", "system", "custom_ops", "is_coarse", "clock"),
    [
        ("cpu", "linux", (), False, time.thread_time),
        ("cpu", "linux", (), True, time.perf_counter),
        ("cpu", "linux", ("own.so",), False, time.perf_counter),
        ("cpu", "win32", (), False, time.perf_counter),
        ("cuda", "linux", (), False, time.perf_counter),
        ("netsurgeon-sparse", "linux", (), False, time.thread_time),
    ],
)
def test_runs_are_timed_by_what_the_calling_thread_sees(
    provider: str,
    system: str,
    custom_ops: tuple[str, ...],
    is_coarse: bool,
    clock: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr(timing, "_has_coarse_thread_clock", lambda: is_coarse)
    runtime: Any = SimpleNamespace(provider=provider, custom_ops=custom_ops)
    assert run_clock(runtime) is clock


@pytest.mark.parametrize(("step", "is_coarse"), [(0.0, False), (1e-4, True), (4e-3, True), (1e9, True)])
def test_a_clock_of_long_steps_is_told(step: float, is_coarse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def stepping() -> float:
        now = time.perf_counter()
        return now // step * step if step else now

    monkeypatch.setattr("time.thread_time", stepping)
    monkeypatch.setattr("time.get_clock_info", lambda name: SimpleNamespace(resolution=1e-9))
    assert timing._has_coarse_thread_clock.__wrapped__() == is_coarse


def test_how_often_a_short_run_is_repeated_is_told_by_the_wall() -> None:
    called: list[int] = []

    def waiting() -> None:
        called.append(1)
        time.sleep(0.004)

    alternate([waiting], 2, time.thread_time)
    assert len(called) < 40, "the thread's clock sees next to nothing of it"


@pytest.mark.skipif(sys.platform == "win32", reason="it counts processor time in coarse steps")
def test_by_processor_time_what_a_run_waits_for_is_not_counted() -> None:
    waiting = [lambda: time.sleep(0.05)]
    assert (alternate(waiting, 3) > 0.049).all()
    assert (alternate(waiting, 3, time.thread_time) < 0.025).all()


def test_spread_is_in_milliseconds() -> None:
    found = spread(np.arange(11.0) / 1000.0)
    assert (found.low, found.median, found.high) == pytest.approx((1.0, 5.0, 9.0))


@pytest.mark.parametrize(("placement", "width"), [(0.0, 0.1), (0.1, 0.6)])
def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says(placement: float, width: float) -> None:
    rng = np.random.default_rng(0)
    found = [paired_ratio(*rounds_of(rng, 1.5, placement)) for _ in range(200)]
    held = np.mean([each.low <= 1.5 <= each.high for each in found])
    assert held >= 0.88, held
    assert np.median([each.high - each.low for each in found]) < width


def test_luck_of_a_sitting_widens_the_interval() -> None:
    rng = np.random.default_rng(0)
    quiet, lucky = (paired_ratio(*rounds_of(rng, 1.0, placement)) for placement in (0.0, 0.1))
    assert lucky.high - lucky.low > 1.5 * (quiet.high - quiet.low)


def test_the_ratio_is_that_of_neighbours_and_says_how_many_times_faster_the_second_is() -> None:
    drift = np.linspace(1.0, 50.0, 20).reshape(4, 5)
    found = paired_ratio(3.0 * drift, drift)
    assert (found.value, found.low, found.high) == pytest.approx((3.0, 3.0, 3.0))


def test_what_other_programs_take_is_counted() -> None:
    code = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    before = timing.busy_seconds()
    subprocess.run([sys.executable, "-c", code], check=True)
    assert timing.busy_seconds() - before > 0.4


@pytest.mark.parametrize(
    ("spread", "text"),
    [
        (Spread(4.21, 4.1, 4.77), "4.21 (4.1 to 4.77)"),
        (Spread(0.0123456, 0.012, 0.5), "0.01235 (0.012 to 0.5)"),
        (Spread(1234.56, 1200.04, 99999.0), "1235 (1200 to 1e+05)"),
        (Spread(0.0, 0.0, 0.0), "0 (0 to 0)"),
    ],
)
def test_milliseconds_have_four_digits(spread: Spread, text: str) -> None:
    assert milliseconds(spread) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (Ratio(1.8449, 1.8, 1.88), "÷ 1.84 (1.8 to 1.88)"),
        (Ratio(0.5, 0.45, 0.551), "÷ 0.5 (0.45 to 0.551)"),
        (Ratio(123.4, 99.96, 150.0), "÷ 123 (100 to 150)"),
    ],
)
def test_speedups_have_three_digits(ratio: Ratio, text: str) -> None:
    assert speedup(ratio) == text
