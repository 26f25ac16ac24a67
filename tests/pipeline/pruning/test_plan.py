"""How many weights layers keep: sensitivities are tempered, and weights spread by them."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest
from perceptron_models import perceptron

from netsurgeon.passes.solvers.error_curve import Curve, RoundingCost
from netsurgeon.pipeline.calibration.selection import select
from netsurgeon.pipeline.options.options import Options
from netsurgeon.pipeline.pruning.budget import Cost
from netsurgeon.pipeline.pruning.plan import ByteBudget, Plan, SensitivityScaling, TimeBudget, spread


def test_temper_raises_to_a_power_and_tilts_from_the_first_layer_to_the_last() -> None:
    curve = Curve(np.array([1.0, 0.5]), np.array([0.0, 1.0]))
    costs = {name: Cost(curve, 10, 4.0) for name in ("first", "middle", "last")}
    changed = [cost.sensitivity for cost in SensitivityScaling(0.5, 1.0).of(costs).values()]
    np.testing.assert_allclose(changed, 2.0 * np.exp([0.0, 0.5, 1.0]))
    assert [cost.sensitivity for cost in SensitivityScaling(0.0).of(costs).values()] == [1.0, 1.0, 1.0]
    assert [cost.sensitivity for cost in SensitivityScaling(1.0).of(costs).values()] == [4.0, 4.0, 4.0]


def test_scalings_of_parts_of_the_inputs_have_a_mean() -> None:
    assert SensitivityScaling.mean_of(
        [SensitivityScaling(0.5, 1.0), SensitivityScaling(1.0, 0.0)]
    ) == SensitivityScaling(0.75, 0.5)


def measured_costs(*names: str) -> dict[str, Cost]:
    """Two layers of a perceptron, of which the second loses ten times as much."""
    kept = np.linspace(1.0, 0.0, 21)
    steepness = {"first": 0.1, "second": 1.0}
    sizes = {"first": 2048, "second": 640}
    return {name: Cost(Curve(kept, steepness[name] * (1.0 - kept) ** 2, 0.25), sizes[name], 1.0) for name in names}


@pytest.mark.parametrize("keep", [2688, 1344, 300, 1])
def test_no_more_weights_are_kept_than_were_asked_for(keep: int) -> None:
    selection = select(ir.from_proto(perceptron()), Options())
    plan = spread(measured_costs("first", "second"), keep, selection, SensitivityScaling())
    assert 0.9 * keep <= sum(plan.keep.values()) <= keep
    assert set(plan.prices) == {"first", "second"}


def test_layers_that_lose_more_keep_more() -> None:
    selection = select(ir.from_proto(perceptron()), Options())
    plan = spread(measured_costs("first", "second"), 1000, selection, SensitivityScaling())
    assert plan.keep["second"] / 640 > plan.keep["first"] / 2048


def test_layers_with_a_sparsity_of_their_own_are_beside_the_budget() -> None:
    selection = select(ir.from_proto(perceptron()), Options(layers={"second": 0.25}))
    plan = spread(measured_costs("first"), 1000, selection, SensitivityScaling())
    assert plan.keep == {"first": 1000, "second": 480}
    assert plan.damping("first") == 0.25
    assert plan.damping("second") is None
    assert Plan({"first": 1}, {}).damping("first") is None


def byte_budget(*floats: str) -> ByteBudget:
    """The layers of `measured_costs`, of which the second loses ten times as much by integers, too."""
    costs = {
        name: dataclasses.replace(
            cost,
            roundings={
                most: RoundingCost(steepness * np.array([0.1, 0.2, 0.5, 1.0]) * error, np.ones(4))
                for most, error in ((63, 1e-4), (7, 6e-3), (3, 3e-2))
            },
        )
        for (name, cost), steepness in zip(measured_costs("first", "second").items(), (0.1, 1.0), strict=True)
    }
    return ByteBudget(costs=costs, sizes=(63, 7, 3), floats=floats)


def test_zeros_and_bits_pay_for_bytes_together() -> None:
    selection = select(ir.from_proto(perceptron()), Options())
    plans = [byte_budget().spread(share, selection, SensitivityScaling()) for share in (1.0, 0.75, 0.4, 0.1)]
    assert plans[0].keep == {"first": 2048, "second": 640}
    assert plans[0].most == {"first": 63, "second": 63}
    assert plans[1].most["first"] < 63, "the layer that loses least gets fewer bits first"
    assert plans[1].most["second"] == 63
    kept = [plan.kept_share(selection.sizes) for plan in plans]
    assert kept == sorted(kept, reverse=True)
    assert kept[2] > 0.5, "bits are the cheaper half"
    assert kept[3] < 0.5, "and zeros are needed for more"


def test_layers_on_floats_have_no_bits() -> None:
    selection = select(ir.from_proto(perceptron()), Options())
    plan = byte_budget("second").spread(0.3, selection, SensitivityScaling())
    assert set(plan.keep) == {"first", "second"}
    assert set(plan.most) == {"first"}
    assert plan.keep["second"] < 640


@pytest.mark.parametrize("keep", [2000, 1500, 1000])
def test_a_share_of_bytes_costs_as_much_as_the_plan_it_stands_for(keep: int) -> None:
    selection, scaling, joint = select(ir.from_proto(perceptron()), Options()), SensitivityScaling(), byte_budget()
    plan = spread(joint.costs, keep, selection, scaling)
    share = joint.share_of(plan, scaling)

    def cost(keep: Mapping[str, int], most: Mapping[str, int]) -> float:
        total = 0.0
        for name, of_layer in scaling.of(joint.costs).items():
            shares = np.array([keep[name] / of_layer.size])
            error = np.interp(-shares, -of_layer.curve.kept, of_layer.curve.errors)
            error += of_layer.roundings[most[name]].error_at(shares) if most else 0.0
            total += of_layer.sensitivity * float(error[0])
        return total

    like = joint.spread(share, selection, scaling)
    assert share < keep / 2688, "bits make the bytes fewer for the same loss"
    assert cost(like.keep, like.most) <= 1.01 * cost(plan.keep, {})
    finer = joint.spread(0.9 * share, selection, scaling)
    assert cost(finer.keep, finer.most) > cost(plan.keep, {})


SIZES = (127, 31, 15, 7)


def frugal(losses: Mapping[str, float], sizes: Mapping[str, int]) -> Mapping[str, int]:
    """Largest integers of layers that keep all their weights, by what the outputs lose where they have 4 bits.

    Each bit more saves three quarters; by the finest integers nothing is lost.
    """
    errors = dict(zip(SIZES, (0.0, 1 / 16, 1 / 4, 1.0), strict=True))
    roundings = {most: RoundingCost(np.full(4, error), np.ones(4)) for most, error in errors.items()}
    curve = measured_costs("first")["first"].curve
    costs = {name: Cost(curve, sizes[name], loss, roundings) for name, loss in losses.items()}
    plan = ByteBudget(costs=costs, sizes=SIZES, floats=()).frugal(sizes, 0, SensitivityScaling(1.0))
    assert plan.keep == sizes
    return plan.most


def test_where_little_is_lost_layers_have_the_coarsest_integers() -> None:
    sizes = dict.fromkeys("abc", 1000)
    assert frugal(dict.fromkeys("abc", 0.002), sizes) == dict.fromkeys("abc", 7)


def test_bytes_go_where_most_is_lost_for_what_they_are() -> None:
    most = frugal({"small": 0.02, "large": 0.02, "mild": 1e-4}, {"small": 100, "large": 10_000, "mild": 10_000})
    assert most["small"] > most["large"] >= most["mild"] == 7


def test_the_more_is_lost_the_more_bytes_are_spent() -> None:
    sizes = {"a": 100, "b": 5000, "c": 900}
    most = [frugal({"a": unit, "b": 0.02 * unit, "c": 0.3 * unit}, sizes) for unit in (1e-6, 1e-3, 1e-2, 10.0)]
    spent = [sum(bits_of(chosen[name]) * size for name, size in sizes.items()) for chosen in most]
    assert spent == sorted(spent)
    assert most[0] == dict.fromkeys(sizes, 7), "nothing is lost that is worth a byte"
    assert most[-1]["a"] > 7


def bits_of(most: int) -> int:
    return int(np.log2(most + 1)) + 1


@pytest.mark.parametrize("keep", [2500, 1344, 300])
def test_so_many_weights_are_kept_whatever_their_integers_are(keep: int) -> None:
    plan = byte_budget().frugal({}, keep, SensitivityScaling())
    assert 0.9 * keep <= sum(plan.keep.values()) <= keep
    assert set(plan.most) == set(plan.prices) == {"first", "second"}
    assert plan.most["second"] >= plan.most["first"], "it loses ten times as much, and is smaller"


def test_weights_that_are_given_stay_and_floats_have_no_integers() -> None:
    plan = byte_budget("second").frugal({"first": 700}, 400, SensitivityScaling())
    assert plan.keep == {"first": 700, "second": 400}
    assert set(plan.most) == {"first"}
    assert set(plan.prices) == {"second"}


def test_a_mode_that_saves_bytes_does_not_spend_them_all() -> None:
    sizes = dict.fromkeys("abcdefgh", 1000)
    most = frugal(dict.fromkeys(sizes, 1e3), sizes)
    assert set(most.values()) == {15}, "5 bits: 6 would take more than seven tenths of the bytes of 8"


def time_budget(**milliseconds: float) -> TimeBudget:
    """Layers that lose alike; each takes so many milliseconds, and a tenth of them without its weights."""
    kept = np.linspace(1.0, 0.05, 20)
    costs = {name: Cost(Curve(kept, (1.0 - kept) ** 2), 1000, 1.0) for name in milliseconds}
    times = {name: lambda share, most=most: most * (0.1 + 0.9 * share) for name, most in milliseconds.items()}
    return TimeBudget(costs=costs, sizes=(63,), floats=("on floats",), milliseconds=times)


def test_weights_go_where_each_saves_most_time() -> None:
    selection = dataclasses.replace(select(ir.from_proto(perceptron()), Options()), sparsities={})
    plan = time_budget(**{"slow": 4.0, "quick": 1.0, "on floats": 9.0}).spread(0.5, selection, SensitivityScaling())
    assert plan.keep["slow"] < plan.keep["quick"] < 1000
    assert plan.keep["on floats"] == 1000, "no zero makes it faster"
    assert plan.most == {"slow": 63, "quick": 63}


@pytest.mark.parametrize(("share", "kept"), [(1.0, 2000), (0.0, 100)])
def test_a_share_of_the_time_to_save_reaches_from_all_weights_to_the_fewest(share: float, kept: int) -> None:
    selection = dataclasses.replace(select(ir.from_proto(perceptron()), Options()), sparsities={})
    budget = time_budget(one=2.0, two=1.0)
    assert sum(budget.spread(share, selection, SensitivityScaling()).keep.values()) == kept


def test_layers_that_zeros_do_not_make_faster_keep_all() -> None:
    budget = dataclasses.replace(time_budget(one=2.0), milliseconds={})
    selection = dataclasses.replace(select(ir.from_proto(perceptron()), Options()), sparsities={})
    assert budget.spread(0.1, selection, SensitivityScaling()).keep == {"one": 1000}
