"""The greedy selection against exhaustive and one-shot choices, and the limits it keeps."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from operation_counts import count_calls, operations

from netsurgeon.passes.solvers import linalg
from netsurgeon.passes.solvers.group_obs import Consumer, owned
from netsurgeon.passes.solvers.problem import Problem
from netsurgeon.passes.trimming import unit_selection
from netsurgeon.passes.trimming.importance import FixedImportance, ObsImportance
from netsurgeon.passes.trimming.unit_costs import Term, UnitCosts
from netsurgeon.passes.trimming.unit_selection import Axes, Selection, select_units

Array = NDArray[Any]


def problem_of(rows: int, columns: int, seed: int = 0, factors: int | None = None) -> Problem:
    """Inputs that are mixtures of a few factors and some noise."""
    rng = np.random.default_rng(seed)
    factors = factors or max(1, columns // 2)
    x = rng.standard_normal((columns, factors)) @ rng.standard_normal((factors, 8 * columns))
    x += 0.5 * np.exp(0.5 * rng.standard_normal((columns, 1))) * rng.standard_normal(x.shape)
    hessian = (x @ x.T / x.shape[1])[None]
    hessian[0] += 1e-3 * np.trace(hessian[0]) / columns * np.eye(columns)
    weight = rng.standard_normal((1, rows, columns))
    return Problem(weight @ hessian, hessian, weight, 1e-3, np.zeros(1))


def refit_columns(problem: Problem, removed: Array) -> Array:
    """The best weight without some columns (groups, columns)."""
    mask = np.broadcast_to(~removed[:, None], problem.weight.shape)
    return np.asarray(linalg.refit(problem.target, problem.hessian, mask))


def equal_costs(units: int) -> UnitCosts:
    return UnitCosts([Term(1.0, (np.arange(units),))], units)


def one_axis(units: int, step: int = 1) -> Axes:
    return Axes.rounded(np.zeros(units, np.int64), step)


def check_against_one_by_one(problem: Problem, owners: Array, units: int, selection: Selection) -> None:
    """Each unit was the cheapest of those left at its turn."""
    gone, before = np.zeros(units, bool), 0.0
    for unit, price in zip(selection.order, selection.prices, strict=True):
        errors = {}
        for other in np.flatnonzero(~gone):
            candidate = gone.copy()
            candidate[other] = True
            errors[other] = problem.error(refit_columns(problem, owned(owners, candidate)))
        gone[unit] = True
        assert errors[unit] - before == pytest.approx(price, rel=1e-6, abs=1e-9)
        assert errors[unit] <= min(errors.values()) * (1 + 1e-9)
        before = errors[unit]


# ------------------------------------------------------------------------------------------------ the choice


@pytest.mark.parametrize("seed", range(3))
def test_a_narrow_layer_loses_its_cheapest_unit_every_time(seed: int) -> None:
    problem, owners = problem_of(6, 30, seed), np.arange(30)[None] // 3
    selection = select_units(ObsImportance([Consumer.of(problem, owners)], 10), equal_costs(10), one_axis(10), 7)
    assert len(selection.order) == 7
    check_against_one_by_one(problem, owners, 10, selection)


def test_of_twins_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every unit has a twin: either is nearly free, both are not; one-shot ranking takes both."""
    monkeypatch.setattr(unit_selection, "BATCH", 1.0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 2000)) * np.exp(0.5 * rng.standard_normal((30, 1)))
    x = np.concatenate([x, x + 0.01 * rng.standard_normal(x.shape)])
    hessian = (x @ x.T / 2000 + 1e-6 * np.eye(60))[None]
    weight = rng.standard_normal((1, 8, 60))
    problem, units = Problem(weight @ hessian, hessian, weight, 1e-6, np.zeros(1)), np.arange(60)[None]
    importance = ObsImportance([Consumer.of(problem, units)], 60)
    once = importance.prices()
    selection = select_units(importance, equal_costs(60), one_axis(60), 30)
    np.testing.assert_array_equal(selection.removed[:30], ~selection.removed[30:])
    shot = np.isin(units, np.argsort(once)[:30])
    chosen = problem.error(refit_columns(problem, owned(units, selection.removed)))
    assert chosen < 0.01 * problem.error(refit_columns(problem, shot))


