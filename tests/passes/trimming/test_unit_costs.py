"""Costs of units against counting the elements of tensors that are really sliced."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from netsurgeon.passes.trimming.unit_costs import Term, UnitCosts

Array = NDArray[Any]
UNITS = 5


def owners() -> st.SearchStrategy[Array]:
    return st.lists(st.integers(-1, UNITS - 1), min_size=0, max_size=8).map(lambda v: np.array(v, np.int64))


def terms() -> st.SearchStrategy[Term]:
    return st.builds(Term, st.sampled_from([1.0, 9.0, 49.0]), st.lists(owners(), max_size=3).map(tuple))


def counted(terms: list[Term], remaining: Array) -> float:
    total = 0.0
    for term in terms:
        tensor = np.ones([len(owner) for owner in term.owners])
        for axis, owner in enumerate(term.owners):
            tensor = tensor.compress((owner < 0) | remaining[owner], axis=axis)
        total += term.factor * tensor.size
    return total


@settings(max_examples=150)
@given(st.lists(terms(), max_size=4), st.lists(st.booleans(), min_size=UNITS, max_size=UNITS).map(np.array))
def test_costs_are_those_of_the_sliced_tensors(terms: list[Term], remaining: Array) -> None:
    costs = UnitCosts(terms, UNITS)
    assert costs.total(remaining) == pytest.approx(counted(terms, remaining))
    savings = costs.savings(remaining)
    for unit in range(UNITS):
        without = remaining.copy()
        without[unit] = False
        assert savings[unit] == pytest.approx(counted(terms, remaining) - counted(terms, without))


def test_a_chain_of_two_convolutions() -> None:
    """A unit saves its row here and its column there, and less once the next layer has lost rows."""
    first, second = np.array([0, 1, 2]), np.array([3, 4])
    costs = UnitCosts([Term(9.0, (first, np.full(4, -1))), Term(1.0, (first,)), Term(9.0, (second, first))], 5)
    everything = np.ones(5, bool)
    assert costs.total(everything) == 9 * 3 * 4 + 3 + 9 * 2 * 3
    np.testing.assert_array_equal(costs.savings(everything), [36 + 1 + 18] * 3 + [27] * 2)
    everything[4] = False
    np.testing.assert_array_equal(costs.savings(everything), [36 + 1 + 9] * 3 + [27, 0])


def test_a_recurrent_weight_counts_the_crossing_once() -> None:
    units = np.arange(3)
    costs = UnitCosts([Term(1.0, (np.tile(units, 4), units))], 3)
    np.testing.assert_array_equal(costs.savings(np.ones(3, bool)), [36 - 16] * 3)
