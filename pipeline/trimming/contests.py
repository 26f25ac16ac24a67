"""Whole heads against width inside heads: where only one of the two can be units, the one that costs less per saving.

A flat axis of heads times width can lose heads, or width of every head. The analysis of dependencies gives units to
the factor that could let the most vanish; here both are priced, each on the layers that read it, and the cheaper wins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.dependencies import Dependencies
from netsurgeon.passes.layers import Layer
from netsurgeon.passes.trimming import Importance, UnitCosts, select_units
from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.progress import Progress
from netsurgeon.pipeline.trimming.costs import Array, Ints, unit_axes
from netsurgeon.pipeline.trimming.trim_plan import TrimPlan
from netsurgeon.pipeline.trimming.unit_finder import no_units
from netsurgeon.pipeline.trimming.unit_prices import price_units

Weigh = Callable[[Dependencies, Ints], UnitCosts]
"""What candidates save: parameters, multiply-adds or milliseconds."""
Priced = tuple[Importance, Ints]
"""Prices of candidates, and which they are."""


def contested_units(
    model: ir.Model,
    layers: Sequence[Layer],
    calibration: Calibration,
    options: Options,
    progress: Progress,
    weigh: Weigh,
    share: float,
) -> tuple[TrimPlan, Priced]:
    """A plan by which no unit goes, with the cheaper units of every contest, and the prices of its candidates.

    Args:
        model: the dense model.
        layers: those that may be corrected.
        calibration: inputs.
        options: which importance is meant: only prices of one kind compete.
        progress: called with stage, steps done and steps in all.
        weigh: what candidates save.
        share: of what a contest's units can save, up to which they are compared.
    """
    plan = no_units(model, layers, calibration)
    priced = price_units(model, plan, calibration, options, progress)
    winners = {contest.number: contest.winners for contest in plan.dependencies.contests}
    if not winners or options.importance != "obs":
        return plan, priced
    others = no_units(model, layers, calibration, sorted(frozenset().union(*winners.values())))
    contested = [others.dependencies.contested(contest) for contest in others.dependencies.contests]
    numbers = np.intersect1d(np.concatenate([np.zeros(0, np.int64), *contested]), others.candidates)
    if not len(numbers):
        return plan, priced
    priced_others = price_units(model, dataclasses.replace(others, candidates=numbers), calibration, options, progress)
    sides = [_Side.of(plan, priced, weigh), _Side.of(others, priced_others, weigh)]
    leaving: set[int] = set()
    for number, variables in winners.items():
        goal = share * min(side.total(number) for side in sides)
        first, second = (side.price(number, goal, options.multiple) for side in sides)
        if second < first:
            leaving |= variables
    if not leaving:
        return plan, priced
    plan = no_units(model, layers, calibration, sorted(leaving))
    return plan, price_units(model, plan, calibration, options, progress)


@dataclasses.dataclass(frozen=True)
class _Side:
    """One outcome of all contests: its units by contest, and what they cost.

    Attributes:
        plan: with these units.
        units: by contest: places among the candidates.
        importance: of the candidates.
        candidates: their numbers.
        weigh: what they save.
    """

    plan: TrimPlan
    units: dict[int, Ints]
    importance: Importance
    candidates: Ints
    weigh: Weigh

    @classmethod
    def of(cls, plan: TrimPlan, priced: Priced, weigh: Weigh) -> _Side:
        """Sort the units of an outcome by contest."""
        importance, candidates = priced
        dependencies = plan.dependencies
        units = {
            contest.number: np.searchsorted(candidates, np.intersect1d(dependencies.contested(contest), candidates))
            for contest in dependencies.contests
        }
        return cls(plan, units, importance, candidates, weigh)

    def total(self, contest: int) -> float:
        """What all units of a contest save together."""
        units = self.units.get(contest, np.zeros(0, np.int64))
        costs = self.weigh(self.plan.dependencies, self.candidates[units])
        return costs.total(np.ones(len(units), bool)) - costs.total(np.zeros(len(units), bool))

    def price(self, contest: int, goal: float, multiple: int) -> float:
        """What a unit of saving costs in a contest up to a goal; infinite where that is not reached."""
        units = self.units.get(contest, np.zeros(0, np.int64))
        if not len(units) or goal <= 0.0:
            return float("inf")
        numbers = self.candidates[units]
        dependencies = self.plan.dependencies
        some = _Some(self.importance.restricted(units), units)
        axes = unit_axes(dependencies, numbers, multiple)
        selection = select_units(some, self.weigh(dependencies, numbers), axes, goal)
        return float(selection.prices.sum()) / selection.saved if selection.reached else float("inf")


@dataclasses.dataclass(frozen=True)
class _Some:
    """The importance of some units, in an order of their own."""

    whole: Importance
    units: Ints

    def prices(self, units: Ints | None = None) -> Array:
        """Of these."""
        return self.whole.prices(self.units if units is None else self.units[units])

    def renewed(self) -> Ints:
        """Of these, those whose prices have changed."""
        return np.searchsorted(self.units, np.intersect1d(self.whole.renewed(), self.units))

    def remove(self, units: Ints) -> Array:
        """Remove some of these."""
        return self.whole.remove(self.units[units])

    def restricted(self, units: Ints) -> _Some:
        """A copy to try removals of some of these on."""
        return _Some(self.whole.restricted(self.units[units]), self.units)
