"""Run a list of steps: measure, plan, then apply each to a clone, verify it, and keep or undo it."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import Counter

import onnx_ir as ir

from netsurgeon.pipeline.calibration import Selection
from netsurgeon.pipeline.compression.repair_weights import RepairIntegers, RepairWeights
from netsurgeon.pipeline.compression.step import Step, StepContext, StepRecord, Steps
from netsurgeon.pipeline.compression.steps import PruneLayers, QuantizeLayers, ShortenTables
from netsurgeon.pipeline.compression.trim_units import RemoveUnits
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.messages import Message, cause_of
from netsurgeon.pipeline.model_files import weights_to_integers
from netsurgeon.pipeline.pruning import Plan, Pruned
from netsurgeon.pipeline.quantization import IntegerFacts
from netsurgeon.pipeline.repair import RepairFacts
from netsurgeon.pipeline.tables import TablePlan
from netsurgeon.pipeline.trimming import TrimFacts

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AppliedPlan:
    """A model that steps were applied to, and how it went.

    Attributes:
        selection: the layers that took part.
        plan: weights to keep in each.
        pruned: what pruning did.
        units: what became of the units; None where all were to stay.
        integers: what runs on integers; None where all stays on floats.
        repair: how the weights that were left were tuned; None where they were not.
        integer_repair: likewise how integers were.
        tables: what became of tables that rows are looked up in; None where there are none.
        masked: the same function as `model`, all weights of the dense model still in their places.
        model: the result, not packed.
        records: what became of each step.
        warnings: what the user should know.
        notes: what else was done to the graph.
    """

    selection: Selection
    plan: Plan
    pruned: Pruned
    units: TrimFacts | None
    integers: IntegerFacts | None
    masked: ir.Model = dataclasses.field(repr=False)
    model: ir.Model = dataclasses.field(repr=False)
    repair: RepairFacts | None = None
    integer_repair: RepairFacts | None = None
    tables: TablePlan | None = None
    records: tuple[StepRecord, ...] = ()
    warnings: tuple[Message, ...] = ()
    notes: tuple[Message, ...] = ()


def apply_plan(steps: Steps, context: StepContext) -> AppliedPlan:
    """Apply all steps but those of storage to a clone of the dense model; plans that are missing are made first.

    Raises:
        CheckFailedError: what was asked for cannot be done.
        FactorizationError: a damped Hessian has no Cholesky factor.
    """
    steps = [step for step in steps if not step.is_storage]
    plan_steps(steps, context)
    model = apply_steps(steps, context.dense, context)
    masked = model if context.masked is None else context.masked
    model = weights_to_integers(model, context.selection.integers)
    return AppliedPlan(
        selection=context.selection,
        plan=context.plans[PruneLayers.name],
        pruned=context.outcomes[PruneLayers.name],
        units=context.outcomes.get(RemoveUnits.name),
        integers=context.outcomes.get(QuantizeLayers.name),
        masked=masked,
        model=model,
        repair=context.outcomes.get(RepairWeights.name),
        integer_repair=context.outcomes.get(RepairIntegers.name),
        tables=context.outcomes.get(ShortenTables.name),
        records=tuple(context.records),
        warnings=tuple(context.warnings),
        notes=tuple(context.notes),
    )


def check_steps(steps: Steps, context: StepContext) -> None:
    """Check that names tell steps apart, and that every step accepts its options, before anything is measured.

    Raises:
        InputError: a name stands twice, pruning is missing, an option is refused, or options are given for no step.
    """
    twice = [name for name, count in Counter(step.name for step in steps).items() if count > 1]
    if twice:
        raise InputError(f"there are two steps called {twice[0]!r}: give each step a name of its own")
    if PruneLayers.name not in [step.name for step in steps]:
        raise InputError(f"no step is called {PruneLayers.name!r}, which corrects the weights: leave it in the list")
    unknown = set(context.step_options) - {step.name for step in steps}
    if unknown:
        raise InputError(f"there are options for {sorted(unknown)[0]!r}, but no step of that name: add the step")
    for step in steps:
        try:
            context.options_of(step)
        except TypeError as error:
            raise InputError(f"options of step {step.name!r}: {error}") from error


def plan_steps(steps: Steps, context: StepContext) -> None:
    """Let every step without a plan measure, then plan, in turn; what the run folder keeps is taken from there.

    Raises:
        CheckFailedError: what was asked for cannot be done.
    """
    waiting = [step for step in steps if step.name not in context.plans]
    for step in waiting:
        context.measured[step.name] = step.measure(context)
    for step in waiting:
        context.plans[step.name] = _plan(step, context)


def _plan(step: Step, context: StepContext) -> object:
    """A step's plan: the kept one, or a new one that is kept from now on."""
    kept_plan, keep_plan = getattr(step, "kept_plan", None), getattr(step, "keep_plan", None)
    plan = kept_plan(context) if kept_plan else None
    if plan is None:
        plan = step.plan(context)
        if keep_plan and plan is not None:
            keep_plan(context, plan)
    return plan


def apply_steps(steps: Steps, model: ir.Model, context: StepContext) -> ir.Model:
    """Apply steps in turn; a step that does not hold leaves no trace but a note.

    Raises:
        CheckFailedError: what was asked for could not be done.
        FactorizationError: a damped Hessian has no Cholesky factor.
    """
    masked = context.masked is None
    for step in steps:
        model = _apply(step, model, context)
        masked = masked and step.keeps_places
        if masked:
            context.masked = model
    return model


def _as_message(text: str, step: Step) -> Message:
    return text if isinstance(text, Message) else Message(text, "step-note", step=step.name)


def _apply(step: Step, model: ir.Model, context: StepContext) -> ir.Model:
    context.progress(step.stage, 0, 1)
    started = time.perf_counter()
    result = step.apply(model.clone(), context)
    if result is None:
        logger.debug("step %s: nothing to do", step.name)
        context.records.append(StepRecord(name=step.name, applied=False))
        return model
    problem = step.verify(model, result.model, context) if result.has_changed else None
    if problem is not None:
        undone = Message(problem, "step-undone", cause_of(problem), step=step.name)
        context.records.append(StepRecord(name=step.name, applied=False, undone=undone))
        context.notes.append(undone)
        logger.info("step %s: undone: %s", step.name, problem)
        return model
    logger.info("step %s: applied and verified in %.3f s", step.name, time.perf_counter() - started)
    context.outcomes |= {step.name: result.outcome, **result.revised}
    context.notes += (_as_message(note, step) for note in result.notes)
    context.warnings += (_as_message(warning, step) for warning in result.warnings)
    context.records.append(StepRecord(name=step.name, applied=result.has_changed, facts=step.facts(context)))
    return result.model
