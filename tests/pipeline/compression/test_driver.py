"""A step that netsurgeon does not know goes through the whole driver: options, report, run folder, undo."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from searched_models import FAST, labelled, small_network

from netsurgeon.passes.graph import tensor
from netsurgeon.pipeline.compress import Compression, compress
from netsurgeon.pipeline.compression import STEPS, StepContext, StepDefaults, StepRecord, StepResult
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.runtime import verify_same

MODEL = small_network()
DATA = labelled(MODEL, 640, seed=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoundOptions:
    """Options of the toy step.

    Attributes:
        to: the weight becomes a multiple of this.
    """

    to: float = 0.125

    def __post_init__(self) -> None:
        if self.to <= 0:
            raise InputError(f"to is {self.to}, expected a number above 0")


class RoundOneWeight(StepDefaults):
    """Rounds the first weight that is not zero."""

    name, stage, options_type = "round", "rounding one weight", RoundOptions

    def __init__(self) -> None:
        self.planned = 0

    def measure(self, context: StepContext) -> str:
        return context.selection.layers[0].name

    def plan(self, context: StepContext) -> dict[str, Any]:
        self.planned += 1
        return {"layer": context.measured[self.name], "to": context.options_of(self).to}

    def keep_plan(self, context: StepContext, plan: Any) -> None:
        context.run_folder.keep_facts(self.name, plan)

    def kept_plan(self, context: StepContext) -> Any:
        return context.run_folder.facts(self.name)

    def apply(self, model: ir.Model, context: StepContext) -> StepResult:
        plan = context.plans[self.name]
        layer = next(layer for layer in context.selection.layers if layer.name == plan["layer"])
        value = model.graph.initializers[layer.weight.name or ""]
        weight = tensor(value).numpy().copy()
        place = tuple(np.argwhere(weight != 0)[0])
        before = float(weight[place])
        weight[place] = round(before / plan["to"]) * plan["to"]
        value.const_value = ir.tensor(weight, name=value.name)
        return StepResult(model=model, outcome={"before": before, "after": float(weight[place])}, notes=("rounded",))

    def verify(self, before: ir.Model, after: ir.Model, context: StepContext) -> str | None:
        feed = next(context.calibration.samples.batches())
        return verify_same(before, after, feed, context.calibration.runtime)

    def facts(self, context: StepContext) -> Mapping[str, Any]:
        outcome: dict[str, Any] = context.outcomes[self.name]
        return outcome


def rounded(step: RoundOneWeight, **options: Any) -> Compression:
    steps = (*STEPS[:-1], step, STEPS[-1])
    return compress(MODEL, DATA, sparsity=0.5, values="float32", steps=steps, **{**FAST, **options})


def record(result: Compression) -> StepRecord:
    return next(record for record in result.report.steps if record.name == "round")


def test_a_step_of_ones_own_is_applied_and_reported() -> None:
    result = rounded(RoundOneWeight(), step_options={"round": {"to": 2.0**-18}})
    facts = record(result).facts
    assert record(result).applied
    assert facts["before"] != facts["after"]
    assert facts["after"] == round(facts["before"] * 2**18) / 2**18
    (note,) = [note for note in result.report.notes if note.code == "step-note"]
    assert (note, note.data) == ("rounded", {"step": "round"})
    section = next(entry for entry in json.loads(result.report.to_json())["steps"] if entry["name"] == "round")
    assert section == {"name": "round", "applied": True, "undone": None, "facts": facts}
    names = [entry.name for entry in result.report.steps]
    ours = ["tables", "trim", "prune", "repair", "remove", "shortcuts", "quantize", "repair integers"]
    assert names == [*ours, "round", "store tables", "pack"]


def test_a_step_that_does_not_hold_leaves_no_trace_but_a_note() -> None:
    coarse = rounded(RoundOneWeight(), step_options={"round": {"to": 1e6}})
    without = compress(MODEL, DATA, sparsity=0.5, values="float32", **FAST)
    assert not record(coarse).applied
    assert record(coarse).undone in coarse.report.notes
    undone = json.loads(coarse.report.to_json())["steps"][-3]["undone"]
    assert (undone["code"], undone["step"], undone["cause"]) == ("step-undone", "round", "outputs-differ")
    assert undone["difference"] > undone["tolerance"] == 1e-4
    assert undone["output"] in [output["output"] for output in json.loads(coarse.report.to_json())["bound"]["outputs"]]
    assert undone in json.loads(coarse.report.to_json())["notes"]
    graphs = [ir.to_proto(result.model).graph.SerializeToString() for result in (coarse, without)]
    assert graphs[0] == graphs[1]


def test_a_step_may_say_in_plain_words_why_it_is_undone() -> None:
    class Doubts(RoundOneWeight):
        def verify(self, before: ir.Model, after: ir.Model, context: StepContext) -> str | None:
            return "not today"

    undone = record(rounded(Doubts(), method="magnitude", uniform=True)).undone
    assert undone is not None
    assert undone.to_json() == {"code": "step-undone", "step": "round", "text": "not today"}


def test_the_plan_is_kept_in_the_run_folder(tmp_path: Path) -> None:
    step = RoundOneWeight()
    options: dict[str, Any] = {"work": tmp_path / "work", "step_options": {"round": {"to": 2.0**-18}}}
    first = rounded(step, **options)
    again = rounded(step, **options)
    assert step.planned == 1
    assert record(first).facts == record(again).facts
    with pytest.raises(InputError, match=r"whose steps differ \(round\)"):
        rounded(step, work=tmp_path / "work", step_options={"round": {"to": 0.5}})


def zero_of(outputs: Any, labels: Any) -> float:
    return 0.0


def one_of(outputs: Any, labels: Any) -> float:
    return 1.0


def test_a_step_that_is_called_metric_does_not_hide_the_metric(tmp_path: Path) -> None:
    step = RoundOneWeight()
    step.name = "metric"
    rounded(step, work=tmp_path, metric=zero_of)
    with pytest.raises(InputError, match=r"whose options differ \(metric\) and sources differ \(metric\)"):
        rounded(step, work=tmp_path, metric=one_of)


def test_a_search_for_a_goal_does_it_to_every_candidate() -> None:
    result = compress(
        MODEL,
        DATA,
        max_drop="30%",
        steps=(*STEPS[:-1], RoundOneWeight(), STEPS[-1]),
        step_options={"round": {"to": 2.0**-18}},
        **FAST,
    )
    assert record(result).applied


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"round": {"too": 1.0}}, "options of step 'round': .*'too'"),
        ({"round": {"to": 0.0}}, "to is 0.0, expected a number above 0"),
        ({"rond": {}}, "there are options for 'rond', but no step of that name: add the step"),
    ],
)
def test_options_that_no_step_takes_are_refused(options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rounded(RoundOneWeight(), step_options=options)


def test_two_steps_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="there are two steps called 'trim': give each step a name of its own"):
        compress(MODEL, DATA, sparsity=0.5, steps=(*STEPS, STEPS[1]), **FAST)


def test_a_list_without_pruning_is_refused() -> None:
    with pytest.raises(InputError, match="no step is called 'prune', which corrects the weights: leave it in the list"):
        compress(MODEL, DATA, sparsity=0.5, steps=tuple(step for step in STEPS if step.name != "prune"), **FAST)


def test_a_step_may_end_the_run() -> None:
    class Refuses(RoundOneWeight):
        def apply(self, model: ir.Model, context: StepContext) -> StepResult:
            raise CheckFailedError("it cannot be done")

    with pytest.raises(CheckFailedError, match="it cannot be done"):
        rounded(Refuses())
