"""Quick refits: the support that scaled magnitude chooses, and weights near the closed form."""

import numpy as np
import pytest
from layer_problems import oracle, problem_of

from netsurgeon.passes.solvers.quick_refit import iterate, largest_scaled, quick_refit, refit_columns


def test_scores_are_weights_times_the_root_of_their_inputs_energy() -> None:
    problem = problem_of(groups=2, rows=3, columns=10)
    scores = np.abs(problem.weight) * np.sqrt(np.diagonal(problem.hessian, axis1=1, axis2=2))[:, None, :]
    mask = largest_scaled(problem, 25)
    assert mask.sum() == 25
    assert scores[mask].min() > scores[~mask].max()


@pytest.mark.parametrize("keep", [1, 20, 47])
def test_a_narrow_layer_is_refitted_exactly(keep: int) -> None:
    problem = problem_of(rows=4, columns=12)
    found = quick_refit(problem, keep)
    np.testing.assert_allclose(found, oracle(problem, largest_scaled(problem, keep)), rtol=1e-7, atol=1e-8)


def test_a_wide_layer_comes_near_it_and_nearer_with_every_step() -> None:
    problem = problem_of(rows=4, columns=30)
    mask = largest_scaled(problem, 60)
    exact = oracle(problem, mask)
    distances = [np.abs(refit_columns(problem, 60, 1, steps) - exact).max() for steps in (0, 4, 40)]
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 1e-3 * np.abs(exact).max()
    assert not iterate(problem, mask, 4)[~mask].any()