def greedy_and_one_shot(seed: int, size: int, share: float) -> tuple[float, float]:
    """Errors after the refit of a layer of 48 columns in units of `size`."""
    problem, owners = problem_of(5, 48, seed, factors=12), np.arange(48)[None] // size
    units = 48 // size
    importance = ObsImportance([Consumer.of(problem, owners)], units)
    once = FixedImportance(importance.prices())
    goal = round(share * units)
    greedy, shot = (select_units(i, equal_costs(units), one_axis(units), goal) for i in (importance, once))
    errors = [problem.error(refit_columns(problem, owned(owners, s.removed))) for s in (greedy, shot)]
    assert greedy.prices.sum() == pytest.approx(errors[0], rel=1e-6)
    return errors[0], errors[1]


@settings(max_examples=25)
@given(st.integers(0, 1000), st.sampled_from([1, 3]), st.sampled_from([0.3, 0.5, 0.7]))
def test_greedy_is_hardly_ever_worse_than_ranking_once(seed: int, size: int, share: float) -> None:
    greedy, shot = greedy_and_one_shot(seed, size, share)
    assert greedy <= 1.2 * shot


@pytest.mark.parametrize(("size", "share", "gain"), [(1, 0.3, 0.9), (1, 0.7, 0.5), (3, 0.3, 1.0), (3, 0.7, 0.7)])
def test_greedy_beats_ranking_once(size: int, share: float, gain: float) -> None:
    errors = np.array([greedy_and_one_shot(seed, size, share) for seed in range(10)])
    assert errors[:, 0].sum() < gain * errors[:, 1].sum()


def test_small_batches_and_pools_change_little(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, units = problem_of(10, 120), np.arange(120)[None]

    def found() -> float:
        importance = ObsImportance([Consumer.of(problem, units)], 120)
        return float(select_units(importance, equal_costs(120), one_axis(120), 70).prices.sum())

    usual = found()
    monkeypatch.setattr(unit_selection, "POOL", 120)
    monkeypatch.setattr(unit_selection, "BATCH", 1e-6)
    assert usual == pytest.approx(found(), rel=0.01)


def test_near_the_best_of_all_choices() -> None:
    problem, units = problem_of(4, 10), np.arange(10)[None]
    selection = select_units(ObsImportance([Consumer.of(problem, units)], 10), equal_costs(10), one_axis(10), 5)
    every = [
        problem.error(refit_columns(problem, np.isin(units, some))) for some in itertools.combinations(range(10), 5)
    ]
    assert selection.prices.sum() <= np.quantile(every, 0.05)


def test_two_layers_compete_on_the_scale_of_their_outputs() -> None:
    """Layers alike up to the scale of their outputs lose the same units; with a sensitivity the dearer loses less."""
    problem = problem_of(6, 20)
    loud = Problem(100 * problem.target, problem.hessian, 100 * problem.weight, 1e-3, np.zeros(1))
    axes, costs = Axes.rounded(np.arange(40) // 20), equal_costs(40)

    def removed(sensitivity: float) -> Array:
        consumers = [
            Consumer.of(layer, np.arange(20)[None] + 20 * i, scale=scale / layer.error(np.zeros_like(layer.weight)))
            for i, (layer, scale) in enumerate([(problem, sensitivity), (loud, 1.0)])
        ]
        return select_units(ObsImportance(consumers, 40), costs, axes, 20).removed

    even = removed(1.0)
    np.testing.assert_array_equal(even[:20], even[20:])
    assert removed(10.0)[:20].sum() < 10


def test_a_shared_unit_costs_all_its_consumers() -> None:
    problems = [problem_of(4, 12, seed) for seed in range(2)]
    owners = np.arange(12)[None]
    consumers = [Consumer.of(p, owners) for p in problems]
    selection = select_units(ObsImportance(consumers, 12), equal_costs(12), one_axis(12), 6)
    errors = [p.error(refit_columns(p, owned(owners, selection.removed))) for p in problems]
    assert selection.prices.sum() == pytest.approx(sum(errors))
    assert [c.error for c in consumers] == pytest.approx(errors)


def test_price_per_saving_or_price_alone() -> None:
    costs = UnitCosts([Term(1.0, (np.array([0, 1, 1, 1, 1, 2, 3]),))], 4)
    scores = FixedImportance(np.array([1.0, 2.0, 9.0, 9.0]))
    assert select_units(scores, costs, one_axis(4), 4).order.tolist() == [1]
    assert select_units(scores, costs, one_axis(4), 4, per_saving=False).order.tolist() == [0, 1]


# ------------------------------------------------------------------------------------------------ limits


@st.composite
def networks(draw: st.DrawFn) -> tuple[Array, Axes, UnitCosts]:
    """Scores, axes and costs of a chain of layers of these widths, some axes with indices that no unit owns."""
    widths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))
    units = sum(widths)
    of = np.repeat(np.arange(len(widths)), widths)
    step = np.array([draw(st.sampled_from([1, 2, 4, 8])) for _ in widths])
    fixed = np.array([draw(st.sampled_from([0, 0, 0, 1, 5])) for _ in widths])
    owners = [np.concatenate([np.flatnonzero(of == a), np.full(fixed[a], -1)]) for a in range(len(widths))]
    owners = [np.full(3, -1), *owners, np.full(2, -1)]
    terms = [Term(9.0, (b, a)) for a, b in itertools.pairwise(owners)]
    scores = np.random.default_rng(draw(st.integers(0, 99))).exponential(size=units)
    scores[draw(st.integers(0, units - 1))] = 0.0
    return scores, Axes(of, step, fixed), UnitCosts(terms, units)


