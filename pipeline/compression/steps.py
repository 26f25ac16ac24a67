"""The steps of a compression, in order: `STEPS` is the list, and a new step is one more line in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from netsurgeon.passes.packing import MergeRows, StoreTables
from netsurgeon.passes.quantization import RoundTables
from netsurgeon.passes.rewriting import ConvolveShortcuts
from netsurgeon.pipeline.compression.packing import pack
from netsurgeon.pipeline.compression.repair_weights import RepairIntegers, RepairWeights
from netsurgeon.pipeline.compression.step import PRUNE, QUANTIZE, Step, StepContext, StepDefaults, StepResult
from netsurgeon.pipeline.compression.trim_units import ChooseUnits, RemoveUnits
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.options import (
    Options,
    PruneOptions,
    QuantizeOptions,
    StorageOptions,
)
from netsurgeon.pipeline.pruning import (
    Plan,
    keep_plan,
    load_plan,
    make_plan,
    prune_segments,
)
from netsurgeon.pipeline.quantization import (
    IntegerChoice,
    Quantized,
    integers_without_goal,
    quantize_model,
    time_integers,
    unless_slower,
)
from netsurgeon.pipeline.runtime import same_bits, verify_same
from netsurgeon.pipeline.tables import StoredTables, TablePlan, choose_tables, rows_to_drop
from netsurgeon.pipeline.trimming import proof_feeds


class ShortenTables(StepDefaults):
    """Round tables that rows are looked up in, such as embeddings, to as few bits as cost the outputs little.

    Layers behind them are then corrected for it. What the file holds is a matter of storage (`StoreTablesOnDisk`).
    """

    name, stage, options_type = "tables", "rounding tables", StorageOptions

    def plan(self, context: StepContext) -> TablePlan:
        """The form of each table, by what its errors cost on calibration inputs."""
        return choose_tables(context.dense, context.options, context.calibration, context.progress)

    def keep_plan(self, context: StepContext, plan: TablePlan) -> None:
        """Keep the forms."""
        context.run_folder.keep_facts("tables", plan.described())

    def kept_plan(self, context: StepContext) -> TablePlan | None:
        """The forms that were kept."""
        kept = context.run_folder.facts("tables")
        return None if kept is None else TablePlan.of(kept)

    def apply(self, model: ir.Model, context: StepContext) -> StepResult | None:
        """Round in place."""
        plan: TablePlan = context.plans[self.name]
        if not plan.tables:
            return None
        dropped = plan.dropped(model.graph, context.options)
        RoundTables(plan.forms, dropped)(model)
        return StepResult(model=model, outcome=plan, has_changed=bool(plan.forms or dropped))

    def facts(self, context: StepContext) -> Mapping[str, Any]:
        """How many tables were rounded."""
        return {"tables": len(context.plans[self.name].forms)}


class PruneLayers(StepDefaults):
    """Layer-wise Optimal Brain Surgeon: remove weights by a plan and correct the rest, segment by segment."""

    name, stage, options_type = PRUNE, "preparing layers", PruneOptions

    def plan(self, context: StepContext) -> Any:
        """How many weights each layer keeps, and how fine the integers are that they become."""
        choice: IntegerChoice | None = context.measured.get(QuantizeLayers.name)
        return make_plan(
            context.dense,
            context.selection,
            context.calibration,
            context.options,
            context.progress,
            sizes=() if choice is None else integers_without_goal(context.options),
            floats=() if choice is None else choice.stay,
        )

    def keep_plan(self, context: StepContext, plan: Any) -> None:
        """Keep the plan and the error curves behind it."""
        keep_plan(context.run_folder, plan)

    def kept_plan(self, context: StepContext) -> Any:
        """The plan that was kept."""
        return load_plan(context.run_folder)

    def apply(self, model: ir.Model, context: StepContext) -> StepResult:
        """Prune and correct; what is removed is a plan's, the target is always the dense model's outputs."""
        pruned = prune_segments(
            context.dense,
            model,
            context.selection,
            context.plans[self.name],
            context.calibration,
            options=context.options,
            progress=context.progress,
            solved=context.solutions,
        )
        return StepResult(model=model, outcome=pruned)

    def facts(self, context: StepContext) -> Mapping[str, Any]:
        """How many layers took part."""
        return {"layers": len(context.selection.layers)}


class ConvolveSliceAndPad(StepDefaults):
    """Turn shortcuts of Slice and Pad into strided 1 x 1 convolutions, behind which ONNX Runtime fuses more."""

    name, stage, options_type, keeps_places = "shortcuts", "rewriting shortcuts", Options, False

    def apply(self, model: ir.Model, context: StepContext) -> StepResult | None:
        """Rewrite what matches."""
        if not ConvolveShortcuts()(model).modified:
            return None
        note = "shortcuts of Slice and Pad are convolutions with weights 0 and 1 now, outputs verified: faster"
        return StepResult(model=model, notes=(Message(note, "shortcuts-convolved"),))

    def verify(self, before: ir.Model, after: ir.Model, context: StepContext) -> str | None:
        """The outputs must stay on some calibration inputs."""
        problem = verify_same(before, after, proof_feeds(context.calibration)[0], context.calibration.runtime)
        return problem.with_text(f"shortcuts stay Slice and Pad: as convolutions, {problem}") if problem else None


class QuantizeLayers(StepDefaults):
    """Run what gains by it on integers: activations of 8 bits, weights by second-order rounding, biases in closed form.

    Its target is the float model that the steps before it have left. ONNX Runtime's own integer kernels must give what
    the model says in float arithmetic, up to rounding.
    """

    name, stage, options_type, keeps_places = QUANTIZE, "preparing integers", QuantizeOptions, False

    def measure(self, context: StepContext) -> IntegerChoice | None:
        """Choose by time, on the dense model: a search chooses once for all of its candidates."""
        if context.options.integer_mode is None or context.timer is None:
            return None
        dense = context.dense.clone()
        ConvolveShortcuts()(dense)
        return time_integers(dense, context.options, context.calibration, context.timer, context.progress)

    def plan(self, context: StepContext) -> IntegerChoice | None:
        """What was chosen, which is what the steps before it plan with, too."""
        choice: IntegerChoice | None = context.measured[self.name]
        return choice

    def apply(self, model: ir.Model, context: StepContext) -> StepResult | None:
        """Put on integers, and check what ONNX Runtime makes of it."""
        choice: IntegerChoice | None = context.plans.get(self.name)
        if context.options.integer_mode is None or choice is None:
            return None
        plan: Plan | None = context.plans.get(PruneLayers.name)
        given = model.clone()
        result: Quantized = quantize_model(
            model,
            context.options,
            context.calibration,
            choice,
            progress=context.progress,
            most=plan.most if plan else {},
        )
        if choice.timed is not None and context.timer is not None:
            result = unless_slower(result, given, context.timer, context.progress)
        context.integers = result.integers if context.options.repair else None
        return StepResult(
            model=result.model, outcome=result.facts, notes=result.notes, has_changed=result.facts is not None
        )

    def facts(self, context: StepContext) -> Mapping[str, Any]:
        """How many layers run on integers."""
        facts = context.outcomes[self.name]
        return {"layers": facts.on_integers if facts else 0}


class StoreTablesOnDisk(StepDefaults):
    """Store tables that lie on integers, or on numbers of float16, as such: rows are made floats when looked up.

    Rows that the user has dropped are equal by then, and stored once.
    """

    name, stage, options_type, keeps_places = "store tables", "packing", StorageOptions, False
    is_storage = True

    def apply(self, model: ir.Model, context: StepContext) -> StepResult | None:
        """Store what lies on fewer bits."""
        merging, storing = MergeRows(rows_to_drop(model.graph, context.options, missing_ok=True)), StoreTables()
        modified = merging(model).modified
        if context.options.tables != "float32":
            modified |= storing(model).modified
        outcome = StoredTables(rows=storing.stored, merged=merging.merged)
        return StepResult(model=model, outcome=outcome) if modified else None

    def verify(self, before: ir.Model, after: ir.Model, context: StepContext) -> str | None:
        """The outputs must be equal to the last bit."""
        calibration = context.calibration
        runtime = calibration.runtime.on_integers(provider="cpu")
        problem = same_bits(before, after, next(calibration.samples.batches()), runtime)
        return problem.with_text(f"tables are stored as floats: {problem}") if problem else None

    def facts(self, context: StepContext) -> Mapping[str, Any]:
        """How many tables are stored so."""
        outcome: StoredTables = context.outcomes[self.name]
        return {"tables": len(outcome.rows)}


class PackWeightsOnDisk(StepDefaults):
    """Store sparse weights packed in plain ONNX operators, equal to the last bit once ONNX Runtime has loaded them.

    Equality is compared on the CPU, whatever provider runs the model: other providers may add in another order.
    """

    name, stage, options_type, keeps_places = "pack", "packing", StorageOptions, False
    is_storage = True

    def apply(self, model: ir.Model, context: StepContext) -> StepResult | None:
        """Pack what becomes smaller; verified where it is done, because the opset may have to be raised first."""
        if not context.options.pack:
            return None
        feed = next(context.calibration.samples.batches())
        packed = pack(model, feed, context.calibration.runtime.on_integers(provider="cpu"))
        return StepResult(
            model=packed.model,
            outcome=packed.packings,
            notes=packed.notes,
            has_changed=bool(packed.packings),
        )

    def facts(self, context: StepContext) -> Mapping[str, Any]:
        """How many weights are packed."""
        return {"weights": len(context.outcomes[self.name])}


STEPS: tuple[Step, ...] = (
    ShortenTables(),  # before masks give heads that are tied to a table one of their own, until units are out
    ChooseUnits(),
    PruneLayers(),
    RepairWeights(),  # while every weight has its place, so that values inside can be compared with the dense ones
    RemoveUnits(),
    ConvolveSliceAndPad(),
    QuantizeLayers(),
    RepairIntegers(),
    StoreTablesOnDisk(),
    PackWeightsOnDisk(),
)
