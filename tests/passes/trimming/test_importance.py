"""Scores of units against their definitions."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from netsurgeon.passes.solvers.group_obs import Consumer
from netsurgeon.passes.solvers.problem import Problem
from netsurgeon.passes.trimming.importance import FixedImportance, ObsImportance, idle

Array = NDArray[Any]


def problem_of(rows: int, columns: int, seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((columns, 4 * columns)) + rng.standard_normal(4 * columns)
    hessian = (x @ x.T / x.shape[1] + 1e-3 * np.eye(columns))[None]
    weight = rng.standard_normal((1, rows, columns))
    return Problem(weight @ hessian, hessian, weight, 1e-3, np.zeros(1))


# ------------------------------------------------------------------------------------------------ group OBS


def test_consumers_add_each_on_its_scale() -> None:
    problems = [problem_of(3, 8), problem_of(5, 4, seed=1)]
    owners = [np.arange(8)[None] // 2, np.array([[3, 1, 0, 2]])]

    def consumer(i: int, scale: float) -> Consumer:
        return Consumer.of(problems[i], owners[i], scale=scale)

    alone = [ObsImportance([consumer(i, 1.0)], 4).prices() for i in range(2)]
    extra = np.array([0.0, 1.0, 0.0, 2.0])
    both = [consumer(0, 0.5), consumer(1, 3.0)]
    together = ObsImportance(both, 4, extra)
    expected = 0.5 * alone[0] + 3.0 * alone[1] + extra
    np.testing.assert_allclose(together.prices(), expected)
    np.testing.assert_allclose(together.restricted(np.array([1, 3])).prices()[[1, 3]], expected[[1, 3]])
    gone = together.remove(np.array([3]))
    np.testing.assert_allclose(gone, expected[[3]])
    np.testing.assert_array_equal(extra, [0.0, 1.0, 0.0, 2.0])
    assert sum(c.error for c in both) == pytest.approx(expected[3] - 2.0)


def test_a_unit_that_nobody_reads_is_free() -> None:
    importance = ObsImportance([Consumer.of(problem_of(3, 4), np.arange(4)[None])], 6)
    np.testing.assert_array_equal(importance.prices()[4:], 0.0)
    np.testing.assert_array_equal(importance.remove(np.array([4, 5])), 0.0)


# ------------------------------------------------------------------------------------------------ APoZ


def test_idle_units_are_above_the_mean_and_a_deviation_of_their_layer() -> None:
    apoz = np.array([0.1, 0.1, 0.1, 0.9, 0.95, 0.95, 0.95, 0.99, 0.3, 0.3, 0.3])
    axis = np.array([0, 0, 0, 0, 2, 2, 2, 2, 1, 1, 1])
    found = idle(apoz, axis)
    np.testing.assert_array_equal(np.flatnonzero(found), [3, 7])
    for layer in (0, 1, 2):
        of = apoz[axis == layer]
        np.testing.assert_array_equal(found[axis == layer], of > of.mean() + of.std() + 1e-12)
    assert not idle(apoz, axis, 2.0).any()


def test_fixed_scores_stay() -> None:
    scores = FixedImportance(np.array([3.0, 1.0, 2.0]))
    np.testing.assert_array_equal(scores.restricted(np.array([0])).remove(np.array([2, 0])), [2.0, 3.0])
    np.testing.assert_array_equal(scores.prices(), [3.0, 1.0, 2.0])
