"""A group that does not hold is left out of the plan, and others take its place."""

from typing import Any

import onnx_ir as ir
import pytest
from trimmable_models import (
    FAST,
    pictures,
    residual_network,
    trimmed,
)

from netsurgeon.passes.trimming.trim_neurons import TrimNeurons
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.errors import CheckFailedError


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
    assert "of their scale" in trim.failed[0][1]
    assert "a1" not in [group.node for group in trim.groups]
    assert "a2" in [group.node for group in trim.groups]
    assert trim.saved >= 0.3
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
