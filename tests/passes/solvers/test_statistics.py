"""Streamed moments equal the direct ones, however the samples arrive."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from netsurgeon.passes.solvers import statistics
from netsurgeon.passes.solvers.statistics import Moments, Statistics

Array = NDArray[Any]


def rows(groups: int, count: int, columns: int, seed: int = 0, offset: float = 0.0) -> Array:
    """Correlated columns, float32 (groups, count, columns)."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(columns) + 0.5 * rng.standard_normal((columns, columns))
    return np.asarray((rng.standard_normal((groups, count, columns)) @ mixing + offset).astype(np.float32))


def direct(dense: Array, current: Array, centred: bool) -> Statistics:
    """The moments from all samples at once, in float64."""
    x, y = dense.astype(np.float64), current.astype(np.float64)
    count, means = x.shape[1], (x.mean(axis=1), y.mean(axis=1))
    if centred:
        x, y = x - means[0][:, None], y - means[1][:, None]
    gram, cross = np.swapaxes(y, 1, 2) @ y / count, np.swapaxes(x, 1, 2) @ y / count
    return Statistics(count, centred, *means, gram, cross)


def stream(dense: Array, current: Array | None, cuts: Sequence[int], into: Moments | None = None) -> Moments:
    moments = into or Moments(len(dense), dense.shape[-1], paired=current is not None)
    for part in np.split(np.arange(dense.shape[1]), sorted(cuts)):
        moments.update(dense[:, part], None if current is None else current[:, part])
    return moments


def assert_same(found: Statistics, expected: Statistics, tolerance: float = 2e-6, around: float = 0.0) -> None:
    """Sums run in float32 around the first batch's mean: `around` is the energy there, where that is the larger."""
    assert found.count == expected.count
    assert found.centred == expected.centred
    energy = max(np.abs(expected.gram).max(), np.abs(expected.cross).max(), around)
    for name in ("dense_mean", "current_mean", "gram", "cross"):
        a, b = getattr(found, name), getattr(expected, name)
        assert a.dtype == np.float64
        scale = energy if name in ("gram", "cross") else max(np.abs(b).max(), np.sqrt(energy))
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale, err_msg=name)


def test_the_comparison_notices_a_difference() -> None:
    expected = direct(rows(1, 30, 3), rows(1, 30, 3), True)
    for name in ("dense_mean", "current_mean", "gram", "cross"):
        changed = dataclasses.replace(expected, **{name: getattr(expected, name) * 1.0001})
        with pytest.raises(AssertionError, match=name):
            assert_same(changed, expected)


def cuts_of(count: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, count - 1), max_size=4, unique=True)


@settings(max_examples=40)
@given(st.integers(0, 99), cuts_of(50), st.booleans(), st.booleans(), st.integers(1, 3), st.integers(1, 6))
def test_streamed_equals_direct(
    seed: int, cuts: list[int], paired: bool, centred: bool, groups: int, columns: int
) -> None:
    dense = rows(groups, 50, columns, seed, offset=1.0)
    current = rows(groups, 50, columns, seed + 1000, offset=-0.5) if paired else None
    found = stream(dense, current, cuts).statistics(centred=centred)
    first = slice(0, min(cuts, default=50))
    around = max(
        float(np.square(x - x[:, first].mean(axis=1, keepdims=True)).mean(axis=1).max())
        for x in (dense, dense if current is None else current)
    )
    assert_same(found, direct(dense, dense if current is None else current, centred), around=around)
    assert (found.cross is found.gram) == (not paired)


@settings(max_examples=30)
@given(st.integers(0, 99), cuts_of(20), cuts_of(30), st.booleans(), st.booleans())
def test_merged_equals_one_pass(
    seed: int, first_cuts: list[int], second_cuts: list[int], paired: bool, centred: bool
) -> None:
    dense, current = rows(2, 50, 4, seed, 2.0), rows(2, 50, 4, seed + 1, 3.0)
    first = stream(dense[:, :20], current[:, :20] if paired else None, first_cuts)
    second = stream(dense[:, 20:], current[:, 20:] if paired else None, second_cuts, first.like())
    before = first.statistics(centred=centred)
    merged = first.merged(second).statistics(centred=centred)
    assert_same(merged, direct(dense, current if paired else dense, centred))
    assert_same(first.statistics(centred=centred), before, 0.0)
    assert_same(second.merged(first).statistics(centred=centred), merged, 1e-9)


