"""Weights on integers: never worse than the nearest ones, zeros kept, scales that can be stored, close to the best."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_problems import Array, normal, problem_of, samples, statistics_of

from netsurgeon.passes.solvers import integer_grid
from netsurgeon.passes.solvers.integer_grid import IntegerWeight, nearest_integers, round_to_integers
from netsurgeon.passes.solvers.linalg import FactorizationError
from netsurgeon.passes.solvers.problem import Problem


def all_kept(problem: Problem) -> Array:
    return np.ones(problem.weight.shape, bool)


def assert_is_stored_as_it_is(integers: IntegerWeight, most: int) -> None:
    """Codes within ±most, scales positive, of 11 binary digits."""
    assert integers.codes.dtype == np.int8
    assert np.abs(integers.codes.astype(int)).max() <= most
    assert (integers.scales > 0.0).all()
    fractions = np.frexp(integers.scales)[0] * 2.0**11
    np.testing.assert_array_equal(fractions, np.rint(fractions))
    np.testing.assert_array_equal(integers.weight.astype(np.float32), integers.weight, "exact in float32")


@settings(max_examples=20)
@given(
    groups=st.integers(1, 3),
    rows=st.integers(1, 5),
    columns=st.integers(1, 20),
    most=st.sampled_from([1, 7, 63, 127]),
    sparsity=st.floats(0.0, 1.0),
    size=st.sampled_from([1e-6, 1.0, 1e4]),
    seed=st.integers(0, 99),
)
def test_any_layer_is_rounded_to_integers_that_can_be_stored_and_keeps_its_zeros(
    groups: int, rows: int, columns: int, most: int, sparsity: float, size: float, seed: int
) -> None:
    problem = problem_of(groups, rows, columns, seed)
    problem = Problem.of(size * problem.weight, statistics_of(samples(groups, columns, 4 * columns, seed)), 1e-2)
    kept = np.random.default_rng(seed).random(problem.weight.shape) >= sparsity
    integers = round_to_integers(problem, kept, most)
    assert_is_stored_as_it_is(integers, most)
    assert not integers.codes[~kept].any()


@pytest.mark.parametrize("most", [7, 63, 127])
@pytest.mark.parametrize("seed", range(4))
def test_the_error_is_below_that_of_the_nearest_integers(most: int, seed: int) -> None:
    problem = problem_of(groups=2, rows=6, columns=40, seed=seed)
    nearest, second_order = nearest_integers(problem.weight, most), round_to_integers(problem, all_kept(problem), most)
    assert problem.error(second_order.weight) < 0.8 * problem.error(nearest.weight)
    scales = second_order.scales[..., None]
    on_same_scales = np.clip(np.rint(problem.weight / scales), -most, most) * scales
    assert problem.error(second_order.weight) < problem.error(on_same_scales)


@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("columns", [2, 3])
def test_tiny_layers_come_close_to_the_best_of_all_integers(most: int, columns: int) -> None:
    problem = problem_of(rows=30, columns=columns, seed=5)
    hessian, rows = problem.hessian[0], problem.weight[0]
    error = problem.row_errors(round_to_integers(problem, all_kept(problem), most).weight)
    best = np.full(len(rows), np.inf)
    for code in itertools.product(range(-most, most + 1), repeat=columns):
        product = hessian @ np.array(code, float)
        energy = float(np.array(code, float) @ product)
        # the best scale for these integers leaves w H w − (c H w)² / c H c
        gain = np.maximum(rows @ product, 0.0) ** 2 / energy if energy else 0.0
        best = np.minimum(best, np.einsum("rc,cd,rd->r", rows, hessian, rows) - gain)
    energy_of_rows = np.einsum("rc,cd,rd->r", rows, hessian, rows)
    assert (error >= best - 1e-9 * energy_of_rows).all(), "nothing is better than the best"
    assert error.sum() < 2.0 * best.sum() + 1e-4 * energy_of_rows.sum()


def test_coordinate_descent_never_makes_the_error_larger() -> None:
    problem = problem_of(groups=2, rows=5, columns=90, seed=2)
    kept = np.random.default_rng(0).random(problem.weight.shape) > 0.3
    scales = nearest_integers(problem.weight, 7).scales
    grid = integer_grid._grid(problem.weight, 7, 1, None, None)
    codes = np.where(kept, np.random.default_rng(1).integers(-7, 8, problem.weight.shape), 0).astype(float)
    errors = [problem.error(codes * scales[..., None])]
    for _ in range(4):
        codes = integer_grid._descend(problem, codes, scales[..., None], grid, kept)
        errors.append(problem.error(codes * scales[..., None]))
    assert (np.diff(errors) <= 1e-9 * errors[0]).all()
    assert errors[-1] < 0.1 * errors[0]


def test_refitted_scales_never_make_the_error_larger() -> None:
    problem = problem_of(rows=8, columns=20, seed=3)
    first = nearest_integers(problem.weight, 7)
    grid = integer_grid._grid(problem.weight, 7, 1, None, None)

    def refitted(codes: Any, scales: Any) -> Any:
        return integer_grid._refitted_scales(problem, codes.astype(float), scales[..., None], grid)[..., 0]

    scales = refitted(first.codes, 1.3 * first.scales)
    assert problem.error(first.codes * scales[..., None]) < problem.error(1.3 * first.weight)
    opposed = refitted(-first.codes, first.scales)
    np.testing.assert_array_equal(opposed, first.scales, "no scale below zero")


def test_weights_that_lie_on_integers_stay_where_they_are() -> None:
    codes = np.random.default_rng(0).integers(-63, 64, (1, 6, 30))
    codes[:, :, 0] = 63
    scales = 2.0 ** np.arange(-3, 3)
    x = samples(1, 30, 200)
    problem = Problem.of(codes * scales[:, None], statistics_of(x), 1e-3)
    integers = round_to_integers(problem, all_kept(problem), 63)
    np.testing.assert_array_equal(integers.codes, codes)
    np.testing.assert_array_equal(integers.scales[0], scales)


def test_outliers_are_clipped_where_that_costs_less() -> None:
    weight = np.tile(normal(1, 1, 100, seed=1), (1, 2, 1))
    weight[0, 1, 0] = 8.0
    problem = Problem.of(weight, statistics_of(normal(1, 100, 400)), 1e-2)
    integers = round_to_integers(problem, all_kept(problem), 3)
    assert integers.scales[0, 1] * 3 < 0.8 * 8.0
    assert problem.error(integers.weight) < problem.error(nearest_integers(weight, 3).weight)


@pytest.mark.parametrize("make", ["second order", "nearest"])
def test_rows_of_zeros_have_a_scale_too(make: str) -> None:
    weight = normal(2, 3, 10)
    weight[0, 1] = 0.0
    problem = Problem.of(weight, statistics_of(samples(2, 10, 60)), 1e-2)
    integers = nearest_integers(weight, 63) if make == "nearest" else round_to_integers(problem, weight != 0.0, 63)
    assert_is_stored_as_it_is(integers, 63)
    assert not integers.codes[0, 1].any()
    assert integers.codes[0, 0].any()


@pytest.mark.parametrize("make", ["second order", "nearest"])
def test_blocks_of_one_row_share_a_scale_though_one_of_them_is_zero(make: str) -> None:
    weight = 0.01 * normal(4, 3, 10)  # two groups of two blocks
    weight[1, 0] = 0.0
    problem = Problem.of(weight, statistics_of(samples(4, 10, 60)), 1e-2)
    if make == "nearest":
        integers = nearest_integers(weight, 63, blocks=2)
    else:
        integers = round_to_integers(problem, weight != 0.0, 63, blocks=2)
    assert_is_stored_as_it_is(integers, 63)
    np.testing.assert_array_equal(integers.scales[::2], integers.scales[1::2])
    assert np.abs(integers.codes[:2, 0]).max() > 30, "the row of zeros makes the scale no coarser"
    np.testing.assert_allclose(integers.weight, weight, rtol=0, atol=0.001)


def test_the_order_of_blocks_of_columns_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(groups=2, rows=4, columns=50, seed=4)
    whole = round_to_integers(problem, all_kept(problem), 7)
    monkeypatch.setattr(integer_grid, "BLOCK", 7)
    cut = round_to_integers(problem, all_kept(problem), 7)
    np.testing.assert_array_equal(whole.codes, cut.codes)


def test_wide_layers_are_clipped_by_the_diagonal(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(rows=6, columns=40, seed=6)
    monkeypatch.setattr(integer_grid, "EXACT_COLUMNS", 8)
    integers = round_to_integers(problem, all_kept(problem), 7)
    assert_is_stored_as_it_is(integers, 7)
    assert problem.error(integers.weight) < 0.8 * problem.error(nearest_integers(problem.weight, 7).weight)


def test_without_a_factor_of_the_inverse_descent_still_finds_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(rows=6, columns=20, seed=7)

    def fail(_: Array) -> Array:
        raise FactorizationError("not positive definite")

    monkeypatch.setattr(integer_grid, "inverse", fail)
    integers = round_to_integers(problem, all_kept(problem), 7)
    assert problem.error(integers.weight) < problem.error(nearest_integers(problem.weight, 7).weight)


def test_the_same_layer_gives_the_same_integers() -> None:
    first, second = (round_to_integers(problem_of(seed=8), all_kept(problem_of()), 63) for _ in range(2))
    assert first.codes.tobytes() == second.codes.tobytes()
    assert first.scales.tobytes() == second.scales.tobytes()


def test_weights_too_small_for_float32_have_a_scale_that_is_not() -> None:
    integers = nearest_integers(np.full((1, 1, 3), 1e-44), 63)
    assert_is_stored_as_it_is(integers, 63)
    assert not integers.codes.any()
