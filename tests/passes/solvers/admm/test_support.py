"""The support that ADMM finds is good, in both precisions."""

import numpy as np
import pytest
from layer_problems import oracle, problem_of

from netsurgeon.passes.solvers import admm, linalg
from netsurgeon.passes.solvers.admm import penalised
from netsurgeon.passes.solvers.masks import largest
from netsurgeon.passes.solvers.methods import prune


@pytest.mark.parametrize("seed", range(3))
def test_admm_beats_magnitude_with_refit_on_correlated_inputs(seed: int) -> None:
    problem = problem_of(rows=16, columns=60, seed=seed)
    keep = problem.weight.size // 10
    mask = largest(np.abs(problem.weight), keep)
    refitted = problem.error(linalg.refit(problem.target, problem.hessian, mask))
    scaled = np.abs(problem.weight) * np.sqrt(np.einsum("gii->gi", problem.hessian))[:, None]
    weighted = problem.error(linalg.refit(problem.target, problem.hessian, largest(scaled, keep)))
    error = problem.error(prune(problem, keep, "admm"))
    assert error < 0.9 * min(refitted, weighted)
    assert refitted < problem.error(problem.weight * mask)


def test_a_wide_layer_is_worked_in_float32_and_refitted_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(penalised, "FLOAT32_COLUMNS", 8)
    problem = problem_of(groups=2, rows=10, columns=48)
    assert admm.Eigenbasis(problem.hessian).hessian.dtype == np.float32
    pruned = prune(problem, 200, "admm")
    assert pruned.dtype == np.float64
    assert np.count_nonzero(pruned) == 200
    np.testing.assert_allclose(pruned, oracle(problem, pruned != 0), rtol=1e-6, atol=1e-9)


def test_float32_finds_as_good_a_support(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(rows=20, columns=48)
    exact = problem.error(prune(problem, 200, "admm"))
    monkeypatch.setattr(penalised, "FLOAT32_COLUMNS", 8)
    assert problem.error(prune(problem, 200, "admm")) == pytest.approx(exact, rel=0.03)
