"""Choose the units to remove, and remove them with a proof that the function stays.

A unit is removed in two steps: its columns are zeroed in every consumer and the rest is corrected (`prune_segments`,
which treats them as inputs that are dead), then all of its slices are deleted. What is in between is the masked model.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.layers import Layer
from netsurgeon.passes.trimming import MaskUnits, UnitCosts, select_units
from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.progress import Progress
from netsurgeon.pipeline.runtime import Feed
from netsurgeon.pipeline.trimming.contests import Priced, contested_units
from netsurgeon.pipeline.trimming.costs import (
    Ints,
    Mask,
    saved_share,
    trimmable_cost,
    unit_axes,
    unit_costs,
    whole_steps,
)
from netsurgeon.pipeline.trimming.facts import FLOOR
from netsurgeon.pipeline.trimming.remove import remove_units
from netsurgeon.pipeline.trimming.trim_plan import TrimPlan
from netsurgeon.pipeline.trimming.unit_prices import price_units

PROOF_INPUTS = 16
"""Most inputs on which masked and trimmed model are compared."""


ATTEMPTS = 3
"""How often units are chosen anew, without groups whose removal did not hold, before less than the goal has to do."""


ROUNDING = 1e-9
"""What is saved may be short of the goal by this share of it."""


def proof_feeds(calibration: Calibration) -> list[Feed]:
    """Inputs on which masked and trimmed model are compared."""
    count = min(PROOF_INPUTS, calibration.samples.count)
    return list(calibration.samples.subset(count, np.random.default_rng(calibration.seed)).batches())


def choose_units(
    model: ir.Model, layers: Sequence[Layer], calibration: Calibration, options: Options, progress: Progress
) -> TrimPlan:
    """Choose the units to remove, proven on the dense model to be units.

    Each attempt takes one dense sweep where importance is what consumers lose. Groups whose removal does not hold
    stay, and the goal is sought without them.

    Args:
        model: dense, in normal form; not changed.
        layers: that are priced by what their consumers lose.
        calibration: inputs that units are priced and proven on.
        options: share to be saved, of what, and the measure of importance.
        progress: called with stage, steps done and steps in all.

    Raises:
        CheckFailedError: not as much as was asked for can be removed, and it was no wish.
    """
    plan, priced = contested_units(
        model,
        layers,
        calibration,
        options=options,
        progress=progress,
        weigh=lambda dependencies, candidates: unit_costs(model, dependencies, candidates, options.save)[0],
        share=options.trim_goal,
    )
    for attempt in range(ATTEMPTS):
        if attempt:
            priced = price_units(model, plan, calibration, options, progress)
        plan = dataclasses.replace(plan, removed=_chosen(model, plan, priced, options, progress))
        require_goal(model, plan, options)
        masked = model.clone()
        MaskUnits(plan.units)(masked)
        proven = remove_units(
            masked,
            plan.dependencies,
            plan.removed,
            feeds=proof_feeds(calibration),
            runtime=calibration.runtime,
            ticks=functools.partial(progress, "proving units"),
        )
        plan = plan.after(proven)
        if not proven.failed or _reaches_goal(model, plan, options):
            break
    require_goal(model, plan, options)
    return plan


def _chosen(model: ir.Model, plan: TrimPlan, priced: Priced, options: Options, progress: Progress) -> Mask:
    """Which of the candidates go, (units,): the cheapest, until the goal is saved or no more may go."""
    dependencies = plan.dependencies
    importance, candidates = priced
    costs, _ = unit_costs(model, dependencies, candidates, options.save)
    _, trimmable, _ = trimmable_cost(model, dependencies, options.save)
    axes = unit_axes(dependencies, candidates, options.multiple, FLOOR)
    progress("choosing units", 0, 1)
    goal = options.trim_goal * trimmable
    selection = select_units(importance, costs, axes, goal, per_saving=options.importance == "obs")
    order = selection.order
    if options.trim_best_effort and selection.saved > goal:
        sizes = np.bincount(axes.of, minlength=len(axes.step)) + axes.fixed
        order = _below(order, whole_steps(axes.of[order], sizes, axes.step), costs, goal)
    removed = np.zeros(len(dependencies.units), bool)
    removed[candidates[order]] = True
    return removed


def _below(order: Ints, cuts: Ints, costs: UnitCosts, goal: float) -> Ints:
    """The units of an order up to the last of some cuts that saves no more than the goal: a wish is a ceiling."""
    everything = np.ones(costs.units, bool)
    dense = costs.total(everything)
    for cut in cuts[::-1]:
        remaining = everything.copy()
        remaining[order[:cut]] = False
        if dense - costs.total(remaining) <= goal * (1.0 + ROUNDING):
            return order[:cut]
    return order[:0]


def _reaches_goal(model: ir.Model, plan: TrimPlan, options: Options) -> bool:
    saved = saved_share(model, plan.dependencies, plan.removed, options.save)
    return saved >= options.trim_goal * (1.0 - ROUNDING)


def require_goal(model: ir.Model, plan: TrimPlan, options: Options) -> None:
    """Check that a plan saves what was asked for.

    Args:
        model: before anything is removed.
        plan: which units go.
        options: the goal.

    Raises:
        CheckFailedError: it saves less, and the goal was no wish.
    """
    if options.trim_best_effort or _reaches_goal(model, plan, options):
        return
    saved = saved_share(model, plan.dependencies, plan.removed, options.save)
    raise CheckFailedError(
        f"trim is {options.trim_goal:g}, but {saved:.1%} of the {options.save} that they have is all that units can "
        f"save ({why_not(plan, options)}): ask for less, or for up-to:{options.trim_goal:g}"
    )


def why_not(plan: TrimPlan, options: Options) -> str:
    """Why no more can go, in a few words."""
    sizes: collections.Counter[str] = collections.Counter()
    for slot in plan.dependencies.frozen:
        sizes[f"{slot.operator} {slot.node or slot.value!r}: {slot.reason}"] += slot.parameters
    failed = [f"those of {group.node!r} stay: {reason}" for group, reason in plan.failed[:3]]
    frozen = "; ".join(text for text, _ in sizes.most_common(3))
    count = f"{counted(len(plan.candidates), 'unit')} may go"
    if plan.candidates.size and options.trim_best_effort and options.multiple > 1:
        count += f", up to {options.multiple} at a time (--round-to)"
    count += ", of them only those that are idle by apoz" if options.importance == "apoz" else ""
    return "; ".join([count, *failed, *([f"frozen: {frozen}"] if frozen else [])])
