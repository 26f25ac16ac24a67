"""One layer's least-squares problem: target, energy, damping and dead inputs."""

import dataclasses

import numpy as np
import pytest
from layer_problems import Array, normal, samples, statistics_of

from netsurgeon.passes.solvers import linalg
from netsurgeon.passes.solvers import problem as problem_module
from netsurgeon.passes.solvers.linalg import FactorizationError
from netsurgeon.passes.solvers.methods import prune
from netsurgeon.passes.solvers.problem import Problem


@pytest.mark.parametrize("centred", [False, True])
def test_the_target_minimises_the_error_on_the_current_inputs(centred: bool) -> None:
    x = samples(2, 9, 200) + 2.0
    y = x + 0.3 * samples(2, 9, 200, seed=1) + 1.0
    weight = normal(2, 5, 9)
    problem = Problem.of(weight, statistics_of(x, y, centred=centred), 1e-12)
    if centred:
        x, y = x - x.mean(axis=-1, keepdims=True), y - y.mean(axis=-1, keepdims=True)
    for g in range(2):
        expected = np.linalg.lstsq(y[g].T, (weight[g] @ x[g]).T, rcond=None)[0].T
        np.testing.assert_allclose(problem.weight[g], expected, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(problem.target, problem.weight @ problem.hessian, rtol=1e-7, atol=1e-8)


def test_the_error_is_the_true_one_up_to_what_no_weight_reaches() -> None:
    x = samples(1, 8, 100)
    y = x + 0.3 * samples(1, 8, 100, seed=1)
    weight = normal(1, 4, 8)
    problem = Problem.of(weight, statistics_of(x, y), 1e-13)

    def true(candidate: Array) -> float:
        return float(np.sum((candidate @ y - weight @ x) ** 2) / 100)

    least = true(problem.weight)
    assert least > 0
    for seed in range(5):
        candidate = normal(1, 4, 8, seed=seed)
        assert problem.error(candidate) == pytest.approx(true(candidate) - least, rel=1e-6)


def test_damping_pulls_towards_the_dense_weight() -> None:
    x = samples(1, 8, 100)
    y = x + 0.5 * samples(1, 8, 100, seed=1)
    weight, statistics = normal(1, 4, 8), statistics_of(x, y)
    hessian, target, absolutes = problem_module.damped(weight, statistics, 0.1)
    absolute = 0.1 * np.trace(statistics.gram[0]) / 8
    assert absolutes.tolist() == pytest.approx([absolute])
    np.testing.assert_allclose(hessian[0], statistics.gram[0] + absolute * np.eye(8))
    np.testing.assert_allclose(target, weight @ statistics.cross + absolute * weight)
    gaps = [np.abs(Problem.of(weight, statistics, damping).weight - weight).max() for damping in (1e-6, 1.0, 1e6)]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-5


def test_a_ridge_is_what_damping_multiplies() -> None:
    x = samples(2, 8, 100)
    y = x + 0.5 * samples(2, 8, 100, seed=1)
    directions = samples(2, 8, 50, seed=2)
    ridge = directions @ directions.swapaxes(1, 2)
    ridge /= np.einsum("gii->gi", ridge).mean(axis=1)[:, None, None]
    weight, statistics = normal(2, 4, 8), dataclasses.replace(statistics_of(x, y), ridge=ridge)
    hessian, target, absolute = problem_module.damped(weight, statistics, 0.1)
    added = absolute[:, None, None] * ridge
    np.testing.assert_allclose(hessian, statistics.gram + added)
    np.testing.assert_allclose(target, weight @ (statistics.cross + added))
    problem, other = Problem.of(weight, statistics, 0.1), normal(2, 4, 8, seed=1)
    assert problem.error(other) - problem.excess(other) == pytest.approx(
        float(np.sum(((other - problem.weight) @ added) * (other - problem.weight)))
    )
    identity = dataclasses.replace(statistics, ridge=np.stack([np.eye(8)] * 2))
    plain = Problem.of(weight, dataclasses.replace(statistics, ridge=None), 0.1)
    np.testing.assert_allclose(Problem.of(weight, identity, 0.1).weight, plain.weight)
    assert Problem.of(weight, identity, 0.1).energy == pytest.approx(plain.energy)


@pytest.mark.parametrize("ridged", [False, True])
def test_inputs_that_never_vary_leave_energy_and_excess_exact(ridged: bool) -> None:
    """Their positions may: a channel whose mean is constant, as behind InstanceNormalization."""
    x = samples(1, 12, 200)
    x[:, :8] = 0.0
    directions = samples(1, 12, 50, seed=2)
    ridge = directions @ directions.swapaxes(1, 2)
    ridge *= 12 / np.trace(ridge[0])
    weight = normal(1, 4, 12)
    statistics = dataclasses.replace(statistics_of(x), ridge=ridge if ridged else None)
    assert statistics.dead.sum() == 8
    problem = Problem.of(weight, statistics, 1.0)
    np.testing.assert_allclose(problem.weight @ problem.hessian, problem.target, atol=1e-9)
    live = np.where(statistics.dead[:, None, :], 0.0, normal(1, 4, 12, seed=1))
    difference = live - problem.weight
    assert problem.excess(live) == pytest.approx(float(np.sum((difference @ statistics.gram) * difference)))
    assert problem.energy == pytest.approx(float(np.sum((problem.weight @ statistics.gram) * problem.weight)))


def test_recalibration_helps() -> None:
    x = samples(1, 30, 400)
    y = x + 0.3 * samples(1, 30, 400, seed=1)
    weight, keep = normal(1, 10, 30), 60
    paired, blind = (Problem.of(weight, statistics, 1e-4) for statistics in (statistics_of(x, y), statistics_of(x)))
    errors = [np.sum((prune(p, keep, "auto") @ y - weight @ x) ** 2) for p in (paired, blind)]
    assert errors[0] < 0.9 * errors[1]


def test_an_input_that_died_on_the_way() -> None:
    """Dense inputs that fire, current ones that do not: the others take over what they can."""
    x = samples(1, 10, 300)
    x[0, 4] = x[0, 3] + 0.1 * x[0, 4]
    y = x.copy()
    y[0, 4] = 0.0
    weight = normal(1, 4, 10)
    problem = Problem.of(weight, statistics_of(x, y), 1e-9)
    expected = np.linalg.lstsq(np.delete(y[0], 4, 0).T, (weight[0] @ x[0]).T, rcond=None)[0].T
    np.testing.assert_allclose(np.delete(problem.weight[0], 4, 1), expected, rtol=1e-5, atol=1e-6)
    assert not problem.weight[0, :, 4].any()


def test_an_indefinite_paired_hessian_is_refused_at_once() -> None:
    x = samples(1, 6, 50)
    statistics = statistics_of(x, x + 0.1)
    statistics.gram[0, 0, 1] = statistics.gram[0, 1, 0] = 50 * statistics.gram[0, 0, 0]
    with pytest.raises(FactorizationError, match="not positive definite"):
        Problem.of(normal(1, 3, 6), statistics, 1e-3)


def test_many_rows_are_worked_in_parts_to_the_same_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    statistics, weight, other = statistics_of(samples(2, 9, 200)), normal(2, 11, 9), normal(2, 11, 9, seed=3)

    def figures() -> list[Array]:
        problem = Problem.of(weight, statistics, 0.1)
        errors = problem.row_errors(other), problem.row_excess(other), np.array(problem.energy)
        return [problem.target, problem.weight, *errors, linalg.solve(problem.target, problem.hessian)]

    whole = figures()
    monkeypatch.setattr(linalg, "ROWS_AT_ONCE", 4)
    for expected, actual in zip(whole, figures(), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-20])
def test_products_of_wide_layers_are_worked_in_float32(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, moment = normal(2, 11, 9), scale * normal(2, 9, 9) ** 2
    exact = linalg.product(weight, moment)
    np.testing.assert_array_equal(exact, weight @ moment)
    monkeypatch.setattr(linalg, "SINGLE_COLUMNS", 8)
    rounded = linalg.product(weight, moment)
    assert rounded.dtype == np.float64
    assert not np.array_equal(rounded, exact)
    np.testing.assert_allclose(rounded, exact, rtol=1e-5, atol=1e-5 * scale)