@pytest.mark.parametrize("centred", [False, True])
def test_what_a_branch_has_lost(centred: bool) -> None:
    dense, current, residual = rows(2, 50, 4, 1, 2.0), rows(2, 50, 4, 2, 3.0), rows(2, 50, 3, 3, -1.0)
    first = Moments(2, 4, paired=True)
    second = first
    for part in (slice(0, 20), slice(20, 30), slice(30, 50)):
        second = first if part.start < 30 else first.like()
        second.update(dense[:, part], current[:, part], residual[:, part])
    found = first.merged(second).statistics(centred=centred)
    assert_same(found, direct(dense, current, centred))
    x, mean = current.astype(np.float64), residual.mean(axis=1, dtype=np.float64)
    if centred:
        x = x - x.mean(axis=1, keepdims=True)
    assert found.residual_cross is not None
    assert found.residual_mean is not None
    np.testing.assert_allclose(
        found.residual_cross, np.swapaxes(residual.astype(np.float64), 1, 2) @ x / 50, rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(found.residual_mean, mean, rtol=1e-5)
    assert found.rows(np.array([0, 2])).residual_mean == pytest.approx(mean[:, [0, 2]], rel=1e-5)


def test_outputs_that_are_gone_miss_nothing() -> None:
    dense = rows(2, 40, 3)
    moments = Moments(2, 3, paired=False)
    moments.update(dense, None, rows(2, 40, 4, seed=1))
    whole = moments.statistics(centred=True)
    columns, lost_rows = np.zeros((2, 3), bool), np.zeros((2, 4), bool)
    columns[0, 1] = lost_rows[1, 2] = True
    left = whole.without(columns, lost_rows)
    assert whole.residual_cross is not None
    assert left.residual_cross is not None
    expected = np.where(lost_rows[:, :, None] | columns[:, None, :], 0.0, whole.residual_cross)
    np.testing.assert_array_equal(left.residual_cross, expected)


def test_an_empty_part_merges_to_nothing() -> None:
    moments = stream(rows(1, 30, 3), None, [10])
    merged = moments.merged(moments.like()).statistics(centred=True)
    assert_same(merged, moments.statistics(centred=True), 0.0)


@pytest.mark.parametrize("paired", [False, True])
def test_moments_around_different_origins_are_not_merged(paired: bool) -> None:
    first, second = (stream(rows(1, 9, 3, seed), rows(1, 9, 3) if paired else None, []) for seed in (0, 1))
    with pytest.raises(ValueError, match="origin"):
        first.merged(second)


def test_an_empty_batch_counts_for_nothing() -> None:
    dense = rows(2, 20, 3)
    moments = Moments(2, 3, paired=False)
    moments.update(dense[:, :0])
    with pytest.raises(ValueError, match="no samples"):
        moments.statistics(centred=False)
    moments.update(dense)
    assert_same(moments.statistics(centred=True), direct(dense, dense, True))


@pytest.mark.parametrize("offset", [1e3, -1e5])
@pytest.mark.parametrize("paired", [False, True])
def test_a_large_offset_loses_no_digits(offset: float, paired: bool) -> None:
    dense, current = rows(2, 400, 5, 3, offset), rows(2, 400, 5, 4, 2 * offset)
    found = stream(dense, current if paired else None, [50, 300]).statistics(centred=True)
    assert_same(found, direct(dense, current if paired else dense, True), 1e-5)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("paired", [False, True])
def test_wide_moments_are_summed_in_float32(monkeypatch: pytest.MonkeyPatch, centred: bool, paired: bool) -> None:
    monkeypatch.setattr(statistics, "DOUBLE_LIMIT", 4)
    dense, current = rows(1, 500, 5, 5, 10.0), rows(1, 500, 5, 6, 20.0)
    moments = stream(dense, current if paired else None, list(range(50, 500, 50)))
    assert moments._gram.dtype == moments._cross.dtype == np.float32
    assert_same(moments.statistics(centred=centred), direct(dense, current if paired else dense, centred), 1e-5)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1000.1])
def test_dead_inputs(paired: bool, offset: float) -> None:
    dense = rows(2, 300, 4, 7)
    current = rows(2, 300, 4, 8)
    for side in (dense, current):
        side[0, :, 1] = offset
        side[1, :, 2] = 0.0
    moments = stream(dense, current if paired else None, [7, 100])
    dead = np.zeros((2, 4), bool)
    dead[0, 1] = dead[1, 2] = True
    np.testing.assert_array_equal(moments.statistics(centred=True).dead, dead)
    dead[0, 1] = offset == 0.0
    np.testing.assert_array_equal(moments.statistics(centred=False).dead, dead)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("value", [0.0, 1.0, 1000.1, -3e-5])
def test_inputs_that_are_all_alike_tell_of_no_dead_one(value: float, paired: bool) -> None:
    same: Array = np.full((2, 1000, 3), value, np.float32) * np.arange(3, dtype=np.float32)
    moments = stream(same, same if paired else None, [7, 100])
    assert not moments.varies
    for centred in (False, True):
        assert not moments.statistics(centred=centred).dead.any()
    moments.update(same[:, :1] + 1, same[:, :1] + 1 if paired else None)
    assert moments.varies


def test_one_sample_does_not_vary() -> None:
    moments = Moments(1, 3, paired=False)
    assert not moments.varies
    moments.update(rows(1, 1, 3))
    assert not moments.varies


