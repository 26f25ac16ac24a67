"""Nested structures of one model: its units in the order they go, priced once, so that any number of them can be tried.

Prices are those of `trim` (group OBS by default); what a unit saves is a share of its layers' multiply-adds, or of
their milliseconds as ONNX Runtime's profiler has measured them.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.dependencies import Dependencies
from netsurgeon.passes.trimming import MaskUnits, UnitCosts, select_units
from netsurgeon.pipeline.calibration import Calibration, Selection
from netsurgeon.pipeline.execution import RunFolder
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.progress import Progress
from netsurgeon.pipeline.trimming.choose import proof_feeds
from netsurgeon.pipeline.trimming.contests import contested_units
from netsurgeon.pipeline.trimming.costs import candidate_work, multiply_adds, unit_axes, whole_steps
from netsurgeon.pipeline.trimming.remove import remove_units
from netsurgeon.pipeline.trimming.trim_plan import Trimmed, TrimPlan
from netsurgeon.pipeline.trimming.unit_finder import give_biases, no_units

Ints = npt.NDArray[np.int64]
MOST = 0.95
"""Share of the work that the order of units covers."""
COMPARED = 0.5
"""Of what heads, or width inside them, can save, up to which they are compared: the middle of the order."""


@dataclasses.dataclass(frozen=True)
class Structures:
    """A ladder of structures: level 0 is the dense one, each level takes out all units of those below it.

    Attributes:
        base: nothing removed; what may be.
        order: units in the order they go, (units that may go,).
        cuts: how many have gone at each level, (levels,); at each, counts left are the multiples asked for.
    """

    base: TrimPlan
    order: Ints = dataclasses.field(repr=False)
    cuts: Ints = dataclasses.field(repr=False)

    @property
    def top(self) -> int:
        """The last level."""
        return len(self.cuts) - 1

    def plan(self, level: int) -> TrimPlan:
        """Which units go at a level."""
        removed = np.zeros(len(self.base.dependencies.units), bool)
        removed[self.order[: self.cuts[level]]] = True
        return dataclasses.replace(self.base, removed=removed)

    def macs(self, level: int) -> float:
        """Multiply-adds of one sample at a level, of the operators that trimming knows."""
        return self._macs[level]

    @functools.cached_property
    def _macs(self) -> list[float]:
        costs = multiply_adds(self.base.dependencies)
        return [costs.total(~self.plan(level).removed) for level in range(len(self.cuts))]

    def trimmed(self, model: ir.Model, level: int, calibration: Calibration) -> Trimmed:
        """The dense model without the units of a level, not corrected, and the proof that the rest is one function."""
        plan = self.plan(level)
        masked = model.clone()
        MaskUnits(plan.units)(masked)
        return remove_units(masked, plan.dependencies, plan.removed, proof_feeds(calibration), calibration.runtime)


def find_structures(
    model: ir.Model,
    selection: Selection,
    calibration: Calibration,
    options: Options,
    progress: Progress,
    milliseconds: Mapping[str, float] | None,
    work: RunFolder,
) -> Structures:
    """As `order_units`, unless the work folder has it."""
    name = f"structures-{options.integer_mode or 'floats'}"
    arrays = work.arrays(name)
    if arrays is None:
        structures = order_units(
            model, selection, calibration, options=options, progress=progress, milliseconds=milliseconds
        )
        blocked = np.array(structures.base.blocked, np.int64)
        work.keep_arrays(name, {"order": structures.order, "cuts": structures.cuts, "blocked": blocked})
        return structures
    give_biases(selection.layers)
    base = no_units(model, selection.layers, calibration, arrays.get("blocked", np.zeros(0, np.int64)).tolist())
    return Structures(base, arrays["order"], arrays["cuts"])


def order_units(
    model: ir.Model,
    selection: Selection,
    calibration: Calibration,
    options: Options,
    progress: Progress,
    milliseconds: Mapping[str, float] | None = None,
) -> Structures:
    """Price all units in one dense sweep and put them in the order they go.

    Args:
        model: the dense model; layers that can have a bias get one.
        selection: layers that may be corrected.
        calibration: calibration inputs.
        options: importance, and the multiples that counts of units are rounded to.
        progress: called with stage, steps done and steps in all.
        milliseconds: of the nodes that were measured, by name; None = multiply-adds are to be saved.
    """
    give_biases(selection.layers)

    def weigh(dependencies: Dependencies, candidates: Ints) -> UnitCosts:
        rates = None if milliseconds is None else _rates(dependencies, milliseconds)
        return candidate_work(dependencies, candidates, rates)

    base, (importance, candidates) = contested_units(
        model, selection.layers, calibration, options=options, progress=progress, weigh=weigh, share=COMPARED
    )
    dependencies = base.dependencies
    costs = weigh(dependencies, candidates)
    axes = unit_axes(dependencies, candidates, options.multiple)
    progress("choosing units", 0, 1)
    goal = MOST * costs.total(np.ones(len(candidates), bool))
    unit_selection = select_units(importance, costs, axes, goal, per_saving=options.importance == "obs")
    sizes = np.bincount(axes.of, minlength=len(axes.step)) + axes.fixed
    return Structures(
        base, candidates[unit_selection.order], whole_steps(axes.of[unit_selection.order], sizes, axes.step)
    )


def _rates(dependencies: Dependencies, milliseconds: Mapping[str, float]) -> dict[str, float]:
    """Milliseconds of a multiply-add in each node; the mean of the others where the profiler has not named it."""
    amounts: dict[str, float] = {}
    for work in dependencies.tracks.work:
        amounts[work.node] = amounts.get(work.node, 0.0) + work.amount
    timed = [node for node in amounts if milliseconds.get(node) and amounts[node]]
    mean = sum(milliseconds[node] for node in timed) / max(sum(amounts[node] for node in timed), 1.0) or 1.0
    return {node: milliseconds[node] / amounts[node] if node in timed else mean for node in amounts}


def named(removed: npt.NDArray[np.bool_]) -> str:
    """A short name of a set of units, (units,): the same in every run on the same model."""
    return hashlib.sha256(np.packbits(removed).tobytes() + str(len(removed)).encode()).hexdigest()[:12]
