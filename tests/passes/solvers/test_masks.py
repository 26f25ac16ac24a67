"""Masks: the largest scores, and N of every M."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_problems import oracle, problem_of

from netsurgeon.passes.solvers.masks import Pattern, choose, largest
from netsurgeon.passes.solvers.methods import prune


def test_a_pattern_of_one_tuple_a_row_takes_the_best_pair() -> None:
    problem = problem_of(rows=6, columns=4)
    pruned = prune(problem, 0, "obs", Pattern(3, 4, np.arange(4)))
    for row in range(6):
        masks = [np.arange(4) != removed for removed in range(4)]
        best = min(problem.rows(np.array([row])).error(oracle(problem, np.tile(m, (1, 6, 1)))[:, [row]]) for m in masks)
        assert problem.rows(np.array([row])).error(pruned[:, [row]]) == pytest.approx(best)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(0, 40))
def test_largest_keeps_the_largest_and_the_first_of_equals(score: list[int], keep: int) -> None:
    mask = largest(np.array(score, float), keep)
    expected = sorted(range(len(score)), key=lambda i: (-score[i], i))[:keep]
    assert set(np.flatnonzero(mask)) == set(expected)


def test_a_pattern_runs_in_its_order() -> None:
    pattern = Pattern(1, 2, np.array([0, 2, 1, 3]))
    np.testing.assert_array_equal(pattern.tuple_of, [0, 1, 0, 1])
    mask = choose(np.array([[[4.0, 1.0, 3.0, 2.0]]]), 99, pattern)
    np.testing.assert_array_equal(mask, [[[True, False, False, True]]])
