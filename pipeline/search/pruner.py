"""Prune one structure of a model so far: what a search asks of the inputs of one sweep."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from netsurgeon.pipeline import pruning
from netsurgeon.pipeline.calibration import Calibration, Selection
from netsurgeon.pipeline.compression import (
    AppliedPlan,
    ChooseUnits,
    PruneLayers,
    QuantizeLayers,
    ShortenTables,
    StepContext,
    Steps,
    apply_plan,
)
from netsurgeon.pipeline.execution import RunFolder
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.profiling import StructureTimer, Timed
from netsurgeon.pipeline.progress import Progress
from netsurgeon.pipeline.pruning import (
    ByteBudget,
    Plan,
    SensitivityScaling,
    TimeBudget,
    choose_sensitivity_scaling,
    costs_from_arrays,
    costs_to_arrays,
    evaluate_at_low_fidelity,
    low_fidelity_inputs,
    make_plan,
    measure_costs,
    spread,
)
from netsurgeon.pipeline.quantization import IntegerChoice, integers_of_a_weight
from netsurgeon.pipeline.search.record import Point
from netsurgeon.pipeline.tables import TablePlan
from netsurgeon.pipeline.trimming import TrimPlan, named
from netsurgeon.pipeline.verification import DropEvaluator


@dataclasses.dataclass(frozen=True)
class Fold:
    """Inputs that candidates are corrected on, and other inputs that show their drop.

    Attributes:
        calibration: to correct on.
        drop_evaluator: of the other inputs.
        is_provisional: whether what is corrected there is judged only, for the delivered model is corrected on more.
    """

    calibration: Calibration
    drop_evaluator: DropEvaluator
    is_provisional: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchContext:
    """What candidates are made and judged with.

    Attributes:
        dense: the model in normal form.
        selection: layers that take part.
        folds: by which candidates are made and judged.
        calibration: inputs that the delivered model is corrected on: those of the only fold, or of all folds together.
        clock: times structures.
        size: bytes of a model's file, packed.
        options: how layers are solved and units chosen.
        progress: called with stage, steps done and steps in all.
        work: what is kept for a run that goes on.
        steps: what is done to each candidate.
        step_options: options of steps that are not part of netsurgeon, by step name.
        integers_of_a_weight: largest integers of which the cost is measured, for the forms that are on integers.
        repairs_structures: whether candidates that lack units are judged after a short repair.
        max_drop: drop beyond which a candidate need not be judged to the end; None = all are.
        tables: what becomes of tables that rows are looked up in, in all candidates.
        choices: by form, which layers stay on floats where the model runs on integers; filled where it is first asked.
        points: everything that was tried, in turn, on whichever kernels.
        name: begins the names of what is kept in the work folder.
        is_of_time: whether zeros are paid for by what they save of a run on sparse kernels.
    """

    dense: ir.Model = dataclasses.field(repr=False)
    selection: Selection
    folds: tuple[Fold, ...]
    calibration: Calibration
    clock: StructureTimer
    size: Callable[[ir.Model], int]
    options: Options
    progress: Progress
    work: RunFolder
    steps: Steps
    step_options: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    integers_of_a_weight: tuple[int, ...] = ()
    repairs_structures: bool = False
    max_drop: float | None = None
    tables: TablePlan = dataclasses.field(default_factory=lambda: TablePlan(()))
    choices: dict[str, IntegerChoice] = dataclasses.field(default_factory=dict, repr=False)
    points: list[Point] = dataclasses.field(default_factory=list, repr=False)
    name: str = ""
    is_of_time: bool = False

    def for_dense_kernels(self, options: Options) -> SearchContext:
        """The same for candidates that dense kernels run, made with these options, in the pattern of these."""
        selection = dataclasses.replace(self.selection, pattern=options.layer_pattern)
        clock = self.clock.without_package()
        return dataclasses.replace(self, options=options, selection=selection, clock=clock, choices={}, name="dense-")

    def step_context(self, selection: Selection, calibration: Calibration, options: Options) -> StepContext:
        """What the steps of one candidate share; plans that are made for a candidate are not kept."""
        return StepContext(
            dense=self.dense,
            selection=selection,
            calibration=calibration,
            options=options,
            step_options=self.step_options,
            progress=self.progress,
            timer=self.clock,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Structure:
    """A structure to be pruned.

    Attributes:
        level: on its ladder of structures; 0 = the dense one.
        trim: which units go; None = none by choice.
        selection: layers that take part, and what they lose.
        macs: multiply-adds of one sample; None where units were not looked at.
        timed: its time before correction; None where no goal is timed.
    """

    level: int
    trim: TrimPlan | None
    selection: Selection
    macs: float | None = None
    timed: Timed | None = None

    @property
    def key(self) -> str:
        """A name for what it has lost, whichever ladder it stands on."""
        return "whole" if self.trim is None else named(self.trim.removed)


class Pruner:
    """Prunes structures on one sweep's inputs, from error curves to corrected weights; measures each once.

    A candidate is asked for by one number: the share of the weights that it keeps or, on integers, the share of the
    bytes that they take at their finest, which zeros and bits pay for together; on sparse kernels, that of the
    milliseconds that zeros can save, of those it still takes.
    """

    def __init__(self, context: SearchContext, calibration: Calibration, name: str = "", parts: Sequence[Pruner] = ()):
        """Keep what it is asked with.

        Args:
            context: what candidates are made with.
            calibration: inputs that they are corrected on.
            name: begins the names of what is kept in the work folder, behind that of the context.
            parts: pruners on parts of these inputs: what they have measured is not measured again, its mean is taken.
        """
        self._context, self._calibration, self._parts = context, calibration, tuple(parts)
        self._name = f"{context.name}{name}"
        self._costs: dict[str, Mapping[str, pruning.Cost]] = {}
        self._scalings: dict[str, SensitivityScaling] = {}

    def pruned_at_low_fidelity(self, structure: Structure, shares: Sequence[float]) -> list[ir.Model]:
        """The model pruned to each of these shares of the weights, with little effort and side by side."""
        context, calibration = self._context, self._calibration
        costs = self.costs(structure)
        plans = [spread(costs, _weights(structure, kept), structure.selection, SensitivityScaling()) for kept in shares]
        count = low_fidelity_inputs(costs, is_hasty=context.options.is_hasty)
        samples = calibration.samples.subset(count, np.random.default_rng(calibration.seed))
        ticks = functools.partial(context.progress, "trying plans")
        return evaluate_at_low_fidelity(context.dense, plans, structure.selection, calibration.part(samples), ticks)

    def with_context(self, context: SearchContext) -> Pruner:
        """The same with other options of candidates; it shares what was measured, on which no option has a say."""
        other = copy.copy(self)
        other._context = context
        return other

    def applied(self, structure: Structure, share: float, integers: Callable[[], IntegerChoice]) -> AppliedPlan:
        """A structure pruned and corrected for real, and how; `integers` says what of it runs on integers."""
        context = self._context
        options = context.options
        choice = integers() if options.integer_mode is not None else None
        plan = self._plan(structure, share, choice)
        solved_name = record_name(dataclasses.replace(options, repair=False), structure, share)
        is_short = context.repairs_structures and structure.trim is not None and not options.repair
        sparsity = 1.0 - plan.kept_share(structure.selection.sizes)
        options = dataclasses.replace(options, sparsity=sparsity, repair=options.repair or is_short)
        step_context = context.step_context(structure.selection, self._calibration, options)
        step_context.repairs_shortly = is_short
        step_context.solutions = context.work.solutions(f"{self._name}{solved_name}")
        step_context.plans |= {
            ChooseUnits.name: structure.trim,
            ShortenTables.name: context.tables,
            PruneLayers.name: plan,
        }
        if choice is not None:
            step_context.plans[QuantizeLayers.name] = choice
        return apply_plan(context.steps, step_context)

    def share_like(self, structure: Structure, kept: float, choice: IntegerChoice) -> float:
        """The share of bytes by which a model on integers should lose about what one loses that keeps so many weights.

        Args:
            structure: of both.
            kept: share of the weights.
            choice: what of it runs on integers.
        """
        scaling = SensitivityScaling()
        plan = spread(self.costs(structure), _weights(structure, kept), structure.selection, scaling)
        return self._budget(structure, choice).share_of(plan, scaling)

    def costs(self, structure: Structure) -> Mapping[str, pruning.Cost]:
        """Error curves and sensitivities of a structure's layers, and what integers cost them."""
        if self._parts:
            of_parts = [part.costs(structure) for part in self._parts]
            return {name: pruning.Cost.mean_of([costs[name] for costs in of_parts]) for name in of_parts[0]}
        if structure.key not in self._costs:
            context, name = self._context, f"{self._name}costs-{structure.key}"
            arrays = context.work.arrays(name)
            if arrays is None:
                measured = measure_costs(
                    context.dense,
                    structure.selection,
                    self._calibration,
                    context.progress,
                    kept=0.5,
                    sizes=context.integers_of_a_weight,
                )
                arrays = costs_to_arrays(measured)
                context.work.keep_arrays(name, arrays)
            self._costs[structure.key] = costs_from_arrays(arrays)
        return self._costs[structure.key]

    def _plan(self, structure: Structure, share: float, choice: IntegerChoice | None) -> Plan:
        context, selection = self._context, structure.selection
        sizes = integers_of_a_weight(context.options)
        if share >= 1.0 or context.options.uniform:
            options = dataclasses.replace(context.options, sparsity=1.0 - share)
            plan = make_plan(context.dense, selection, self._calibration, options, context.progress)
            return dataclasses.replace(plan, most=dict.fromkeys(plan.keep, sizes[0]) if sizes else {})
        if choice is None or not sizes:
            costs, keep = self.costs(structure), _weights(structure, share)
            return spread(costs, keep, selection, self._sensitivity_scaling(structure, keep))
        budget = self._budget(structure, choice)
        keep = sum(budget.spread(share, selection, SensitivityScaling()).keep.values())
        return budget.spread(share, selection, self._sensitivity_scaling(structure, keep))

    def _budget(self, structure: Structure, choice: IntegerChoice) -> ByteBudget:
        costs, sizes = self.costs(structure), integers_of_a_weight(self._context.options)
        floats, milliseconds = set(choice.stay), {name: times.at for name, times in choice.times.items()}
        if not self._context.is_of_time:
            return ByteBudget(costs=costs, sizes=sizes, floats=floats)
        return TimeBudget(costs=costs, sizes=sizes, floats=floats, milliseconds=milliseconds)

    def _sensitivity_scaling(self, structure: Structure, keep: int) -> SensitivityScaling:
        """How a structure's sensitivities are tempered: chosen once, for the weights kept where that is first asked."""
        if self._parts:
            return SensitivityScaling.mean_of([part._sensitivity_scaling(structure, keep) for part in self._parts])
        if structure.key not in self._scalings:
            context, name = self._context, f"{self._name}scaling-{structure.key}"
            kept_scaling = context.work.facts(name)
            if kept_scaling is None:
                scaling = choose_sensitivity_scaling(
                    context.dense,
                    self.costs(structure),
                    keep,
                    selection=structure.selection,
                    calibration=self._calibration,
                    progress=context.progress,
                )
                kept_scaling = dataclasses.asdict(scaling)
                context.work.keep_facts(name, kept_scaling)
            self._scalings[structure.key] = SensitivityScaling(**kept_scaling)
        return self._scalings[structure.key]


def record_name(options: Options, structure: Structure, share: float) -> str:
    """What a candidate's records in the work folder are called: one in another form is another candidate."""
    repaired = "-repaired" if options.repair else ""
    return f"candidate-{options.form}-{structure.key}-{share:.6f}{repaired}"


def _weights(structure: Structure, kept: float) -> int:
    return max(1, round(kept * sum(structure.selection.sizes.values())))
