"""The bench of the search: structures are timed, sparsities rehearsed, candidates made for real, judged and noted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from netsurgeon.pipeline import budget
from netsurgeon.pipeline._promise import Evidence
from netsurgeon.pipeline.calibrate import Calibration
from netsurgeon.pipeline.judge import Judge
from netsurgeon.pipeline.operate import Operated, operate, trimmed_selection, with_convolutions
from netsurgeon.pipeline.options import Options, Progress
from netsurgeon.pipeline.plan import (
    MOST_REHEARSED,
    Plan,
    Temper,
    choose_temper,
    make_plan,
    measure_costs,
    rehearse,
    spread,
)
from netsurgeon.pipeline.report import Point
from netsurgeon.pipeline.selection import Selection
from netsurgeon.pipeline.structures import Structures, named
from netsurgeon.pipeline.timing_table import Clock, Timed
from netsurgeon.pipeline.trim import TrimPlan
from netsurgeon.pipeline.work import Work, costs_from_arrays, costs_to_arrays


@dataclasses.dataclass(frozen=True)
class Tools:
    """What candidates are made and judged with.

    Attributes:
        dense: the model in normal form.
        selection: layers that take part.
        sweep: inputs that candidates are corrected on.
        judge: compares with the dense model on other inputs.
        clock: times structures.
        size: bytes of a model's file, packed.
        options: how layers are solved and units chosen.
        progress: called with stage, steps done and steps in all.
        work: what is kept for a run that goes on.
    """

    dense: ir.Model = dataclasses.field(repr=False)
    selection: Selection
    sweep: Calibration
    judge: Judge
    clock: Clock
    size: Callable[[ir.Model], int]
    options: Options
    progress: Progress
    work: Work


@dataclasses.dataclass(frozen=True)
class Site:
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
    """A model that was made for real: the share of weights kept, what the judge says, and bytes of its file."""

    site: Site
    kept: float
    evidence: Evidence
    bytes: int


class Bench:
    """Makes what the search asks for, each once, and notes it in `points`."""

    def __init__(self, tools: Tools):
        self.tools = tools
        self.points: list[Point] = []
        self._operated: dict[tuple[int, float], Operated] = {}
        self._costs: dict[int, Mapping[str, budget.Cost]] = {}
        self._tempers: dict[int, Temper] = {}

    def site(self, level: int, trim: TrimPlan | None, macs: float | None = None, timed: Timed | None = None) -> Site:
        """A structure, and what it leaves to prune."""
        selection = self.tools.selection
        if trim is not None:
            selection = trimmed_selection(selection, trim, self.tools.options)
        return Site(level, trim, selection, macs, timed)

    def time(self, structures: Structures, level: int) -> Timed:
        """Time a structure without correcting it: how long a kernel takes does not depend on its weights' values."""
        tools = self.tools
        tools.progress("timing structures", 0, 1)
        name = named(structures.plan(level).removed)

        def model() -> ir.Model:
            return with_convolutions(structures.trimmed(tools.dense, level, tools.sweep).model, tools.sweep)[0]

        return tools.clock.time(name, model)

    def rehearse(self, site: Site, shares: Sequence[float]) -> list[Evidence]:
        """Quick and rough prunings to these shares of the weights, side by side, judged."""
        tools, name = self.tools, f"rehearsal-{site.level}"
        found = tools.work.facts(name)
        if found is None:
            costs = self.costs(site)
            plans = [spread(costs, _weights(site, kept), site.selection, Temper()) for kept in shares]
            tools.progress("rehearsing", 0, 1)
            few = tools.sweep.samples.subset(MOST_REHEARSED, np.random.default_rng(tools.sweep.seed))
            sweep = dataclasses.replace(tools.sweep, samples=few)
            judged = []
            for done, model in enumerate(rehearse(tools.dense, plans, site.selection, sweep)):
                tools.progress("judging rehearsals", done, len(plans))
                judged.append(tools.judge.judge(tools.sweep.runtime.session(model)))
            found = [dataclasses.asdict(each) for each in judged]
            tools.work.keep_facts(name, found)
        evidence = [Evidence(**each) for each in found]
        for kept, each in zip(shares, evidence, strict=True):
            self.note("rehearsal", site, kept=kept, drop=each.drop, bound=each.high)
        return evidence

    def candidate(self, site: Site, kept: float) -> Candidate:
        """Prune and correct for real, and judge."""
        work, name = self.tools.work, f"candidate-{site.level}-{kept:.6f}"
        found = work.facts(name)
        if found is None:
            model = self.operated(site, kept).model
            self.tools.progress("judging", 0, 1)
            evidence = self.tools.judge.judge(self.tools.sweep.runtime.session(model))
            found = {"evidence": dataclasses.asdict(evidence), "bytes": self.tools.size(model)}
            work.keep_facts(name, found)
        result = Candidate(site, kept, Evidence(**found["evidence"]), found["bytes"])
        evidence = result.evidence
        self.note("candidate", site, kept=kept, bytes=result.bytes, drop=evidence.drop, bound=evidence.high)
        return result

    def operated(self, site: Site, kept: float) -> Operated:
        """The model of a candidate, and how it was made."""
        key = (site.level, kept)
        if key not in self._operated:
            tools = self.tools
            options = dataclasses.replace(tools.options, sparsity=1.0 - kept)
            plan = self._plan(site, kept, options)
            solved = tools.work.solutions(f"candidate-{site.level}-{kept:.6f}")
            self._operated[key] = operate(
                tools.dense, site.selection, site.trim, plan, tools.sweep, options, tools.progress, solved
            )
        return self._operated[key]

    def costs(self, site: Site) -> Mapping[str, budget.Cost]:
        """Error curves and sensitivities of a structure's layers, measured once."""
        if site.level not in self._costs:
            tools, name = self.tools, f"costs-{site.level}"
            arrays = tools.work.arrays(name)
            if arrays is None:
                arrays = costs_to_arrays(measure_costs(tools.dense, site.selection, tools.sweep, tools.progress, 0.5))
                tools.work.keep_arrays(name, arrays)
            self._costs[site.level] = costs_from_arrays(arrays)
        return self._costs[site.level]

    def note(self, kind: str, site: Site, **found: float | None) -> None:
        """Remember what was tried."""
        timed = site.timed
        times = (timed.model, timed.speedup) if timed else (None, None)
        self.points.append(Point(kind, site.macs, *times, **found))  # type: ignore[arg-type]

    def _plan(self, site: Site, kept: float, options: Options) -> Plan:
        tools = self.tools
        if kept >= 1.0 or options.uniform:
            return make_plan(tools.dense, site.selection, tools.sweep, options, tools.progress)
        costs = self.costs(site)
        return spread(costs, _weights(site, kept), site.selection, self._temper(site, kept, costs))

    def _temper(self, site: Site, kept: float, costs: Mapping[str, budget.Cost]) -> Temper:
        """How a structure's sensitivities are tempered: chosen once, at the first share that is tried."""
        if site.level not in self._tempers:
            tools, name = self.tools, f"temper-{site.level}"
            found = tools.work.facts(name)
            if found is None:
                keep = _weights(site, kept)
                chosen = choose_temper(tools.dense, costs, keep, site.selection, tools.sweep, tools.progress)
                found = dataclasses.asdict(chosen)
                tools.work.keep_facts(name, found)
            self._tempers[site.level] = Temper(**found)
        return self._tempers[site.level]


def _weights(site: Site, kept: float) -> int:
    return max(1, round(kept * sum(site.selection.sizes.values())))
