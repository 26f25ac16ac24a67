"""What steps share and answer: options of their own, defaults, and records that JSON can hold."""

import dataclasses
from typing import Any

import onnx_ir as ir
import pytest
from perceptron_models import calibration_of, inputs, perceptron

from netsurgeon.pipeline.calibration.selection import select
from netsurgeon.pipeline.compression.step import StepContext, StepDefaults, StepRecord, StepResult
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.options.groups import PruneOptions, TrimOptions
from netsurgeon.pipeline.options.options import Options


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShoutOptions:
    """Options of a step that netsurgeon does not know."""

    volume: int = 3

    def __post_init__(self) -> None:
        if self.volume < 0:
            raise InputError(f"volume is {self.volume}, expected 0 or more")


class Shout(StepDefaults):
    """A step that only has a name and options."""

    name, stage, options_type = "shout", "shouting", ShoutOptions

    def apply(self, model: ir.Model, context: StepContext) -> StepResult | None:
        return None


class Prune(Shout):
    name, options_type = "prune", PruneOptions  # type: ignore[assignment]


class Trim(Shout):
    name, options_type = "trim", TrimOptions  # type: ignore[assignment]


def context(**step_options: dict[str, Any]) -> StepContext:
    model, options = ir.from_proto(perceptron()), Options(sparsity=0.75)
    return StepContext(
        dense=model,
        selection=select(model, options),
        calibration=calibration_of(model, inputs(4)),
        options=options,
        step_options=step_options,
        progress=lambda *_: None,
    )


def test_a_group_of_the_options_is_the_options_themselves() -> None:
    """What is given for such a step by name does not replace it."""
    shared = context(prune={"sparsity": 0.1})
    assert shared.options_of(Prune()) is shared.options
    assert shared.options_of(Trim()) is shared.options


def test_a_step_of_ones_own_gets_options_by_its_name() -> None:
    assert context().options_of(Shout()) == ShoutOptions(volume=3)
    assert context(shout={"volume": 9}, whisper={"volume": 1}).options_of(Shout()) == ShoutOptions(volume=9)


def test_options_that_a_step_does_not_take_are_refused() -> None:
    with pytest.raises(InputError, match="volume is -1, expected 0 or more"):
        context(shout={"volume": -1}).options_of(Shout())
    with pytest.raises(TypeError, match="pitch"):
        context(shout={"pitch": 1}).options_of(Shout())


def test_steps_do_nothing_unless_they_say_otherwise() -> None:
    shared, step = context(), Shout()
    assert (step.keeps_places, step.is_storage) == (True, False)
    assert step.measure(shared) is None
    assert step.plan(shared) is None
    assert step.verify(shared.dense, shared.dense, shared) is None
    assert step.facts(shared) == {}


def test_two_runs_share_nothing() -> None:
    one, other = context(), context()
    one.plans["shout"] = one.outcomes["shout"] = one.measured["shout"] = "loud"
    one.records.append(StepRecord(name="shout", applied=True))
    assert not any((other.plans, other.outcomes, other.measured, other.records, other.notes, other.warnings))
    assert other.masked is None


def test_without_a_folder_a_run_keeps_nothing() -> None:
    folder = context().run_folder
    folder.keep_facts("shout", {"volume": 1})
    assert folder.facts("shout") is None


def test_a_record_says_by_itself_that_nothing_was_undone() -> None:
    record = StepRecord(name="shout", applied=True)
    assert dataclasses.asdict(record) == {"name": "shout", "applied": True, "undone": None, "facts": {}}
    assert "graph" not in repr(StepResult(model=ir.from_proto(perceptron()))), "a model is too long to be shown"
