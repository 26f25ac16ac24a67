"""Scores of units against their definitions."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from netsurgeon.passes._group_obs import Consumer
from netsurgeon.passes.importance import FixedImportance, ObsImportance, Zeros, idle, squared_magnitude
from netsurgeon.passes.solvers import Problem

Array = NDArray[Any]


def problem_of(rows: int, columns: int, seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((columns, 4 * columns)) + rng.standard_normal(4 * columns)
    hessian = (x @ x.T / x.shape[1] + 1e-3 * np.eye(columns))[None]
    weight = rng.standard_normal((1, rows, columns))
    return Problem(weight @ hessian, hessian, weight, 1e-3)


# ------------------------------------------------------------------------------------------------ group OBS


def test_consumers_add_each_on_its_scale() -> None:
    problems = [problem_of(3, 8), problem_of(5, 4, seed=1)]
    owners = [np.arange(8)[None] // 2, np.array([[3, 1, 0, 2]])]

    def consumer(i: int, scale: float) -> Consumer:
        return Consumer.of(problems[i], owners[i], scale=scale)

    alone = [ObsImportance([consumer(i, 1.0)], 4).prices() for i in range(2)]
    extra = np.array([0.0, 1.0, 0.0, 2.0])
    together = ObsImportance([consumer(0, 0.5), consumer(1, 3.0)], 4, extra)
    expected = 0.5 * alone[0] + 3.0 * alone[1] + extra
    np.testing.assert_allclose(together.prices(), expected)
    np.testing.assert_allclose(together.restricted(np.array([1, 3])).prices()[[1, 3]], expected[[1, 3]])
    gone = together.remove(np.array([3]))
    np.testing.assert_allclose(gone, expected[[3]])
    np.testing.assert_array_equal(extra, [0.0, 1.0, 0.0, 2.0])
    assert sum(c.error for c in together.consumers) == pytest.approx(expected[3] - 2.0)


def test_a_unit_that_nobody_reads_is_free() -> None:
    importance = ObsImportance([Consumer.of(problem_of(3, 4), np.arange(4)[None])], 6)
    np.testing.assert_array_equal(importance.prices()[4:], 0.0)
    np.testing.assert_array_equal(importance.remove(np.array([4, 5])), 0.0)


# ------------------------------------------------------------------------------------------------ APoZ


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 5), st.integers(1, 6), st.integers(0, 99))
def test_apoz_is_the_average_share_of_zeros(batches: list[int], units: int, positions: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.standard_normal((sum(batches), units, positions)), 0.0).astype(np.float32)
    zeros = Zeros(units)
    for batch in np.split(x, np.cumsum(batches)[:-1]):
        zeros.update(batch)
    for unit in range(units):
        assert zeros.share()[unit] == pytest.approx(sum(v == 0.0 for v in x[:, unit].ravel()) / x[:, unit].size)


def test_small_values_count_where_asked() -> None:
    x = np.array([[[0.0, -0.01, 0.02, 1.0]]])
    for epsilon, expected in ((0.0, 0.25), (0.01, 0.5), (0.05, 0.75)):
        zeros = Zeros(1, epsilon)
        zeros.update(x)
        assert zeros.share() == pytest.approx([expected])


def test_apoz_of_nothing() -> None:
    with pytest.raises(ValueError, match="no activations were seen"):
        Zeros(3).share()


def test_idle_units_are_above_the_mean_and_a_deviation_of_their_layer() -> None:
    apoz = np.array([0.1, 0.1, 0.1, 0.9, 0.95, 0.95, 0.95, 0.99, 0.3, 0.3, 0.3])
    axis = np.array([0, 0, 0, 0, 2, 2, 2, 2, 1, 1, 1])
    found = idle(apoz, axis)
    np.testing.assert_array_equal(np.flatnonzero(found), [3, 7])
    for layer in (0, 1, 2):
        of = apoz[axis == layer]
        np.testing.assert_array_equal(found[axis == layer], of > of.mean() + of.std() + 1e-12)
    assert not idle(apoz, axis, 2.0).any()


# ------------------------------------------------------------------------------------------------ magnitude


def test_magnitude_is_the_share_of_the_squares() -> None:
    weight = np.random.default_rng(0).standard_normal((2, 3, 4))
    rows = np.array([[0, 1, -1], [0, 2, 2]])[:, :, None]
    squares = (weight**2).sum(axis=2)
    expected = [squares[0, 0] + squares[1, 0], squares[0, 1], squares[1, 1] + squares[1, 2]]
    np.testing.assert_allclose(squared_magnitude(weight, rows, 3), np.array(expected) / (weight**2).sum())
    columns = np.array([[0, 0, 1, -1], [2, 1, 1, 1]])[:, None, :]
    squares = (weight**2).sum(axis=1)
    expected = [squares[0, :2].sum(), squares[0, 2] + squares[1, 1:].sum(), squares[1, 0]]
    np.testing.assert_allclose(squared_magnitude(weight, columns, 3), np.array(expected) / (weight**2).sum())


def test_magnitude_of_nothing() -> None:
    np.testing.assert_array_equal(squared_magnitude(np.zeros((1, 2, 3)), np.zeros((1, 2, 1), int), 1), [0.0])


def test_fixed_scores_stay() -> None:
    scores = FixedImportance(np.array([3.0, 1.0, 2.0]))
    np.testing.assert_array_equal(scores.restricted(np.array([0])).remove(np.array([2, 0])), [2.0, 3.0])
    np.testing.assert_array_equal(scores.prices(), [3.0, 1.0, 2.0])
