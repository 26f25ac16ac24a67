"""Group OBS against closed forms: prices, corrections and downdates."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from netsurgeon.passes.solvers import group_obs
from netsurgeon.passes.solvers.group_obs import FIXED, Consumer, owned
from netsurgeon.passes.solvers.linalg import FactorizationError
from netsurgeon.passes.solvers.problem import Problem
from netsurgeon.passes.solvers.statistics import Statistics

Array = NDArray[Any]


def samples(groups: int, columns: int, count: int, seed: int = 0) -> Array:
    """Correlated inputs of unequal scale, (groups, columns, count)."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((groups, columns, columns)) / np.sqrt(columns) + np.eye(columns)
    scales = np.exp(0.5 * rng.standard_normal((groups, columns, 1)))
    return np.asarray(scales * (mixing @ rng.standard_normal((groups, columns, count))))


def statistics_of(x: Array, y: Array | None = None) -> Statistics:
    now = x if y is None else y
    means = x.mean(axis=-1), now.mean(axis=-1)
    gram = now @ now.swapaxes(1, 2) / x.shape[-1]
    return Statistics(x.shape[-1], False, *means, gram, gram if y is None else x @ now.swapaxes(1, 2) / x.shape[-1])


def problem_of(groups: int, rows: int, columns: int, seed: int = 0, damping: float = 1e-3) -> Problem:
    weight = np.random.default_rng([seed, 7]).standard_normal((groups, rows, columns))
    return Problem.of(weight, statistics_of(samples(groups, columns, 4 * columns, seed)), damping)


def priced(consumer: Consumer, units: int) -> Array:
    result = np.zeros(units)
    for members, prices in consumer.prices():
        result[members] += prices
    return result


def oracle(problem: Problem, removed: Array) -> Array:
    """Least squares on the survivors: ``W_R + W_M H_MR H_RR⁻¹``, R kept and M removed, (groups, columns)."""
    result = np.zeros_like(problem.weight)
    for g, gone in enumerate(removed):
        hessian, weight = problem.hessian[g], problem.weight[g]
        carried = weight[:, gone] @ hessian[np.ix_(gone, ~gone)] @ np.linalg.inv(hessian[np.ix_(~gone, ~gone)])
        result[g][:, ~gone] = weight[:, ~gone] + carried
    return result


def mask_of(units: list[int], count: int) -> Array:
    mask = np.zeros(count, bool)
    mask[units] = True
    return mask


@st.composite
def layers(draw: st.DrawFn) -> tuple[Problem, Array, int]:
    """A layer, the unit of each column (some stay, sizes differ, units reach over groups), and how many units."""
    groups, rows = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    columns, units = draw(st.integers(1, 14)), draw(st.integers(1, 6))
    owners = draw(st.lists(st.integers(FIXED, units - 1), min_size=groups * columns, max_size=groups * columns))
    problem = problem_of(groups, rows, columns, draw(st.integers(0, 5)), draw(st.sampled_from([1e-4, 1e-2])))
    return problem, np.array(owners).reshape(groups, columns), units


# ------------------------------------------------------------------------------------------------ prices


@settings(max_examples=80)
@given(layers())
def test_a_price_is_what_the_damped_error_grows_by(layer: tuple[Problem, Array, int]) -> None:
    problem, owners, units = layer
    prices = priced(Consumer.of(problem, owners, scale=3.0), units)
    for unit in range(units):
        assert prices[unit] == pytest.approx(3.0 * problem.error(oracle(problem, owners == unit)), rel=1e-6, abs=1e-9)


def test_a_price_is_the_trace_of_the_paper() -> None:
    problem = problem_of(1, 5, 12)
    inverse = np.linalg.inv(problem.hessian[0])
    owners = np.arange(12).reshape(1, 4, 3).repeat(1, axis=1).reshape(1, 12) // 3
    prices = priced(Consumer.of(problem, owners), 4)
    for unit in range(4):
        columns = owners[0] == unit
        weight = problem.weight[0][:, columns]
        expected = np.trace(weight @ np.linalg.inv(inverse[np.ix_(columns, columns)]) @ weight.T)
        assert prices[unit] == pytest.approx(expected)


