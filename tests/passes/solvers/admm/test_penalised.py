"""All ways to solve with a penalised Hessian give the same, and the cheapest is taken."""

import numpy as np
import pytest
from layer_problems import normal, problem_of

from netsurgeon.passes.solvers import admm, methods
from netsurgeon.passes.solvers.admm import penalised
from netsurgeon.passes.solvers.methods import prune


@pytest.mark.parametrize("kind", [admm.Eigenbasis, admm.Factored, admm.Inverted])
def test_all_ways_solve_with_the_scaled_and_penalised_hessian(kind: type[admm.Scaled]) -> None:
    problem = problem_of(groups=2, columns=10)
    system = kind(problem.hessian)
    np.testing.assert_allclose(np.einsum("gii->gi", system.hessian), 1.0)
    np.testing.assert_allclose(system.hessian * system.scale * system.scale.swapaxes(1, 2), problem.hessian, rtol=1e-9)
    target = normal(2, 3, 10)
    for rho in (0.1, 0.1, 2.5):
        back = system.penalised(rho).solve(target) @ (system.hessian + rho * np.eye(10))
        np.testing.assert_allclose(back, target, rtol=1e-9, atol=1e-9)


def test_few_steps_are_factored_and_find_the_same_support(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(admm.scaled(np.eye(65)[None], admm.SHORT, 65), admm.Factored)
    assert isinstance(admm.scaled(np.eye(64)[None], admm.SHORT, 64), admm.Eigenbasis)
    assert isinstance(admm.scaled(np.eye(3)[None], admm.SLOW, 3), admm.Eigenbasis)
    problem = problem_of(rows=20, columns=70)
    monkeypatch.setattr(methods, "SLOW_WORK", 0)
    factored = prune(problem, 200, "admm")
    monkeypatch.setattr(penalised, "FACTORED_STEPS", 0)
    np.testing.assert_allclose(prune(problem, 200, "admm"), factored, rtol=1e-6, atol=1e-9)


def test_a_wide_layer_with_as_many_rows_is_inverted_and_finds_the_same_support(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(penalised, "INVERTED_COLUMNS", 64)
    problem = problem_of(rows=80, columns=70)
    assert isinstance(admm.scaled(problem.hessian, admm.SHORT, 70), admm.Inverted)
    assert isinstance(admm.scaled(problem.hessian, admm.SHORT, 69), admm.Factored)
    inverted, factored = (
        admm.support(admm.SupportChoice.of(problem.weight, kind(problem.hessian), 2800, None, admm.SHORT))[0]
        for kind in (admm.Inverted, admm.Factored)
    )
    assert np.count_nonzero(inverted != factored) <= 0.01 * factored.size
