"""The bench of the search: structures are timed, sparsities rehearsed, candidates made for real, judged and noted."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from netsurgeon.pipeline import pruning
from netsurgeon.pipeline.calibration import Calibration, Selection
from netsurgeon.pipeline.compression import (
    AppliedPlan,
    ConvolveSliceAndPad,
    StepContext,
    Steps,
    apply_plan,
    apply_steps,
    trimmed_selection,
)
from netsurgeon.pipeline.execution import RunFolder
from netsurgeon.pipeline.options import Options, Progress
from netsurgeon.pipeline.profiling import StructureTimer, Timed
from netsurgeon.pipeline.pruning import (
    MOST_REHEARSED,
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
from netsurgeon.pipeline.search.record import Point
from netsurgeon.pipeline.trimming import Structures, TrimPlan, named
from netsurgeon.pipeline.verification import DropEstimate, DropEvaluator, pool_folds

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Fold:
    """Inputs that candidates are corrected on, and a judge by others."""

    calibration: Calibration
    judge: DropEvaluator


@dataclasses.dataclass(frozen=True)
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
        )


@dataclasses.dataclass(frozen=True)
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


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A model that was made for real: the share of weights kept, what the judge says, and bytes of its file.

    Where there are several folds it stands for the models of all: bytes are their mean.
    """

    site: Structure
    kept: float
    evidence: DropEstimate
    bytes: int


class Pruner:
    """Prunes structures on one sweep's inputs, from error curves to corrected weights; measures each once."""

    def __init__(self, tools: SearchContext, calibration: Calibration, name: str = ""):
        """`name`: begins the names of what is kept in the work folder."""
        self._tools, self._sweep, self._name = tools, calibration, name
        self._costs: dict[int, Mapping[str, pruning.Cost]] = {}
        self._tempers: dict[int, SensitivityScaling] = {}

    def rehearsed(self, site: Structure, shares: Sequence[float]) -> list[ir.Model]:
        """Prunings to these shares of the weights, in haste and side by side."""
        tools, calibration = self._tools, self._sweep
        costs = self.costs(site)
        plans = [spread(costs, _weights(site, kept), site.selection, SensitivityScaling()) for kept in shares]
        tools.progress("rehearsing", 0, 1)
        samples = calibration.samples.subset(MOST_REHEARSED, np.random.default_rng(calibration.seed))
        return evaluate_at_low_fidelity(tools.dense, plans, site.selection, calibration.part(samples))

    def applied(self, site: Structure, kept: float) -> AppliedPlan:
        """A structure pruned and corrected for real, and how."""
        tools = self._tools
        options = dataclasses.replace(tools.options, sparsity=1.0 - kept)
        plan = self._plan(site, kept, options)
        context = tools.step_context(site.selection, self._sweep, options)
        context.solutions = tools.work.solutions(f"{self._name}candidate-{site.level}-{kept:.6f}")
        context.plans |= {"trim": site.trim, "prune": plan}
        return apply_plan(tools.steps, context)

    def costs(self, site: Structure) -> Mapping[str, pruning.Cost]:
        """Error curves and sensitivities of a structure's layers."""
        if site.level not in self._costs:
            tools, name = self._tools, f"{self._name}costs-{site.level}"
            arrays = tools.work.arrays(name)
            if arrays is None:
                arrays = costs_to_arrays(measure_costs(tools.dense, site.selection, self._sweep, tools.progress, 0.5))
                tools.work.keep_arrays(name, arrays)
            self._costs[site.level] = costs_from_arrays(arrays)
        return self._costs[site.level]

    def _plan(self, site: Structure, kept: float, options: Options) -> Plan:
        tools = self._tools
        if kept >= 1.0 or options.uniform:
            return make_plan(tools.dense, site.selection, self._sweep, options, tools.progress)
        costs = self.costs(site)
        return spread(costs, _weights(site, kept), site.selection, self._temper(site, kept, costs))

    def _temper(self, site: Structure, kept: float, costs: Mapping[str, pruning.Cost]) -> SensitivityScaling:
        """How a structure's sensitivities are tempered: chosen once, at the first share that is tried."""
        if site.level not in self._tempers:
            tools, name = self._tools, f"{self._name}temper-{site.level}"
            kept_scaling = tools.work.facts(name)
            if kept_scaling is None:
                keep = _weights(site, kept)
                scaling = choose_sensitivity_scaling(
                    tools.dense, costs, keep, selection=site.selection, calibration=self._sweep, progress=tools.progress
                )
                kept_scaling = dataclasses.asdict(scaling)
                tools.work.keep_facts(name, kept_scaling)
            self._tempers[site.level] = SensitivityScaling(**kept_scaling)
        return self._tempers[site.level]


