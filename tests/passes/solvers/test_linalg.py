"""Refits, inverses and factorisations against their closed forms."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from layer_problems import Array, normal, oracle, problem_of

from netsurgeon.passes.solvers import linalg, parallel
from netsurgeon.passes.solvers.linalg import FactorizationError
from netsurgeon.passes.solvers.masks import largest
from netsurgeon.passes.solvers.parallel import for_each_part

Indices = npt.NDArray[np.int64]


def mixed_mask(groups: int, rows: int, columns: int) -> Array:
    """Rows that keep nothing, everything, one, all but one, exactly half, and random shares."""
    mask = np.random.default_rng(5).random((groups, rows, columns)) < np.linspace(0, 1, rows)[:, None]
    mask[0, :5] = False
    mask[0, 1] = mask[0, 2, 3] = mask[0, 3] = mask[0, 4, : columns // 2] = True
    mask[0, 3, 1] = False
    return np.asarray(mask)


@pytest.mark.parametrize("columns", [12, 70])
@pytest.mark.parametrize("limit", [1, 1000])
def test_every_way_to_refit_gives_the_closed_form(monkeypatch: pytest.MonkeyPatch, columns: int, limit: int) -> None:
    monkeypatch.setattr(linalg, "BATCH_COLUMNS", limit)
    problem, mask = problem_of(groups=2, rows=9, columns=columns), mixed_mask(2, 9, columns)
    expected = oracle(problem, mask)
    refitted = linalg.refit(problem.target, problem.hessian, mask)
    np.testing.assert_allclose(refitted, expected, rtol=1e-7, atol=1e-9)
    assert not refitted[~mask].any()


@pytest.mark.parametrize("columns", [12, 70])
def test_conjugate_gradients_reach_the_refit(columns: int) -> None:
    problem, mask = problem_of(groups=2, rows=9, columns=columns), mixed_mask(2, 9, columns)
    weight = linalg.refit_iterative(problem.target, problem.hessian, problem.weight * mask, mask, 4 * columns)
    np.testing.assert_allclose(weight, oracle(problem, mask), rtol=1e-6, atol=1e-8)
    assert not weight[~mask].any()
    exact = problem.error(oracle(problem, mask))
    errors = [
        problem.error(linalg.refit_iterative(problem.target, problem.hessian, problem.weight * mask, mask, steps))
        for steps in (0, 2, 8)
    ]
    assert errors[0] > errors[1] > errors[2] >= exact * (1 - 1e-12)


def test_rows_are_refitted_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(groups=2, rows=23, columns=20)
    mask = largest(np.abs(problem.weight), problem.weight.size // 2)
    whole = linalg.refit_iterative(problem.target, problem.hessian, problem.weight, mask, 9)
    monkeypatch.setattr(linalg, "REFIT_ROWS", (5, 5))
    parts = linalg.refit_iterative(problem.target, problem.hessian, problem.weight, mask, 9)
    np.testing.assert_allclose(parts, whole, rtol=1e-9, atol=1e-12)
    assert np.count_nonzero(whole) == problem.weight.size // 2


@pytest.mark.parametrize(("rows", "parts"), [(9, 1), (64, 1), (128, 2), (256, 4), (300, 4), (1100, 5)])
def test_conjugate_gradients_have_work_for_several_cores(
    monkeypatch: pytest.MonkeyPatch, rows: int, parts: int
) -> None:
    problem = problem_of(groups=2, rows=rows, columns=8)
    mask = largest(np.abs(problem.weight), problem.weight.size // 2)
    worked: list[int] = []

    def count_parts(work: Callable[[Indices], None], count: int, size: int) -> None:
        def recorded(part: Indices) -> None:
            worked.append(len(part))
            work(part)

        for_each_part(recorded, count, size)

    monkeypatch.setattr(linalg, "for_each_part", count_parts)
    linalg.refit_iterative(problem.target, problem.hessian, problem.weight, mask, 2)
    assert (len(worked), sum(worked)) == (parts, rows)


def test_the_number_of_cores_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(groups=1, rows=200, columns=150)
    mask = largest(np.abs(problem.weight), problem.weight.size // 3)
    target, hessian, start = (array.astype(np.float32) for array in (problem.target, problem.hessian, problem.weight))
    weights = []
    for cores in (1, 2, 3, 16):
        monkeypatch.setattr(parallel, "allowed_cores", lambda cores=cores: cores)
        weights.append(linalg.refit_iterative(target, hessian, start, mask, 12).tobytes())
    assert set(weights) == {weights[0]}


def test_no_other_weights_on_the_support_are_better() -> None:
    problem, mask = problem_of(groups=2, rows=6, columns=14), mixed_mask(2, 6, 14)
    best = linalg.refit(problem.target, problem.hessian, mask)
    for seed in range(20):
        other = best + 1e-3 * mask * normal(*best.shape, seed=seed)
        assert problem.error(other) > problem.error(best)


@pytest.mark.parametrize("limit", [1, 1000])
def test_refit_refuses_a_hessian_that_is_not_positive_definite(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(linalg, "BATCH_COLUMNS", limit)
    problem = problem_of(columns=8)
    mask = np.ones(problem.weight.shape, bool)
    mask[..., :3] = False
    for bad in (-problem.hessian, np.zeros_like(problem.hessian), np.full_like(problem.hessian, np.nan)):
        with pytest.raises(FactorizationError, match="not positive definite"):
            linalg.refit(problem.target, bad, mask)


def test_inverse_and_solve() -> None:
    problem = problem_of(groups=3, rows=4, columns=11)
    inverse = linalg.inverse(problem.hessian)
    np.testing.assert_allclose(inverse @ problem.hessian, np.broadcast_to(np.eye(11), (3, 11, 11)), atol=1e-9)
    np.testing.assert_array_equal(inverse, inverse.swapaxes(1, 2))
    np.testing.assert_allclose(linalg.solve(problem.target, problem.hessian), problem.weight, rtol=1e-7, atol=1e-9)
    with pytest.raises(FactorizationError):
        linalg.inverse(-problem.hessian)
    with pytest.raises(FactorizationError):
        linalg.solve(problem.target, -problem.hessian)


def test_quadratic_error_is_the_error_up_to_a_constant() -> None:
    problem = problem_of(groups=2)
    first, second = normal(*problem.weight.shape, seed=1), normal(*problem.weight.shape, seed=2)
    gaps = [linalg.quadratic_error(w, problem.target, problem.hessian) - problem.error(w) for w in (first, second)]
    assert gaps[0] == pytest.approx(gaps[1])


def test_a_wide_layer_is_refitted_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(rows=9, columns=80)
    mask = largest(np.abs(problem.weight), 350)  # rows with more and with fewer than half of the columns
    exact = linalg.refit(problem.target, problem.hessian, mask)
    monkeypatch.setattr(linalg, "SINGLE_COLUMNS", 40)
    single = linalg.refit(problem.target, problem.hessian, mask)
    assert single.dtype == np.float64
    assert not np.array_equal(single, exact)
    np.testing.assert_allclose(single, exact, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(single != 0, exact != 0)


def test_where_single_precision_fails_double_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    hessian = np.full((1, 80, 80), 1.0) + 1e-9 * np.eye(80)
    target = normal(1, 3, 80)
    expected = linalg.solve(target, hessian)
    monkeypatch.setattr(linalg, "SINGLE_COLUMNS", 40)
    np.testing.assert_array_equal(linalg.solve(target, hessian), expected)
