"""Prices of terms of a sum that nobody corrects."""

import numpy as np
import pytest
from numpy.typing import NDArray

from netsurgeon.passes.trimming.uncorrected import Uncorrected, by_unit

Array = NDArray[np.float64]


@pytest.fixture
def terms() -> Array:
    """Terms of 6 units that are alike in part, (samples, units)."""
    rng = np.random.default_rng(0)
    return np.asarray(rng.standard_normal((50, 6)) + 0.7 * rng.standard_normal((50, 1)))


def test_what_goes_costs_the_energy_of_its_sum(terms: Array) -> None:
    units = np.array([3, 4, 7, 8, 9, 12])
    consumer = Uncorrected(units, terms.T @ terms)
    gone = np.array([7, 12, 3])
    total = consumer.remove(gone).sum()
    assert total == pytest.approx(np.square(terms[:, [2, 5, 0]].sum(axis=1)).sum())
    ((found, prices),) = consumer.prices()
    np.testing.assert_array_equal(found, units)
    more = np.square(terms[:, [2, 5, 0, 1]].sum(axis=1)).sum() - total
    assert prices[1] == pytest.approx(max(more, 0.0))


def test_units_of_other_sums_cost_nothing(terms: Array) -> None:
    consumer = Uncorrected(np.arange(6), terms.T @ terms)
    assert consumer.remove(np.array([17])).tolist() == [0.0]


def test_a_restricted_copy_prices_alike(terms: Array) -> None:
    consumer = Uncorrected(np.arange(6), terms.T @ terms)
    consumer.remove(np.array([1]))
    copy = consumer.restricted(np.array([5, 0]))
    ((whole, prices),) = consumer.prices()
    ((some, restricted),) = copy.prices()
    np.testing.assert_array_equal(restricted, prices[np.isin(whole, some)])
    np.testing.assert_allclose(copy.remove(np.array([5, 0])), consumer.remove(np.array([5, 0])))


def test_indices_of_a_unit_are_added_up(terms: Array) -> None:
    units, energy = by_unit(terms.T @ terms, np.array([2, -1, 0, 2, -1, 0]))
    joined = np.stack([terms[:, 2] + terms[:, 5], terms[:, 0] + terms[:, 3]], axis=1)
    assert units.tolist() == [0, 2]
    np.testing.assert_allclose(energy, joined.T @ joined)
