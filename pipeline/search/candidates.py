"""What the search asks for: structures timed, plans tried at low fidelity, candidates made and scored."""

from __future__ import annotations

import copy
import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from netsurgeon.pipeline import pruning
from netsurgeon.pipeline.calibration import Calibration, Selection
from netsurgeon.pipeline.compression import (
    AppliedPlan,
    ChooseUnits,
    ConvolveSliceAndPad,
    PruneLayers,
    QuantizeLayers,
    StepContext,
    Steps,
    apply_plan,
    apply_steps,
    trimmed_selection,
)
from netsurgeon.pipeline.execution import RunFolder
from netsurgeon.pipeline.options import Options, Progress, finer_values
from netsurgeon.pipeline.profiling import StructureTimer, Timed
from netsurgeon.pipeline.pruning import (
    LOW_FIDELITY_INPUTS,
    Plan,
    SensitivityScaling,
    choose_sensitivity_scaling,
    costs_from_arrays,
    costs_to_arrays,
    evaluate_at_low_fidelity,
    make_plan,
    measure_costs,
    spread,
)
from netsurgeon.pipeline.quantization import IntegerChoice, stand_in
from netsurgeon.pipeline.search.record import Point
from netsurgeon.pipeline.trimming import Structures, TrimPlan, named
from netsurgeon.pipeline.verification import DropEstimate, DropEvaluator, pool_folds

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Fold:
    """Inputs that candidates are corrected on, and other inputs that show their drop."""

    calibration: Calibration
    drop_evaluator: DropEvaluator


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
        level: on the ladder of structures; 0 = the dense one.
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model that was made for real: the share of weights kept, its estimated drop, and bytes of its file.

    Where there are several folds it stands for the models of all: bytes are their mean.
    """

    structure: Structure
    kept: float
    evidence: DropEstimate
    bytes: int


class Pruner:
    """Prunes structures on one sweep's inputs, from error curves to corrected weights; measures each once."""

    def __init__(self, context: SearchContext, calibration: Calibration, name: str = ""):
        """`name`: begins the names of what is kept in the work folder."""
        self._context, self._calibration, self._name = context, calibration, name
        self._costs: dict[int, Mapping[str, pruning.Cost]] = {}
        self._scalings: dict[int, SensitivityScaling] = {}

    def pruned_at_low_fidelity(self, structure: Structure, shares: Sequence[float]) -> list[ir.Model]:
        """The model pruned to each of these shares of the weights, with little effort and side by side."""
        context, calibration = self._context, self._calibration
        costs = self.costs(structure)
        plans = [spread(costs, _weights(structure, kept), structure.selection, SensitivityScaling()) for kept in shares]
        context.progress("trying plans", 0, 1)
        samples = calibration.samples.subset(LOW_FIDELITY_INPUTS, np.random.default_rng(calibration.seed))
        return evaluate_at_low_fidelity(context.dense, plans, structure.selection, calibration.part(samples))

    def with_context(self, context: SearchContext) -> Pruner:
        """The same with other options of candidates; it shares what was measured, on which no option has a say."""
        other = copy.copy(self)
        other._context = context
        return other

    def applied(self, structure: Structure, kept: float, integers: Callable[[], IntegerChoice]) -> AppliedPlan:
        """A structure pruned and corrected for real, and how; `integers` says what of it runs on integers."""
        context = self._context
        options = dataclasses.replace(context.options, sparsity=1.0 - kept)
        plan = self._plan(structure, kept, options)
        step_context = context.step_context(structure.selection, self._calibration, options)
        step_context.solutions = context.work.solutions(f"{self._name}{_record_name(options, structure, kept)}")
        step_context.plans |= {ChooseUnits.name: structure.trim, PruneLayers.name: plan}
        if options.integer_mode is not None:
            step_context.plans[QuantizeLayers.name] = integers()
        return apply_plan(context.steps, step_context)

    def costs(self, structure: Structure) -> Mapping[str, pruning.Cost]:
        """Error curves and sensitivities of a structure's layers."""
        if structure.level not in self._costs:
            context, name = self._context, f"{self._name}costs-{structure.level}"
            arrays = context.work.arrays(name)
            if arrays is None:
                arrays = costs_to_arrays(
                    measure_costs(context.dense, structure.selection, self._calibration, context.progress, 0.5)
                )
                context.work.keep_arrays(name, arrays)
            self._costs[structure.level] = costs_from_arrays(arrays)
        return self._costs[structure.level]

    def _plan(self, structure: Structure, kept: float, options: Options) -> Plan:
        context = self._context
        if kept >= 1.0 or options.uniform:
            return make_plan(context.dense, structure.selection, self._calibration, options, context.progress)
        costs = self.costs(structure)
        return spread(
            costs, _weights(structure, kept), structure.selection, self._sensitivity_scaling(structure, kept, costs)
        )

    def _sensitivity_scaling(
        self, structure: Structure, kept: float, costs: Mapping[str, pruning.Cost]
    ) -> SensitivityScaling:
        """How a structure's sensitivities are tempered: chosen once, at the first share that is tried."""
        if structure.level not in self._scalings:
            context, name = self._context, f"{self._name}scaling-{structure.level}"
            kept_scaling = context.work.facts(name)
            if kept_scaling is None:
                keep = _weights(structure, kept)
                scaling = choose_sensitivity_scaling(
                    context.dense,
                    costs,
                    keep,
                    selection=structure.selection,
                    calibration=self._calibration,
                    progress=context.progress,
                )
                kept_scaling = dataclasses.asdict(scaling)
                context.work.keep_facts(name, kept_scaling)
            self._scalings[structure.level] = SensitivityScaling(**kept_scaling)
        return self._scalings[structure.level]