@pytest.mark.parametrize("count", [2, statistics.FEWEST_TO_TELL - 1, statistics.FEWEST_TO_TELL])
def test_few_samples_tell_of_no_dead_input(count: int) -> None:
    dense = rows(1, count, 4)
    dense[:, :, 2] = 0.0
    found = stream(dense, None, []).statistics(centred=True)
    assert found.varies
    assert found.dead.tolist() == [[False, False, count == statistics.FEWEST_TO_TELL, False]]


def test_no_samples() -> None:
    with pytest.raises(ValueError, match="no samples were seen"):
        Moments(1, 2, paired=True).statistics(centred=True)


@pytest.mark.parametrize("count", [2, statistics.FEWEST_TO_TELL])
def test_what_is_gone_is_dead_whatever_the_samples_tell(count: int) -> None:
    moments = Moments(1, 3, paired=False)
    moments.update(np.random.default_rng(0).standard_normal((1, count, 3)).astype(np.float32))
    found = moments.statistics(centred=True).without(np.array([[False, True, False]]))
    assert found.dead.tolist() == [[False, True, False]]


@pytest.mark.parametrize("exponent", [60, 100, 126])
@pytest.mark.parametrize("limit", [0, 2048])
@pytest.mark.parametrize("paired", [False, True])
def test_sums_that_float32_cannot_hold_are_taken_in_float64(
    exponent: int, limit: int, paired: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of wide layers, whose sums are float32 else, and from a batch in the middle on."""
    monkeypatch.setattr(statistics, "DOUBLE_LIMIT", limit)
    dense, current = (rows(2, 60, 5, seed) * np.float32(2.0**-3) for seed in (1, 2))
    dense[:, 30:] *= np.float32(2.0**exponent)
    current[:, 30:] *= np.float32(2.0**exponent)
    assert np.isfinite(dense).all()
    found = stream(dense, current if paired else None, [10, 20, 40]).statistics(centred=False)
    assert found.is_finite
    assert_same(found, direct(dense, current if paired else dense, centred=False))


def test_what_a_branch_has_lost_may_be_large() -> None:
    x, lost = rows(1, 40, 3), rows(1, 40, 2, seed=1) * np.float32(2.0**100)
    moments = Moments(1, 3, paired=False)
    moments.update(x, None, lost)
    found = moments.statistics(centred=False).residual_cross
    assert found is not None
    expected: Array = np.swapaxes(lost.astype(np.float64), 1, 2) @ x.astype(np.float64) / 40
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_numbers_that_have_overflowed_cannot_be_measured(value: float) -> None:
    x = rows(1, 40, 3)
    assert stream(x, None, []).statistics(centred=True).is_finite
    x[0, 7, 1] = value
    with np.errstate(invalid="ignore"):
        assert not stream(x, None, []).statistics(centred=True).is_finite


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("centred", [False, True])
def test_moments_of_several_layers_are_pooled_whatever_they_run_around(paired: bool, centred: bool) -> None:
    sides = [(rows(2, 40, 5, seed, 3.0 * seed), rows(2, 40, 5, seed + 7, 2.0 - seed)) for seed in range(3)]
    parts = [stream(dense, current if paired else None, [11]) for dense, current in sides]
    dense, current = (np.concatenate(side, axis=1) for side in zip(*sides, strict=True))
    pooled = parts[0].pooled(parts[1]).pooled(parts[2])
    assert_same(pooled.statistics(centred=centred), direct(dense, current if paired else dense, centred))
    with pytest.raises(ValueError, match="different origins"):
        parts[0].merged(parts[1])


@pytest.mark.parametrize("centred", [False, True])
def test_moments_of_dense_inputs_alone_are_pooled_as_those_of_a_model_that_has_not_changed(centred: bool) -> None:
    dense, current = rows(2, 40, 5, 0, 3.0), rows(2, 40, 5, 7, 2.0)
    others = rows(2, 40, 5, 1, 6.0)
    pooled = stream(dense, current, [11]).pooled(stream(others, None, [11]))
    before, after = (np.concatenate([side, others], axis=1) for side in (dense, current))
    assert_same(pooled.statistics(centred=centred), direct(before, after, centred))


def test_what_outputs_miss_is_pooled_as_well() -> None:
    parts, residuals = [], []
    for seed in range(2):
        moments, x, missed = Moments(1, 4, paired=False), rows(1, 30, 4, seed, 5.0 * seed), rows(1, 30, 3, seed + 5)
        moments.update(x, None, missed)
        parts.append(moments)
        residuals.append((x, missed))
    x, missed = (np.concatenate(side, axis=1).astype(np.float64) for side in zip(*residuals, strict=True))
    found = parts[0].pooled(parts[1]).statistics(centred=False)
    assert found.residual_cross is not None
    np.testing.assert_allclose(found.residual_cross, np.swapaxes(missed, 1, 2) @ x / 60, rtol=1e-5, atol=1e-5)
