"""Slices that a layer loses: how many weights are left, and which come back after pruning."""

import numpy as np
import pytest

from netsurgeon.passes.pruning.layer_plan import LayerPlan, RemovedSlices
from netsurgeon.passes.solvers import Array

COLUMNS = np.array([[True, False, False], [False, False, False]])
ROWS = np.array([[False, True], [True, True]])
GONE = RemovedSlices(COLUMNS, ROWS)


def weight() -> Array:
    """(blocks, rows, columns), without a zero."""
    return np.arange(1.0, 13.0).reshape(2, 2, 3)


def test_what_is_left_is_rows_times_columns_of_every_block() -> None:
    assert GONE.live == 1 * 2 + 0 * 3
    assert RemovedSlices(np.zeros((2, 3), bool), np.zeros((2, 2), bool)).live == 12
    assert RemovedSlices(np.ones((2, 3), bool), np.zeros((2, 2), bool)).live == 0


def test_lost_rows_are_zero_while_a_layer_is_solved() -> None:
    solved = GONE.without_rows(weight())
    np.testing.assert_array_equal(solved, [[[1, 2, 3], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]])


def test_lost_rows_come_back_but_for_their_lost_columns() -> None:
    pruned = np.full((2, 2, 3), -1.0)
    restored = GONE.restored(pruned, weight())
    np.testing.assert_array_equal(restored, [[[-1, -1, -1], [0, 5, 6]], [[7, 8, 9], [10, 11, 12]]])
    assert (pruned == -1.0).all()


@pytest.mark.parametrize("seed", range(3))
def test_weights_that_are_not_pruned_come_back_as_they_were(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dense = rng.standard_normal((2, 4, 5))
    removed_slices = RemovedSlices(rng.random((2, 5)) < 0.3, rng.random((2, 4)) < 0.3)
    without_columns = np.where(removed_slices.columns[:, None, :], 0.0, removed_slices.without_rows(dense))
    assert np.count_nonzero(without_columns) == removed_slices.live
    np.testing.assert_array_equal(
        removed_slices.restored(without_columns, dense), np.where(removed_slices.columns[:, None], 0.0, dense)
    )


def test_plans_that_differ_only_in_what_is_gone_compare_equal() -> None:
    """Arrays have no one truth value: comparing them would raise."""
    assert LayerPlan(3, removed_slices=GONE) == LayerPlan(3, removed_slices=RemovedSlices(~COLUMNS, ~ROWS))
    assert LayerPlan(3) != LayerPlan(4)