class CandidateEvaluator:
    """Makes what the search asks for, each once, and notes it in `points`."""

    def __init__(self, context: SearchContext):
        self.context = context
        self.points: list[Point] = []
        self._is_cross_validated = len(context.folds) > 1
        self._pruner = Pruner(context, context.calibration)
        self._folds = [
            (
                Pruner(context, fold.calibration, f"fold-{at}-") if self._is_cross_validated else self._pruner,
                fold.drop_evaluator,
            )
            for at, fold in enumerate(context.folds)
        ]
        self._applied: dict[tuple[int, float], AppliedPlan] = {}
        self._low_fidelity_estimates: dict[int, list[DropEstimate]] = {}

    def in_form(self, form: str) -> CandidateEvaluator:
        """The same for candidates whose weights are kept in another form; `points` are those of both."""
        other = copy.copy(self)
        other.context = dataclasses.replace(self.context, options=self.context.options.in_form(form))
        other._pruner = self._pruner.with_context(other.context)
        other._folds = [
            (other._pruner if pruner is self._pruner else pruner.with_context(other.context), drop_evaluator)
            for pruner, drop_evaluator in self._folds
        ]
        other._applied = {}
        return other

    @property
    def form(self) -> str:
        """Form in which the weights of its candidates are kept."""
        return self.context.options.form

    @property
    def is_integer(self) -> bool:
        """Whether its candidates are to run on integers."""
        return self.context.options.integer_mode is not None

    @property
    def finer(self) -> tuple[str, ...]:
        """Values that lose less of a weight than those its candidates are stored as."""
        return () if self.is_integer else finer_values(self.form)

    @functools.cached_property
    def integers(self) -> IntegerChoice:
        """Which layers of the dense model stay on floats where it runs on integers, and how fast it is then."""
        planned: IntegerChoice | None = QuantizeLayers().plan(self._plain_context())
        assert planned is not None
        return planned

    def _plain_context(self) -> StepContext:
        return self.context.step_context(self.context.selection, self.context.calibration, self.context.options)

    def structure(
        self, level: int, trim: TrimPlan | None, macs: float | None = None, timed: Timed | None = None
    ) -> Structure:
        """A structure, and what it leaves to prune."""
        selection = self.context.selection
        if trim is not None:
            selection = trimmed_selection(selection, trim, self.context.options)
        return Structure(level=level, trim=trim, selection=selection, macs=macs, timed=timed)

    def time(self, structures: Structures, level: int) -> Timed:
        """Time a structure without correcting it: how long a kernel takes does not depend on its weights' values."""
        context = self.context
        context.progress("timing structures", 0, 1)
        name = named(structures.plan(level).removed)

        def model() -> ir.Model:
            trimmed = structures.trimmed(context.dense, level, context.calibration).model
            floats = apply_steps([ConvolveSliceAndPad()], trimmed, self._plain_context())
            if context.options.integer_mode is None:
                return floats
            return stand_in(floats, self.integers.stay, context.calibration)

        return context.clock.time(f"{name} {context.options.integer_mode or ''}".strip(), model)

    def evaluate_at_low_fidelity(self, structure: Structure, shares: Sequence[float]) -> list[DropEstimate]:
        """The drop at each of these shares of the weights, pruned with little effort; weights are not rounded."""
        if structure.level in self._low_fidelity_estimates:
            return self._low_fidelity_estimates[structure.level]
        context, name = self.context, f"rehearsal-{structure.level}"
        kept_estimates = context.work.facts(name)
        if kept_estimates is None:
            estimates_of_folds = [self._estimates_at_low_fidelity(*fold, structure, shares) for fold in self._folds]
            kept_estimates = [
                dataclasses.asdict(pool_folds(of_folds)) for of_folds in zip(*estimates_of_folds, strict=True)
            ]
            context.work.keep_facts(name, kept_estimates)
        evidence = [DropEstimate(**values) for values in kept_estimates]
        for kept, estimate in zip(shares, evidence, strict=True):
            self.note("rehearsal", structure, kept=kept, drop=estimate.drop, bound=estimate.high)
        self._low_fidelity_estimates[structure.level] = evidence
        return evidence

    def candidate(self, structure: Structure, kept: float) -> Candidate:
        """Prune and correct for real, in each fold, and judge."""
        work, name = self.context.work, _record_name(self.context.options, structure, kept)
        kept_candidate = work.facts(name)
        if kept_candidate is None:
            evidence, sizes = [], []
            for pruner, drop_evaluator in self._folds:
                model = self._made(pruner, structure, kept).model
                self.context.progress("judging", 0, 1)
                evidence.append(
                    drop_evaluator.estimate_drop(self.context.calibration.runtime.on_integers().session(model))
                )
                sizes.append(self.context.size(model))
            kept_candidate = {"evidence": dataclasses.asdict(pool_folds(evidence)), "bytes": round(np.mean(sizes))}
            work.keep_facts(name, kept_candidate)
        result = Candidate(
            structure=structure,
            kept=kept,
            evidence=DropEstimate(**kept_candidate["evidence"]),
            bytes=kept_candidate["bytes"],
        )
        drop, bound = result.evidence.drop, result.evidence.high
        logger.info(
            "candidate: %.4f of the weights kept as %s, drop %.4f (bound %.4f), %d bytes",
            kept,
            self.form,
            drop,
            bound,
            result.bytes,
        )
        self.note("candidate", structure, kept=kept, form=self.form, bytes=result.bytes, drop=drop, bound=bound)
        return result

    def applied(self, structure: Structure, kept: float) -> AppliedPlan:
        """What is delivered of a candidate, and how it was made."""
        return self._made(self._pruner, structure, kept)

    def size(self, candidate: Candidate) -> int:
        """Bytes of the file that is delivered."""
        if self._is_cross_validated:
            return self.context.size(self.applied(candidate.structure, candidate.kept).model)
        return candidate.bytes

    def note(self, kind: str, structure: Structure, **result: Any) -> None:
        """Remember what was tried: a point of this kind, with other fields of `Point`."""
        timed = structure.timed
        self.points.append(
            Point(
                kind=kind,
                macs=structure.macs,
                milliseconds=timed.model if timed else None,
                speedup=timed.speedup if timed else None,
                **result,
            )
        )

    def _made(self, pruner: Pruner, structure: Structure, kept: float) -> AppliedPlan:
        """A pruner's candidate; those that may be delivered are held."""
        if pruner is not self._pruner:
            return pruner.applied(structure, kept, lambda: self.integers)
        key = (structure.level, kept)
        if key not in self._applied:
            self._applied[key] = pruner.applied(structure, kept, lambda: self.integers)
        return self._applied[key]

    def _estimates_at_low_fidelity(
        self, pruner: Pruner, drop_evaluator: DropEvaluator, structure: Structure, shares: Sequence[float]
    ) -> list[DropEstimate]:
        estimates_of_folds = []
        for done, model in enumerate(pruner.pruned_at_low_fidelity(structure, shares)):
            self.context.progress("judging plans", done, len(shares))
            estimates_of_folds.append(drop_evaluator.estimate_drop(self.context.calibration.runtime.session(model)))
        return estimates_of_folds


def _record_name(options: Options, structure: Structure, kept: float) -> str:
    """What a candidate's records in the work folder are called: one in another form is another candidate."""
    return f"candidate-{options.form}-{structure.level}-{kept:.6f}"


def _weights(structure: Structure, kept: float) -> int:
    return max(1, round(kept * sum(structure.selection.sizes.values())))
