"""Scales of activations: zero is an integer, nothing lies beyond a Clip, and ranges end where that costs least."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from netsurgeon.passes.quantization.scale import BINS, EVERYTHING, RangeMethod, RangeStatistics, Scale

RELU = (0.0, float("inf"))
METHODS: tuple[RangeMethod, ...] = ("error", "percentile", "min-max")
Floats = NDArray[np.float32]


def statistics_of(*batches: Floats) -> RangeStatistics:
    statistics = RangeStatistics()
    for batch in batches:
        statistics.update(batch)
    return statistics


def normal(count: int, seed: int = 0, scale: float = 1.0) -> Floats:
    return np.asarray(scale * np.random.default_rng(seed).standard_normal(count), np.float32)


def heavy_tailed(count: int = 20_000) -> Floats:
    return np.random.default_rng(0).standard_t(3, count).astype(np.float32)


def ends(scale: Scale) -> tuple[float, float]:
    """What the least and the largest integer stand for, as ONNX Runtime computes it in float32."""
    step = np.float32(scale.step)
    return float(step * np.float32(-scale.zero)), float(step * np.float32(255 - scale.zero))


@settings(max_examples=50)
@given(low=st.floats(-1e6, 1e6), high=st.floats(-1e6, 1e6))
def test_any_range_is_covered_up_to_half_a_step_and_holds_zero(low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    scale = Scale.of_range(low, high)
    assert float(np.float32(scale.step)) == scale.step > 0.0
    assert 0 <= scale.zero <= 255
    assert scale.rounded(np.zeros(1)) == 0.0
    least, largest = ends(scale)
    assert least <= low + 0.501 * scale.step + 1e-35
    assert largest >= high - 0.501 * scale.step - 1e-35


@settings(max_examples=50)
@given(
    low=st.one_of(st.just(float("-inf")), st.floats(-100.0, 0.0, width=32)),
    high=st.one_of(st.just(float("inf")), st.floats(2.0**-10, 100.0, width=32)),
    size=st.floats(1e-3, 1e3),
)
def test_no_integer_stands_for_a_number_beyond_the_bounds(low: float, high: float, size: float) -> None:
    scale = Scale.of_range(max(-size, low), min(size, high), (low, high))
    least, largest = ends(scale)
    assert least >= low
    assert largest <= high
    assert largest - least > 0.4 * (min(size, high) - max(-size, low))


def test_numbers_that_are_never_negative_have_zero_point_0() -> None:
    for method in METHODS:
        scale = statistics_of(np.abs(normal(1000))).scale(method, EVERYTHING)
        assert scale.zero == 0
    assert Scale.of_range(2.0, 3.0).zero == 0
    assert Scale.of_range(-3.0, -2.0).zero == 255


@pytest.mark.parametrize("bounds", [EVERYTHING, (0.0, 6.0), (0.0, 1e-3), (-1.0, 1.0)])
def test_a_value_that_is_always_zero_has_a_scale_within_its_bounds(bounds: tuple[float, float]) -> None:
    for statistics in (statistics_of(np.zeros(10, np.float32)), RangeStatistics()):
        scale = statistics.scale("error", bounds)
        assert (scale.zero, scale.step > 0.0) == (0, True)
        assert ends(scale)[1] <= bounds[1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bounds", [(0.0, 6.0), (-1.0, 1.0), (-0.5, float("inf")), (-1.0, 3.0)])
def test_the_range_stays_within_the_bounds_whatever_was_seen(method: str, bounds: tuple[float, float]) -> None:
    scale = statistics_of(normal(5000, scale=20.0)).scale(method, bounds)  # type: ignore[arg-type]
    least, largest = ends(scale)
    assert bounds[0] <= least <= bounds[0] + 2.0 * scale.step
    assert largest <= bounds[1]


def test_rounding_gives_back_the_nearest_number_of_the_scale() -> None:
    scale = Scale(step=0.5, zero=4)
    numbers = np.array([-9.0, -2.0, -0.3, 0.2, 0.26, 7.0, 1000.0])
    np.testing.assert_array_equal(scale.rounded(numbers), [-2.0, -2.0, -0.5, 0.0, 0.5, 7.0, 125.5])


def test_bins_widen_as_numbers_grow_and_none_is_lost() -> None:
    statistics = RangeStatistics()
    for size in (1e-3, 1.0, 3.7, 2e5):
        statistics.update(normal(500, scale=size))
    assert statistics._counts.sum() == 2000
    assert statistics._width * (BINS // 2) >= max(-statistics.low, statistics.high)
    assert statistics._counts[: BINS // 2].sum() == pytest.approx(1000, abs=120)


def test_the_ends_are_those_of_all_numbers() -> None:
    statistics = statistics_of(np.array([1.0, 2.0], np.float32), np.array([], np.float32))
    statistics.reach(-5.0, 1.0)
    statistics.reach(0.0, 0.5)
    assert (statistics.low, statistics.high) == (-5.0, 2.0)
    scale = statistics.scale("min-max", EVERYTHING)
    assert ends(scale) == pytest.approx((-5.0, 2.0), abs=scale.step)


@pytest.mark.parametrize("method", METHODS)
def test_merged_statistics_give_the_scale_of_both_together(method: RangeMethod) -> None:
    small, large = normal(4000, scale=0.1), normal(4000, seed=1, scale=3.0)
    together = statistics_of(small, large).scale(method, EVERYTHING)
    for first, second in ((small, large), (large, small)):
        merged = statistics_of(first).merged(statistics_of(second))
        scale = merged.scale(method, EVERYTHING)
        assert scale.step == pytest.approx(together.step, rel=0.02)
        assert scale.zero == pytest.approx(together.zero, abs=2)


def test_merging_with_nothing_changes_nothing() -> None:
    statistics = statistics_of(normal(100))
    assert RangeStatistics().merged(statistics) is statistics
    assert statistics.merged(RangeStatistics()) is statistics


def test_on_heavy_tails_the_error_is_least_where_it_decides() -> None:
    numbers = heavy_tailed()
    statistics = statistics_of(numbers)

    def error(scale: Scale) -> float:
        return float(np.mean((scale.rounded(numbers.astype(np.float64)) - numbers) ** 2))

    errors = {method: error(statistics.scale(method, EVERYTHING)) for method in METHODS}
    assert errors["error"] < 0.97 * errors["min-max"]
    assert errors["error"] < errors["percentile"]
    widths = {method: statistics.scale(method, EVERYTHING).step for method in METHODS}
    assert widths["percentile"] < widths["error"] < widths["min-max"]


def test_a_percentile_clips_few_numbers_and_min_max_none() -> None:
    numbers = heavy_tailed(100_000)
    statistics = statistics_of(numbers)
    for method, most in zip(METHODS[1:], (40, 0), strict=True):
        scale = statistics.scale(method, EVERYTHING)
        least, largest = ends(scale)
        outside = np.count_nonzero((numbers < least - scale.step) | (numbers > largest + scale.step))
        assert outside <= most


def test_what_counts_for_nothing_is_clipped() -> None:
    numbers = np.append(normal(2000), np.repeat(np.array([-30.0, 30.0], np.float32), 10))
    ignored, counted = RangeStatistics(), RangeStatistics()
    ignored.update(numbers, np.where(np.abs(numbers) > 20.0, 0.0, 1.0))
    counted.update(numbers, np.where(np.abs(numbers) > 20.0, 5.0, 1.0))
    assert ignored.scale("error", EVERYTHING).step < 0.7 * counted.scale("error", EVERYTHING).step


def test_zeros_cost_nothing_on_any_scale_and_move_no_end() -> None:
    numbers = np.maximum(heavy_tailed(), 0.0)
    positive, weights = numbers[numbers > 0.0], np.ones(len(numbers))
    expected = statistics_of(positive).scale("error", RELU)
    assert statistics_of(numbers, np.zeros(90_000, np.float32)).scale("error", RELU) == expected
    weighted = RangeStatistics()
    weighted.update(numbers, weights)
    assert weighted.scale("error", RELU) == expected
    assert statistics_of(numbers).merged(statistics_of(numbers)).scale("error", RELU) == expected
