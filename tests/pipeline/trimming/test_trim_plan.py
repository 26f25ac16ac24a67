"""A group that does not hold is left out of the plan, and others take its place."""

import dataclasses
import json
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from trimmable_models import (
    FAST,
    pictures,
    residual_network,
    trimmed,
)

from netsurgeon.passes.trimming.trim_neurons import TrimNeurons
from netsurgeon.pipeline.calibration.selection import select
from netsurgeon.pipeline.calibration.sweep import Calibration
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files.loading import input_specs
from netsurgeon.pipeline.options.options import Options
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.trimming.trim_plan import Trimmed, TrimPlan
from netsurgeon.pipeline.trimming.unit_finder import no_units


def damage(monkeypatch: pytest.MonkeyPatch, *made_by: str) -> None:
    """Let every removal of units made by these nodes change the function."""
    real = TrimNeurons.call

    def damaged(self: TrimNeurons, given: ir.Model) -> ir.passes.PassResult:
        result = real(self, given)
        groups = self.dependencies.groups
        if any(groups[unit.group].node in made_by for unit in self.units):
            value = given.graph.initializers["head"]
            assert value.const_value is not None
            value.const_value = ir.tensor(1.01 * value.const_value.numpy(), name="head")
        return result

    monkeypatch.setattr(TrimNeurons, "call", damaged)


@pytest.mark.parametrize("goal", [0.3, "up-to:0.3"])
def test_a_group_that_does_not_hold_stays_and_others_go(goal: float | str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found by the proof, named, and left out; the goal is met without it."""
    damage(monkeypatch, "a1")
    result = compress(residual_network(), {"x": pictures()}, trim=goal, round_to=1, **FAST)
    trim = trimmed(result)
    assert [name for name, _ in trim.failed] == ["a1"]
    assert trim.failed[0][1].code == "outputs-differ"
    assert "a1" not in [group.node for group in trim.groups]
    assert "a2" in [group.node for group in trim.groups]
    assert trim.saved >= 0.3 if isinstance(goal, float) else 0.28 <= trim.saved <= 0.3
    with_biases = result.report.dense.parameters + 2 * 16 + 12 + 5
    assert trim.saved == pytest.approx(1 - result.report.compressed.parameters / with_biases), (
        "what stays saves nothing"
    )
    assert trim.proof is not None
    assert trim.proof.holds


def test_too_many_groups_that_do_not_hold_are_an_error_unless_it_was_a_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    damage(monkeypatch, "stem", "a1")
    given: dict[str, Any] = {"round_to": 1, **FAST}
    with pytest.raises(CheckFailedError, match=r"trim is 0.6, but .* units may go; those of '(stem|a1)' stay: outputs"):
        compress(residual_network(), {"x": pictures()}, trim=0.6, **given)
    trim = trimmed(compress(residual_network(), {"x": pictures()}, trim="up-to:0.6", **given))
    assert sorted(name for name, _ in trim.failed) == ["a1", "stem"]
    assert 0.0 < trim.saved < 0.6


@pytest.fixture(scope="module")
def nothing_goes() -> TrimPlan:
    """Of the residual network; groups are those of the sums and of the insides of two blocks."""
    model = ir.from_proto(residual_network())
    samples = open_samples({"x": pictures(8)}, input_specs(model))
    return no_units(model, select(model, Options()).layers, Calibration(samples, Runtime()))


def without(plan: TrimPlan, *numbers: int) -> TrimPlan:
    removed = plan.removed.copy()
    removed[list(numbers)] = True
    return dataclasses.replace(plan, removed=removed)


def units_of(plan: TrimPlan, node: str) -> list[int]:
    return next(list(group.units) for group in plan.dependencies.groups if group.node == node)


def test_by_the_empty_plan_every_unit_may_go_and_none_does(nothing_goes: TrimPlan) -> None:
    assert not nothing_goes.units
    assert nothing_goes.removed_slices() == {}
    assert nothing_goes.candidates.tolist() == list(range(12 + 16 + 16))


def test_a_plan_goes_through_json_and_comes_back(nothing_goes: TrimPlan) -> None:
    groups = nothing_goes.dependencies.groups
    plan = dataclasses.replace(
        without(nothing_goes, 3, 17), failed=((groups[1], Message("it does not hold", "outputs-differ")),)
    )
    plan = dataclasses.replace(plan, candidates=plan.candidates[5:])
    again = nothing_goes.with_choice(json.loads(json.dumps(plan.described())))
    np.testing.assert_array_equal(again.removed, plan.removed)
    np.testing.assert_array_equal(again.candidates, plan.candidates)
    assert again.candidates.dtype == plan.candidates.dtype
    assert [(group.node, reason) for group, reason in again.failed] == [(groups[1].node, "it does not hold")]
    assert not nothing_goes.removed.any(), "the plan it came from stays"


def test_an_empty_choice_comes_back_too(nothing_goes: TrimPlan) -> None:
    empty = dataclasses.replace(nothing_goes, candidates=nothing_goes.candidates[:0])
    again = nothing_goes.with_choice(json.loads(json.dumps(empty.described())))
    assert not again.removed.any()
    assert again.candidates.shape == (0,)


def test_layers_lose_the_rows_that_make_units_and_the_columns_that_read_them(nothing_goes: TrimPlan) -> None:
    inside = units_of(nothing_goes, "a1")
    lost = without(nothing_goes, *inside[:4]).removed_slices()
    assert set(lost) == {"a1", "b1"}
    assert lost["a1"].rows.sum() == 4
    assert not lost["a1"].columns.any()
    assert lost["b1"].columns.sum() == 4 * 9
    assert lost["a1"].live == 12 * 12 * 9
    assert lost["b1"].live == 12 * 12 * 9


def test_what_did_not_hold_may_not_go_any_more(nothing_goes: TrimPlan) -> None:
    inside, other = units_of(nothing_goes, "a1"), units_of(nothing_goes, "a2")
    plan = without(nothing_goes, inside[0], other[0])
    group = next(group for group in plan.dependencies.groups if group.node == "a1")
    went = without(nothing_goes, other[0]).removed
    after = plan.after(
        Trimmed(
            model=ir.from_proto(residual_network()),
            removed=went,
            failed=((group, Message("it differs", "outputs-differ")),),
            proof=None,
        )
    )
    assert np.flatnonzero(after.removed).tolist() == [other[0]]
    assert not set(inside) & set(after.candidates.tolist())
    assert len(after.candidates) == len(plan.candidates) - len(inside)
    assert [(failed.node, reason) for failed, reason in after.failed] == [("a1", "it differs")]
    again = ((group, Message("again", "outputs-differ")),)
    twice = after.after(Trimmed(model=ir.from_proto(residual_network()), removed=went, failed=again, proof=None))
    assert [reason for _, reason in twice.failed] == ["it differs", "again"]


def test_where_all_held_the_plan_stays(nothing_goes: TrimPlan) -> None:
    plan = without(nothing_goes, 1, 2)
    after = plan.after(Trimmed(model=ir.from_proto(residual_network()), removed=plan.removed, failed=(), proof=None))
    np.testing.assert_array_equal(after.removed, plan.removed)
    np.testing.assert_array_equal(after.candidates, plan.candidates)
