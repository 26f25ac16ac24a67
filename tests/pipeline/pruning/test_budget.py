"""The budget is met exactly and spent where it costs least."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netsurgeon.passes.solvers.error_curve import Curve, RoundingCost
from netsurgeon.pipeline.pruning import budget
from netsurgeon.pipeline.pruning.budget import (
    LEAST_SPARSITY,
    Choice,
    Cost,
    Table,
    allocate,
    allocate_prices,
    uniform,
)


def convex(size: int, seed: int, sensitivity: float = 1.0) -> Cost:
    """A convex error curve with a point at every count of weights."""
    slopes = np.sort(np.random.default_rng(seed).random(size)) ** 2
    errors = np.concatenate([[0.0], np.cumsum(slopes)])
    return Cost(Curve(1.0 - np.arange(size + 1) / size, errors), size, sensitivity)


def power(size: int, sensitivity: float = 1.0, exponent: float = 2.0) -> Cost:
    """A smooth curve with a point at every hundredth."""
    kept = 1.0 - np.arange(101) / 100
    return Cost(Curve(kept, (1.0 - kept) ** exponent), size, sensitivity)


def test_costs_of_parts_of_the_inputs_have_a_mean() -> None:
    kept = np.array([1.0, 0.5, 0.0])

    def measured(error: float, damping: float) -> Cost:
        rounding = RoundingCost(np.array([error, 2.0 * error]), np.array([0.5, 1.0]))
        return Cost(Curve(kept, error * (1.0 - kept), damping), 8, 10.0 * error, {7: rounding}, 4.0)

    mean = Cost.mean_of([measured(0.1, 0.01), measured(0.3, 1.0)])
    np.testing.assert_allclose(mean.curve.errors, [0.0, 0.1, 0.2])
    np.testing.assert_allclose(mean.roundings[7].errors, [0.2, 0.4])
    np.testing.assert_allclose(mean.roundings[7].nonzero, [0.5, 1.0])
    assert (mean.size, mean.positions) == (8, 4.0)
    assert mean.sensitivity == pytest.approx(2.0)
    assert mean.curve.damping == pytest.approx(0.1)


def price(costs: dict[str, Cost], kept: dict[str, int]) -> float:
    """The summed cost of an allocation, read off the curves."""
    return sum(
        cost.sensitivity * float(np.interp(-kept[name] / cost.size, -cost.curve.kept, cost.curve.errors))
        for name, cost in costs.items()
    )


@st.composite
def layers(draw: st.DrawFn, largest: int = 5000) -> dict[str, Cost]:
    """Some layers with curves that rise, convex or not."""
    result = {}
    for index in range(draw(st.integers(1, 6))):
        seed = draw(st.integers(0, 999))
        rng = np.random.default_rng(seed)
        kept = np.concatenate([[1.0], np.sort(rng.random(draw(st.integers(0, 20))))[::-1], [0.0]])
        errors = np.concatenate([[0.0], np.cumsum(rng.random(len(kept) - 1) * rng.integers(0, 2, len(kept) - 1))])
        result[f"layer{index}"] = Cost(Curve(kept, errors), draw(st.integers(1, largest)), 10.0 ** rng.uniform(-3, 3))
    return result


@settings(max_examples=150)
@given(layers(), st.floats(0, 1))
def test_the_budget_is_met_exactly(costs: dict[str, Cost], share: float) -> None:
    keep = round(share * sum(cost.size for cost in costs.values()))
    kept = allocate(costs, keep)
    assert sum(kept.values()) == keep
    assert list(kept) == list(costs)
    for name, count in kept.items():
        assert isinstance(count, int)
        assert 0 <= count <= costs[name].size


@settings(max_examples=40)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.integers(0, 999), st.floats(0, 1))
def test_equals_brute_force_on_convex_curves(sizes: list[int], seed: int, share: float) -> None:
    costs = {
        f"layer{i}": convex(size, seed + i, sensitivity=float(10.0 ** ((seed * 7 + i * 3) % 4 - 2)))
        for i, size in enumerate(sizes)
    }
    keep = max(len(sizes), round(share * sum(sizes)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "LEAST_SPARSITY", 0.0)
        found = price(costs, allocate(costs, keep))
    every = itertools.product(*(range(1, size + 1) for size in sizes))
    best = min(price(costs, dict(zip(costs, each, strict=True))) for each in every if sum(each) == keep)
    assert found == pytest.approx(best, rel=1e-9, abs=1e-12)


@settings(max_examples=60)
@given(layers(), st.floats(0.05, 0.95), st.floats(1, 100))
def test_a_more_sensitive_layer_keeps_no_less(costs: dict[str, Cost], share: float, factor: float) -> None:
    keep = round(share * sum(cost.size for cost in costs.values()))
    first = costs["layer0"]
    raised = {**costs, "layer0": Cost(first.curve, first.size, first.sensitivity * factor)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "LEAST_SPARSITY", 0.0)
        assert allocate(raised, keep)["layer0"] >= allocate(costs, keep)["layer0"]


def test_sensitive_layers_keep_more() -> None:
    kept = allocate({name: power(1000, s) for name, s in (("a", 0.1), ("b", 1.0), ("c", 10.0))}, 1500)
    assert kept["a"] < kept["b"] < kept["c"]


def test_equal_layers_share_alike() -> None:
    kept = allocate({name: power(10_000) for name in "abcd"}, 8000)
    assert max(kept.values()) - min(kept.values()) <= 0.02 * 10_000


def test_sensitivities_matter_only_relative_to_each_other() -> None:
    costs = {"a": power(700, 3.0), "b": power(900, 1.0, 4.0), "c": power(50, 0.2)}
    scaled = {name: Cost(cost.curve, cost.size, cost.sensitivity * 64.0) for name, cost in costs.items()}
    assert allocate(costs, 800) == allocate(scaled, 800)


def test_a_dent_in_a_curve_is_bridged() -> None:
    """A dear first step before a cheap second one is judged with it: 4 weights for 1 in all, before any other."""
    dented = Cost(Curve(np.array([1.0, 0.5, 0.2]), np.array([0.0, 0.9, 1.0])), 5, 1.0)
    straight = Cost(Curve(np.array([1.0, 0.2]), np.array([0.0, 1.2])), 5, 1.0)
    assert allocate({"straight": straight, "dented": dented}, 6) == {"straight": 5, "dented": 1}


def test_every_layer_keeps_a_weight_while_there_are_enough() -> None:
    costs = {"cheap": power(1000, 0.1), "dear": power(1000, 10.0)}
    assert allocate(costs, 600)["cheap"] >= 1
    assert allocate(costs, 1) in ({"cheap": 1, "dear": 0}, {"cheap": 0, "dear": 1})


def test_grazed_layers_stay_dense() -> None:
    costs = {"large": power(10_000), "dear": power(1000, 1.3)}
    keep = 7000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "LEAST_SPARSITY", 0.0)
        plain = allocate(costs, keep)
    assert 0.95 * 1000 < plain["dear"] < 1000, "without the rule it would lose a few weights"
    assert allocate(costs, keep) == {"large": 6000, "dear": 1000}


@settings(max_examples=60)
@given(layers(), st.floats(0.3, 0.8))
def test_no_layer_is_grazed_while_others_have_room(costs: dict[str, Cost], share: float) -> None:
    keep = round(share * sum(cost.size for cost in costs.values()))
    kept = allocate(costs, keep)
    grazed = [n for n, c in costs.items() if (1.0 - LEAST_SPARSITY) * c.size < kept[n] < c.size]
    open_ = [cost for name, cost in costs.items() if kept[name] < cost.size and name not in grazed]
    room = sum(count for cost in open_ for _, count in budget._steps(cost))
    assert not grazed or room < sum(cost.size for cost in costs.values()) - keep


def test_nothing_and_everything() -> None:
    costs = {"a": power(700), "b": power(900)}
    assert allocate(costs, 1600) == {"a": 700, "b": 900}
    assert allocate(costs, 0) == {"a": 0, "b": 0}
    assert allocate({}, 0) == {}


def test_a_goal_too_small_for_any_layer_is_met_all_the_same() -> None:
    kept = allocate({"a": power(1000), "b": power(1000)}, 1990)
    assert sum(kept.values()) == 1990


@settings(max_examples=60)
@given(st.lists(st.integers(0, 10_000), max_size=5), st.floats(0, 1))
def test_uniform_takes_the_same_share(sizes: list[int], sparsity: float) -> None:
    named = {f"layer{i}": size for i, size in enumerate(sizes)}
    kept = uniform(named, sparsity)
    assert list(kept) == list(named)
    for name, size in named.items():
        assert 0 <= kept[name] <= size
        assert abs(size - kept[name] - sparsity * size) <= 0.5
    assert uniform(named, 0.0) == named


@given(st.integers(0, 200), st.floats(0.1, 0.8))
def test_prices_are_those_of_the_dearest_weight(seed: int, share: float) -> None:
    """One weight less costs a layer at least the price; the last one that went cost it no more."""
    costs = {str(at): convex(200, seed + at, 10.0 ** (at - 1)) for at in range(3)}
    kept = allocate(costs, round(share * 600))
    for name, each in budget.prices(costs, kept).items():
        removed = costs[name].size - kept[name]
        errors = costs[name].curve.errors
        if removed:
            assert errors[removed] - errors[removed - 1] <= each * (1.0 + 1e-9)
        if LEAST_SPARSITY * costs[name].size < removed < costs[name].size - 1:
            assert errors[removed + 1] - errors[removed] >= each * (1.0 - 1e-9)


def test_what_does_not_show_has_no_price() -> None:
    costs = {"seen": power(100), "unseen": power(50, sensitivity=0.0)}
    assert list(budget.prices(costs, allocate(costs, 60))) == ["seen"]


def test_nothing_removed_has_no_price() -> None:
    costs = {"a": power(100), "b": power(50)}
    assert budget.prices(costs, {"a": 100, "b": 50}) == {"a": 0.0, "b": 0.0}


def table(size: int, seed: int, sensitivity: float = 1.0) -> Table:
    """Of a layer whose weights go by a smooth curve, and become integers of three sizes."""
    rng = np.random.default_rng(seed)
    added = {most: 0.3 * rng.random() * 4.0 ** -(bits_of(most)) for most in (63, 7, 3)}
    roundings = {
        most: RoundingCost(error * np.array([0.1, 0.2, 0.5, 1.0]), np.array([1.0, 1.0, 1.0, 0.9]))
        for most, error in added.items()
    }
    cost = dataclasses.replace(power(size, sensitivity), roundings=roundings)
    return Table.of(cost, (63, 7, 3))


def bits_of(most: int) -> int:
    return int(np.log2(most + 1)) + 1


def taken(tables: dict[str, Table], choices: dict[str, int]) -> tuple[float, float]:
    """Bytes and errors of all layers."""
    parts = [(tables[name].prices[at], tables[name].errors[at]) for name, at in choices.items()]
    return sum(float(size) for size, _ in parts), sum(float(error) for _, error in parts)


@pytest.mark.parametrize("share", [0.8, 0.5, 0.3, 0.1])
def test_no_other_choices_in_as_many_bytes_cost_less(share: float) -> None:
    tables = {"one": table(900, 1), "two": table(1500, 2, 5.0)}
    whole = sum(float(each.prices[0]) for each in tables.values())
    size, error = taken(tables, allocate_prices(tables, share))
    assert size <= share * whole
    one, two = tables.values()
    least = min(
        float(two.errors[two.prices <= share * whole - spent].min(initial=np.inf)) + of_one
        for spent, of_one in zip(one.prices.tolist(), one.errors.tolist(), strict=True)
    )
    assert error <= 1.05 * least, "but for the last step, which ends between two corners of a hull"


def test_all_bytes_keep_every_weight_at_its_finest() -> None:
    tables = {"one": table(900, 1), "two": table(1500, 2)}
    choices = allocate_prices(tables, 1.0)
    assert [(tables[name].kept[at], tables[name].most[at]) for name, at in choices.items()] == [(900, 63), (1500, 63)]


def test_bits_go_before_weights_where_they_are_cheaper_and_layers_differ() -> None:
    tables = {"robust": table(1000, 1, 0.1), "sensitive": table(1000, 1, 10.0)}
    choices = allocate_prices(tables, 0.75)
    most = {name: int(tables[name].most[at]) for name, at in choices.items()}
    assert most["robust"] < most["sensitive"]


def test_choices_that_keep_so_many_weights_are_one_for_each_size_of_integers() -> None:
    whole = table(900, 1)
    dense = whole.keeping(900)
    assert dense.most.tolist() == [63, 7, 3]
    assert (dense.kept == 900).all()
    assert (np.diff(dense.prices) < 0.0).all()
    first = [int(np.flatnonzero(whole.most == most)[0]) for most in (63, 7, 3)]
    np.testing.assert_array_equal(dense.prices, whole.prices[first])
    np.testing.assert_array_equal(dense.errors, whole.errors[first])
    at = int(np.argmin(np.abs(whole.kept - 400)))
    between = int(whole.kept[at] + whole.kept[at + 1]) // 2
    some = whole.keeping(between)
    assert whole.prices[at + 1] < some.prices[0] < whole.prices[at]
    assert whole.errors[at] < some.errors[0] < whole.errors[at + 1]


def test_the_dearer_a_byte_the_coarser_the_integers() -> None:
    dense = table(900, 1).keeping(900)
    choices = [dense.cheapest_at(price) for price in (0.0, 1e-4, 1.0)]
    assert [choices[0].most, choices[-1].most] == [63, 3]
    assert [choice.price for choice in choices] == sorted((choice.price for choice in choices), reverse=True)
    together = Choice.sum_of(choices)
    assert together.error == sum(choice.error for choice in choices)
    assert together.price == sum(choice.price for choice in choices)


def test_at_a_price_each_number_of_weights_has_the_integers_that_cost_least() -> None:
    whole, price = table(900, 1), 1e-3
    curve = whole.at_price(price)
    assert curve.kept[0] == 1.0
    for at in (0, 5, 30):
        choice = whole.keeping(round(float(curve.kept[at]) * 900)).cheapest_at(price)
        assert curve.errors[at] == pytest.approx(choice.error + price * choice.price)


def test_layers_on_floats_lose_weights_alone() -> None:
    floats = Table.of(power(1000), ())
    choices = allocate_prices({"floats": floats}, 0.4)
    assert floats.most[choices["floats"]] == 0
    assert floats.kept[choices["floats"]] < 500