@settings(max_examples=150)
@given(networks(), st.floats(0.01, 1.0))
def test_something_is_left_everywhere_in_whole_steps(network: tuple[Array, Axes, UnitCosts], share: float) -> None:
    scores, axes, costs = network
    total = costs.total(np.ones(costs.units, bool))
    selection = select_units(FixedImportance(scores), costs, axes, share * total)
    count = np.bincount(axes.of, minlength=len(axes.step)) + axes.fixed
    gone = np.bincount(axes.of[selection.removed], minlength=len(axes.step))
    assert (count - gone >= 1).all()
    assert (((count - gone) % axes.step == 0) | (gone == 0)).all()
    np.testing.assert_array_equal(np.sort(selection.order), np.flatnonzero(selection.removed))
    np.testing.assert_array_equal(selection.prices, scores[selection.order])
    assert selection.saved == pytest.approx(total - costs.total(~selection.removed))
    assert selection.reached == (selection.saved >= share * total)
    if not selection.reached:
        assert not axes.blocks(~selection.removed).any(), "as much as may go has gone"


def test_blocks_lead_to_multiples() -> None:
    of, step = np.repeat(np.arange(6), [20, 16, 8, 5, 1, 10]), np.array([8, 8, 8, 8, 1, 8])
    blocks = Axes(of, step, np.array([0, 0, 0, 0, 0, 3])).blocks(np.ones(60, bool))
    np.testing.assert_array_equal(blocks, [4, 8, 0, 0, 0, 5])
    np.testing.assert_array_equal(
        Axes(of[:2], step, np.array([15, 9, 0, 0, 0, 0])).blocks(np.ones(2, bool))[:2], [1, 0]
    )


def test_the_last_block_does_not_overshoot_by_far() -> None:
    """A wide axis is a little cheaper for what it saves; near the goal the narrow one is what is needed."""
    of = np.repeat([0, 1], [16, 16])
    costs = UnitCosts([Term(100.0, (np.arange(16),)), Term(5.0, (np.arange(16, 32),))], 32)
    scores = FixedImportance(np.repeat([100.0, 6.0], [16, 16]))
    selection = select_units(scores, costs, Axes.rounded(of, 8), 840)
    assert selection.saved == 840
    assert selection.order[:8].max() < 16


def test_inside_a_block_twins_are_seen() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, 500))
    x = np.concatenate([x, x + 0.01 * rng.standard_normal(x.shape)])
    hessian, weight = (x @ x.T / 500 + 1e-6 * np.eye(16))[None], rng.standard_normal((1, 5, 16))
    consumer = Consumer.of(Problem(weight @ hessian, hessian, weight, 1e-6, np.zeros(1)), np.arange(16)[None])
    selection = select_units(ObsImportance([consumer], 16), equal_costs(16), one_axis(16, 8), 8)
    np.testing.assert_array_equal(selection.removed[:8], ~selection.removed[8:])


