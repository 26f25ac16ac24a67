"""Rows are combined into the smallest sets that sum to zero; what no set balances is left."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from netsurgeon.passes.axes.balance import combine

Ints = NDArray[np.int64]


def table_of(*rows: tuple[int, ...]) -> Ints:
    return np.array(rows, np.int64)


def as_sets(sets: list[Ints]) -> set[frozenset[int]]:
    return {frozenset(rows.tolist()) for rows in sets}


def test_rows_of_zeros_need_no_others() -> None:
    sets, left = combine(table_of((0, 0), (1, -1), (0, 0)))
    assert as_sets(sets) == {frozenset({0}), frozenset({2})}
    assert left == [1]


def test_no_rows_make_no_sets() -> None:
    assert combine(np.zeros((0, 3), np.int64)) == ([], [])


def test_pairs_go_before_larger_sets() -> None:
    # Rows 0, 1 and 2 sum to zero too, but then rows 3 and 4 would need each other and two pairs become one triple.
    sets, left = combine(table_of((2, -2), (-1, 1), (-1, 1), (-2, 2), (1, -1), (1, -1)))
    assert not left
    assert sorted(len(rows) for rows in sets) == [2, 2, 2]


def test_one_row_against_two() -> None:
    sets, left = combine(table_of((2, -2), (-1, 1), (-1, 1)))
    assert as_sets(sets) == {frozenset({0, 1, 2})}
    assert not left


def test_rows_that_share_no_group_are_never_combined() -> None:
    sets, left = combine(table_of((1, -1, 0, 0), (0, 0, 1, -1), (-1, 1, 0, 0), (0, 0, -1, 1)))
    assert as_sets(sets) == {frozenset({0, 2}), frozenset({1, 3})}
    assert not left


@pytest.mark.parametrize("surplus", [1, 2, 5])
def test_a_surplus_of_one_kind_is_left(surplus: int) -> None:
    sets, left = combine(table_of(*[(1, -1)] * (3 + surplus), *[(-1, 1)] * 3))
    assert len(sets) == 3
    assert len(left) == surplus


@settings(max_examples=60)
@given(arrays.arrays(np.int64, st.tuples(st.integers(1, 8), st.integers(1, 3)), elements=st.integers(-2, 2)))
def test_every_row_is_in_one_set_or_left_and_every_set_is_balanced(table: Ints) -> None:
    sets, left = combine(table)
    assert sorted([row for rows in sets for row in rows.tolist()] + left) == list(range(len(table)))
    assert not any(table[rows].sum(axis=0).any() for rows in sets)
    # nothing that is left could have been balanced alone or by one other row
    assert table[left].any(axis=1).all()
    assert not any((table[one] == -table[other]).all() for one in left for other in left)