class CandidateEvaluator:
    """Makes what the search asks for, each once, and notes it in `points`."""

    def __init__(self, tools: SearchContext):
        self.tools = tools
        self.points: list[Point] = []
        self._crossed = len(tools.folds) > 1
        self._pruner = Pruner(tools, tools.calibration)
        self._folds = [
            (Pruner(tools, fold.calibration, f"fold-{at}-") if self._crossed else self._pruner, fold.judge)
            for at, fold in enumerate(tools.folds)
        ]
        self._applied: dict[tuple[int, float], AppliedPlan] = {}

    def site(
        self, level: int, trim: TrimPlan | None, macs: float | None = None, timed: Timed | None = None
    ) -> Structure:
        """A structure, and what it leaves to prune."""
        selection = self.tools.selection
        if trim is not None:
            selection = trimmed_selection(selection, trim, self.tools.options)
        return Structure(level, trim, selection, macs, timed)

    def time(self, structures: Structures, level: int) -> Timed:
        """Time a structure without correcting it: how long a kernel takes does not depend on its weights' values."""
        tools = self.tools
        tools.progress("timing structures", 0, 1)
        name = named(structures.plan(level).removed)

        def model() -> ir.Model:
            context = tools.step_context(tools.selection, tools.calibration, tools.options)
            trimmed = structures.trimmed(tools.dense, level, tools.calibration).model
            return apply_steps([ConvolveSliceAndPad()], trimmed, context)

        return tools.clock.time(name, model)

    def evaluate_at_low_fidelity(self, site: Structure, shares: Sequence[float]) -> list[DropEstimate]:
        """Prunings to these shares of the weights, in haste, judged."""
        tools, name = self.tools, f"rehearsal-{site.level}"
        kept_estimates = tools.work.facts(name)
        if kept_estimates is None:
            judged = [self._rehearsed(pruner, judge, site, shares) for pruner, judge in self._folds]
            kept_estimates = [dataclasses.asdict(pool_folds(of_folds)) for of_folds in zip(*judged, strict=True)]
            tools.work.keep_facts(name, kept_estimates)
        evidence = [DropEstimate(**values) for values in kept_estimates]
        for kept, estimate in zip(shares, evidence, strict=True):
            self.note("rehearsal", site, kept=kept, drop=estimate.drop, bound=estimate.high)
        return evidence

    def candidate(self, site: Structure, kept: float) -> Candidate:
        """Prune and correct for real, in each fold, and judge."""
        work, name = self.tools.work, f"candidate-{site.level}-{kept:.6f}"
        kept_candidate = work.facts(name)
        if kept_candidate is None:
            evidence, sizes = [], []
            for pruner, judge in self._folds:
                model = self._made(pruner, site, kept).model
                self.tools.progress("judging", 0, 1)
                evidence.append(judge.judge(self.tools.calibration.runtime.session(model)))
                sizes.append(self.tools.size(model))
            kept_candidate = {"evidence": dataclasses.asdict(pool_folds(evidence)), "bytes": round(np.mean(sizes))}
            work.keep_facts(name, kept_candidate)
        result = Candidate(site, kept, DropEstimate(**kept_candidate["evidence"]), kept_candidate["bytes"])
        drop, bound = result.evidence.drop, result.evidence.high
        logger.info(
            "candidate: %.4f of the weights kept, drop %.4f (bound %.4f), %d bytes", kept, drop, bound, result.bytes
        )
        self.note("candidate", site, kept=kept, bytes=result.bytes, drop=drop, bound=bound)
        return result

    def applied(self, site: Structure, kept: float) -> AppliedPlan:
        """What is delivered of a candidate, and how it was made."""
        return self._made(self._pruner, site, kept)

    def size(self, candidate: Candidate) -> int:
        """Bytes of the file that is delivered."""
        if self._crossed:
            return self.tools.size(self.applied(candidate.site, candidate.kept).model)
        return candidate.bytes

    def note(self, kind: str, site: Structure, **found: float | None) -> None:
        """Remember what was tried."""
        timed = site.timed
        times = (timed.model, timed.speedup) if timed else (None, None)
        self.points.append(Point(kind, site.macs, *times, **found))  # type: ignore[arg-type]

    def _made(self, pruner: Pruner, site: Structure, kept: float) -> AppliedPlan:
        """A pruner's candidate; those that may be delivered are held."""
        if pruner is not self._pruner:
            return pruner.applied(site, kept)
        key = (site.level, kept)
        if key not in self._applied:
            self._applied[key] = pruner.applied(site, kept)
        return self._applied[key]

    def _rehearsed(
        self, pruner: Pruner, judge: DropEvaluator, site: Structure, shares: Sequence[float]
    ) -> list[DropEstimate]:
        judged = []
        for done, model in enumerate(pruner.rehearsed(site, shares)):
            self.tools.progress("judging rehearsals", done, len(shares))
            judged.append(judge.judge(self.tools.calibration.runtime.session(model)))
        return judged


def _weights(site: Structure, kept: float) -> int:
    return max(1, round(kept * sum(site.selection.sizes.values())))