def test_own_rows_do_not_count() -> None:
    """A recurrent weight: row and column of a unit go together, and nobody misses the unit in its own row."""
    problem, units = problem_of(1, 6, 6), np.arange(6)[None]
    prices = priced(Consumer.of(problem, units, units), 6)
    for unit in range(6):
        others = problem.rows(np.delete(np.arange(6), unit))
        assert prices[unit] == pytest.approx(others.error(oracle(others, units == unit)))


def test_a_group_that_goes_as_a_whole_is_free() -> None:
    """A depthwise convolution: channel c is all of group c."""
    problem, units = problem_of(4, 2, 9), np.arange(4)[:, None]
    consumer = Consumer.of(problem, units.repeat(9, 1), units.repeat(2, 1))
    np.testing.assert_array_equal(priced(consumer, 4), 0.0)
    np.testing.assert_array_equal(consumer.remove(np.array([2, 1])), 0.0)
    assert consumer.error == 0.0


def test_dead_inputs_are_free() -> None:
    x = samples(1, 8, 100)
    x[0, 2:4] = 0.0
    problem = Problem.of(np.random.default_rng(0).standard_normal((1, 3, 8)), statistics_of(x), 1e-3)
    prices = priced(Consumer.of(problem, np.arange(8)[None] // 2), 4)
    assert prices[1] == 0.0
    assert (prices[[0, 2, 3]] > 0.0).all()


# ------------------------------------------------------------------------------------------------ removals


@settings(max_examples=80)
@given(layers(), st.data())
def test_removals_in_any_batches_cost_what_the_refit_loses(
    layer: tuple[Problem, Array, int], data: st.DataObject
) -> None:
    problem, owners, units = layer
    consumer = Consumer.of(problem, owners)
    order = data.draw(st.permutations(range(units)))[: data.draw(st.integers(1, units))]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(order)))) | {len(order)})
    start, gone, before = 0, np.zeros(units, bool), 0.0
    for cut in cuts:
        costs = consumer.remove(np.array(order[start:cut]))
        for unit, cost in zip(order[start:cut], costs, strict=True):
            gone[unit] = True
            now = problem.error(oracle(problem, owned(owners, gone)))
            assert cost == pytest.approx(now - before, rel=1e-5, abs=1e-8)
            before = now
        start = cut
        assert consumer.error == pytest.approx(before, rel=1e-6, abs=1e-9)
        ahead = priced(consumer, units)
        for unit in np.flatnonzero(~gone).tolist():
            more = owned(owners, gone | mask_of([unit], units))
            expected = problem.error(oracle(problem, more)) - before
            assert ahead[unit] == pytest.approx(expected, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("compact", [0.0, 0.85, 2.0])
@pytest.mark.parametrize("batches", [[[5, 2, 9]], [[5], [2], [9]], [[1, 0, 3, 4, 5], [9, 2]]])
def test_the_state_is_the_inverse_and_the_refit_of_the_survivors(
    monkeypatch: pytest.MonkeyPatch, batches: list[list[int]], compact: float
) -> None:
    monkeypatch.setattr(group_obs, "COMPACT", compact)
    problem, owners = problem_of(1, 7, 40, damping=1e-6), np.arange(10).repeat(4)[None]
    block = Consumer.of(problem, owners)._blocks[0]
    for batch in batches:
        block.remove(np.array(batch))
    gone = np.isin(owners, np.concatenate(batches))
    left = np.flatnonzero(block.owners >= 0)
    np.testing.assert_array_equal(block.owners[left], owners[~gone])
    hessian = problem.hessian[0][np.ix_(~gone[0], ~gone[0])]
    np.testing.assert_allclose(block.inverse[np.ix_(left, left)] @ hessian, np.eye(len(hessian)), atol=1e-9)
    np.testing.assert_allclose(block.weight[left].T, oracle(problem, gone)[0][:, ~gone[0]], rtol=1e-8, atol=1e-10)


def test_downdates_lose_no_digits_where_the_hessian_is_nearly_singular() -> None:
    """60 units in turn from inputs of rank 30 with hardly any damping."""
    x = samples(1, 30, 200)
    x = np.concatenate([x, x + 1e-3 * samples(1, 30, 200, seed=1), 0.5 * x], axis=1)
    problem = Problem.of(np.random.default_rng(0).standard_normal((1, 5, 90)), statistics_of(x), 1e-7)
    units = np.arange(90)[None]
    consumer = Consumer.of(problem, units)
    order = np.random.default_rng(1).permutation(90)[:60]
    total = sum(float(consumer.remove(np.array([unit]))[0]) for unit in order)
    refitted = oracle(problem, np.isin(units, order))
    assert total == pytest.approx(problem.error(refitted), rel=1e-6)


def test_rows_that_go_take_their_losses_along() -> None:
    problem, columns, rows = problem_of(1, 4, 6), np.arange(6)[None], np.array([[6, 7, FIXED, FIXED]])
    consumer = Consumer.of(problem, columns, rows)
    consumer.remove(np.array([1]))
    np.testing.assert_array_equal(consumer.remove(np.array([7])), 0.0)
    left = problem.rows(np.array([0, 2, 3]))
    assert consumer.error == pytest.approx(left.error(oracle(left, columns == 1)))
    both = left.error(oracle(left, np.isin(columns, [1, 3])))
    assert priced(consumer, 8)[3] == pytest.approx(both - consumer.error)


def test_a_restricted_copy_prices_and_removes_the_same() -> None:
    problem, owners = problem_of(2, 5, 24), np.stack([np.arange(24) // 3, np.arange(24)[::-1] // 3])
    consumer, pool = Consumer.of(problem, owners), np.array([1, 4, 5, 7])
    copy = consumer.restricted(pool)
    np.testing.assert_allclose(priced(copy, 8)[pool], priced(consumer, 8)[pool])
    np.testing.assert_allclose(copy.remove(np.array([5, 1])), consumer.remove(np.array([5, 1])))
    np.testing.assert_allclose(priced(copy, 8)[[4, 7]], priced(consumer, 8)[[4, 7]])
    assert not priced(copy, 8)[[0, 2, 3, 6]].any()


def test_a_copy_leaves_the_original_alone() -> None:
    consumer = Consumer.of(problem_of(1, 5, 12), np.arange(12)[None] // 3)
    before = priced(consumer, 4)
    consumer.restricted(np.array([0, 1])).remove(np.array([1]))
    np.testing.assert_array_equal(priced(consumer, 4), before)


def test_the_problem_is_left_alone() -> None:
    problem = problem_of(1, 5, 12)
    hessian, weight = problem.hessian.copy(), problem.weight.copy()
    Consumer.of(problem, np.arange(12)[None]).remove(np.arange(9))
    np.testing.assert_array_equal(problem.hessian, hessian)
    np.testing.assert_array_equal(problem.weight, weight)


@pytest.mark.parametrize("removable", [4, 12])
def test_an_indefinite_hessian_is_refused(removable: int) -> None:
    problem = problem_of(1, 3, 12)
    problem.hessian[0, 0, 1] = problem.hessian[0, 1, 0] = 50 * problem.hessian[0, 0, 0]
    owners = np.where(np.arange(12) < removable, np.arange(12), FIXED)[None]
    with pytest.raises(FactorizationError, match="not positive definite"):
        Consumer.of(problem, owners)


def test_an_indefinite_inverse_is_refused() -> None:
    consumer = Consumer.of(problem_of(1, 3, 12), np.arange(12)[None])
    consumer._blocks[0].inverse[2, 2] = -1.0
    with pytest.raises(FactorizationError, match="not positive definite"):
        priced(consumer, 12)
    with pytest.raises(FactorizationError, match="not positive definite"):
        consumer.remove(np.array([1, 2]))


def test_what_goes_with_the_removed_units() -> None:
    owners = np.array([[0, FIXED, 2], [1, 1, FIXED]])
    np.testing.assert_array_equal(owned(owners, mask_of([1, 2], 3)), [[False, False, True], [True, True, False]])
    assert not owned(np.full((1, 2), FIXED), np.zeros(0, bool)).any()
