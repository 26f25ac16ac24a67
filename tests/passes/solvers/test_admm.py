"""ADMM: its supports are good, in both precisions and by both ways to solve."""

import numpy as np
import pytest
from layer_problems import normal, oracle, problem_of

from netsurgeon.passes.solvers import admm, linalg, methods
from netsurgeon.passes.solvers.masks import largest
from netsurgeon.passes.solvers.methods import prune


@pytest.fixture
def single(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer counts as one that is worked in float32."""
    monkeypatch.setattr(admm, "FLOAT32_COLUMNS", 8)


@pytest.mark.parametrize("seed", range(3))
def test_admm_beats_magnitude_with_refit_on_correlated_inputs(seed: int) -> None:
    problem = problem_of(rows=16, columns=60, seed=seed)
    keep = problem.weight.size // 10
    mask = largest(np.abs(problem.weight), keep)
    refitted = problem.error(linalg.refit(problem.target, problem.hessian, mask))
    scaled = np.abs(problem.weight) * np.sqrt(np.einsum("gii->gi", problem.hessian))[:, None]
    weighted = problem.error(linalg.refit(problem.target, problem.hessian, largest(scaled, keep)))
    found = problem.error(prune(problem, keep, "admm"))
    assert found < 0.9 * min(refitted, weighted)
    assert refitted < problem.error(problem.weight * mask)


@pytest.mark.usefixtures("single")
def test_a_wide_layer_is_worked_in_float32_and_refitted_in_float64() -> None:
    problem = problem_of(groups=2, rows=10, columns=48)
    assert admm.Eigenbasis(problem.hessian).hessian.dtype == np.float32
    pruned = prune(problem, 200, "admm")
    assert pruned.dtype == np.float64
    assert np.count_nonzero(pruned) == 200
    np.testing.assert_allclose(pruned, oracle(problem, pruned != 0), rtol=1e-6, atol=1e-9)


def test_float32_finds_as_good_a_support(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(rows=20, columns=48)
    exact = problem.error(prune(problem, 200, "admm"))
    monkeypatch.setattr(admm, "FLOAT32_COLUMNS", 8)
    assert problem.error(prune(problem, 200, "admm")) == pytest.approx(exact, rel=0.03)


@pytest.mark.parametrize("kind", [admm.Eigenbasis, admm.Factored, admm.Inverted])
def test_all_ways_solve_with_the_scaled_and_penalised_hessian(kind: type[admm.Scaled]) -> None:
    problem = problem_of(groups=2, columns=10)
    found = kind(problem.hessian)
    np.testing.assert_allclose(np.einsum("gii->gi", found.hessian), 1.0)
    np.testing.assert_allclose(found.hessian * found.scale * found.scale.swapaxes(1, 2), problem.hessian, rtol=1e-9)
    target = normal(2, 3, 10)
    for rho in (0.1, 0.1, 2.5):
        back = found.penalised(rho).solve(target) @ (found.hessian + rho * np.eye(10))
        np.testing.assert_allclose(back, target, rtol=1e-9, atol=1e-9)


def test_few_steps_are_factored_and_find_the_same_support(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(admm.scaled(np.eye(65)[None], admm.SHORT, 65), admm.Factored)
    assert isinstance(admm.scaled(np.eye(64)[None], admm.SHORT, 64), admm.Eigenbasis)
    assert isinstance(admm.scaled(np.eye(3)[None], admm.SLOW, 3), admm.Eigenbasis)
    problem = problem_of(rows=20, columns=70)
    monkeypatch.setattr(methods, "SLOW_WORK", 0)
    factored = prune(problem, 200, "admm")
    monkeypatch.setattr(admm, "FACTORED_STEPS", 0)
    np.testing.assert_allclose(prune(problem, 200, "admm"), factored, rtol=1e-6, atol=1e-9)


def test_a_wide_layer_with_as_many_rows_is_inverted_and_finds_the_same_support(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admm, "INVERTED_COLUMNS", 64)
    problem = problem_of(rows=80, columns=70)
    assert isinstance(admm.scaled(problem.hessian, admm.SHORT, 70), admm.Inverted)
    assert isinstance(admm.scaled(problem.hessian, admm.SHORT, 69), admm.Factored)
    inverted, _ = admm.support(admm.Choice.of(problem.weight, admm.Inverted(problem.hessian), 2800, None, admm.SHORT))
    factored, _ = admm.support(admm.Choice.of(problem.weight, admm.Factored(problem.hessian), 2800, None, admm.SHORT))
    assert np.count_nonzero(inverted != factored) <= 0.01 * factored.size


@pytest.mark.parametrize("schedule", [admm.SLOW, admm.SHORT])
def test_rows_take_their_steps_the_same_in_parts(schedule: admm.Schedule, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(groups=2, rows=23, columns=70)
    kind = admm.scaled(problem.hessian, schedule, rows=23)
    whole, near = admm.support(admm.Choice.of(problem.weight, kind, 900, None, schedule))
    monkeypatch.setattr(admm, "SPLIT_SIZE", 0)
    monkeypatch.setattr(admm, "ROWS_AT_ONCE", 5)
    mask, again = admm.support(admm.Choice.of(problem.weight, kind, 900, None, schedule))
    np.testing.assert_array_equal(mask, whole)
    np.testing.assert_allclose(again, near, rtol=1e-6, atol=1e-9)
    assert np.count_nonzero(again) == 900