def test_axes_keep_their_least_until_nothing_else_can_go() -> None:
    """The first axis costs next to nothing, and would lose all but one of its units."""
    of, costs = np.repeat([0, 1], [40, 40]), equal_costs(80)
    scores = np.repeat([1e-3, 1.0], [40, 40])
    axes = dataclasses.replace(Axes.rounded(of), least=np.array([4, 4]))

    def left(goal: float, axes: Axes) -> list[int]:
        removed = select_units(FixedImportance(scores), costs, axes, goal).removed
        return list(map(int, np.bincount(of[~removed], minlength=2)))

    assert left(39, Axes.rounded(of)) == [1, 40]
    assert left(39, axes) == [4, 37]
    assert left(72, axes) == [4, 4]
    assert left(75, axes) == [1, 4], "below it the cheapest goes first"


def test_what_saves_nothing_stays() -> None:
    costs = UnitCosts([Term(1.0, (np.array([0, 1]),))], 4)
    selection = select_units(FixedImportance(np.zeros(4)), costs, Axes.rounded(np.arange(4) // 2), 3)
    assert selection.order.tolist() == [0]
    assert not selection.reached


def test_no_goal_no_units() -> None:
    selection = select_units(FixedImportance(np.ones(4)), equal_costs(4), one_axis(4), 0)
    assert selection.order.size == selection.prices.size == 0
    assert selection.reached
    nothing = select_units(FixedImportance(np.zeros(0)), UnitCosts([], 0), one_axis(0), 1)
    assert not nothing.reached


def test_the_same_network_loses_the_same_units() -> None:
    problem = problem_of(10, 60)

    def found() -> bytes:
        importance = ObsImportance([Consumer.of(problem, np.arange(60)[None] // 2)], 30)
        return select_units(importance, equal_costs(30), one_axis(30), 15).prices.tobytes()

    assert found() == found()


# ------------------------------------------------------------------------------------------------ how much is done


def chain_of_layers(count: int) -> tuple[ObsImportance, UnitCosts, Axes]:
    """Layers one behind the other, each of whose four inputs are the outputs of the one before."""
    owners = [np.arange(4 * i, 4 * i + 4)[None] for i in range(count)]
    outputs = [*owners[1:], np.full((1, 4), -1)]
    consumers = [Consumer.of(problem_of(4, 4, i), owners[i], outputs[i]) for i in range(count)]
    terms = [Term(1.0, (columns[0], rows[0])) for columns, rows in zip(owners, outputs, strict=True)]
    return ObsImportance(consumers, 4 * count), UnitCosts(terms, 4 * count), Axes.rounded(np.arange(4 * count) // 4)


@pytest.mark.parametrize("method", ["prices", "remove", "restricted"])
def test_a_removal_looks_at_the_readers_of_its_unit_alone(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit is read by one layer and made by another; it is tried on copies, then removed from both."""
    importance, costs, axes = chain_of_layers(100)
    calls = count_calls(monkeypatch, Consumer, method)
    selection = select_units(importance, costs, axes, 0.3 * costs.total(np.ones(400, bool)))
    assert len(selection.order) > 50
    assert calls[0] <= 100 + 4 * len(selection.order)


def test_twice_the_layers_take_twice_the_operations() -> None:
    def count(layers: int) -> int:
        importance, costs, axes = chain_of_layers(layers)
        goal = 0.2 * costs.total(np.ones(4 * layers, bool))
        return operations(lambda: select_units(importance, costs, axes, goal))

    assert count(200) < 2.5 * count(100)


@pytest.mark.parametrize("restricted", [False, True])
def test_prices_that_are_renewed_are_those_of_all_readers(restricted: bool) -> None:
    """After each removal, prices are the sums over all readers, to the last bit."""

    def readers() -> list[Consumer]:
        shared = [Consumer.of(problem_of(4, 6, i), np.array([[0, 1, 2, 3, i + 4, i + 4]])) for i in range(3)]
        return [*shared, Consumer.of(problem_of(6, 3, 5), np.array([[4, 5, 6]]), np.arange(6)[None])]

    consumers, extra = readers(), np.random.default_rng(0).random(7)
    importance = ObsImportance(readers(), 7, extra)
    importance = importance.restricted(np.arange(7)) if restricted else importance
    for unit in (1, 5, 3):
        paid = extra[unit]
        for consumer in consumers:
            paid += consumer.remove(np.array([unit]))[0]
        assert importance.remove(np.array([unit])) == paid
        expected = extra.copy()
        for consumer in consumers:
            for units, prices in consumer.prices():
                expected[units] += prices
        left = np.setdiff1d(np.arange(7), [1, 5, 3])
        np.testing.assert_array_equal(importance.prices()[left], expected[left])
