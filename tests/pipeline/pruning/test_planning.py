"""Plans spread a sparsity over the layers; those that leave no room are refused."""

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
import pytest
from perceptron_models import FAST, UNIFORM, calibration_of, inputs, perceptron

from netsurgeon.pipeline.calibration.selection import select
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.options.options import Options
from netsurgeon.pipeline.pruning.plan import Plan
from netsurgeon.pipeline.pruning.planning import make_plan


@pytest.mark.parametrize(
    ("sparsity", "layers", "message"),
    [
        (0.9, {"first": 0.0}, "2,048 weights stay in the layer with a sparsity of its own, .* leaves only 269 for all"),
        (0.5, {"first": 0.75}, "1,536 weights go from the layer with a sparsity of its own, more than the 1,344 "),
        (0.9999, {}, "a sparsity of 0.9999 leaves none of 2,688 weights: give a smaller one"),
        (0.9999, {"first": 0.5}, "a sparsity of 0.9999 leaves none of 2,688 weights: give a smaller one"),
    ],
)
def test_sparsities_that_leave_no_room_are_refused(sparsity: float, layers: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compress(perceptron(), inputs(), sparsity=sparsity, layers=layers, **FAST)


def test_a_uniform_sparsity_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="leaves none of 2,688 weights"):
        compress(perceptron(), inputs(), sparsity=0.9999, **UNIFORM)


def planned(sizes: Sequence[int] = (), floats: Sequence[str] = (), **options: Any) -> Plan:
    model, choices = ir.from_proto(perceptron()), Options(**options)
    selection, calibration = select(model, choices), calibration_of(model, inputs(40))
    return make_plan(model, selection, calibration, choices, lambda *_: None, sizes=sizes, floats=floats)


@pytest.mark.parametrize(
    ("options", "keep"),
    [
        ({"pattern": "2:4"}, {"first": 1024, "second": 320}),
        ({"pattern": "1:8"}, {"first": 256, "second": 80}),
        ({"sparsity": 0.75, "uniform": True}, {"first": 512, "second": 160}),
        ({"sparsity": 0.0}, {"first": 2048, "second": 640}),
        ({"trim": 0.3}, {"first": 2048, "second": 640}),
        ({"keep_zeros": True}, {"first": 2048, "second": 640}),
        ({"sparsity": 0.75, "layers": {"first": 0.5, "second": 0.25}}, {"first": 1024, "second": 480}),
        ({"sparsity": 0.75, "uniform": True, "layers": {"first": 0.5}}, {"first": 1024, "second": 160}),
    ],
)
def test_what_needs_no_budget_is_not_measured(options: dict[str, Any], keep: dict[str, int]) -> None:
    plan = planned(**options)
    assert plan.keep == keep
    assert not plan.costs
    assert not plan.prices


@pytest.mark.parametrize(
    ("options", "keep"),
    [
        ({"sparsity": 0.0}, {"first": 2048, "second": 640}),
        ({"pattern": "2:4"}, {"first": 1024, "second": 320}),
        ({"sparsity": 0.75, "layers": {"first": 0.5, "second": 0.25}}, {"first": 1024, "second": 480}),
    ],
)
def test_bits_are_chosen_for_weights_that_need_no_budget(options: dict[str, Any], keep: dict[str, int]) -> None:
    plan = planned(sizes=(63, 15, 7), **options)
    assert plan.keep == keep
    assert set(plan.most) == {"first", "second"}
    assert set(plan.most.values()) <= {63, 15, 7}
    assert not plan.costs
    assert not plan.prices


def test_zeros_and_bits_are_one_plan() -> None:
    plan = planned(sizes=(63, 15, 7), sparsity=0.5, floats=("second",))
    assert sum(plan.keep.values()) == 1344
    assert set(plan.most) == {"first"}
    assert set(plan.costs) == set(plan.prices) == {"first", "second"}
    plan = planned(sizes=(63, 15, 7), sparsity=0.5, layers={"second": 0.25})
    assert plan.keep == {"first": 1344 - 480, "second": 480}
    assert set(plan.most) == {"first", "second"}
    assert set(plan.costs) == set(plan.prices) == {"first"}


def test_integers_of_one_size_need_no_choice() -> None:
    plan = planned(sizes=(63,), sparsity=0.0)
    assert (plan.most, plan.costs) == ({}, {})


def test_a_budget_is_spread_by_what_was_measured() -> None:
    plan = planned(sparsity=0.5)
    assert sum(plan.keep.values()) == 1344
    assert set(plan.costs) == set(plan.prices) == {"first", "second"}
