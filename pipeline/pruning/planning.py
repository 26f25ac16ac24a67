"""How many weights each layer keeps: error curves, sensitivities, and low-fidelity evaluations of what they suggest."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

import onnx_ir as ir

from netsurgeon.passes.pruning import SharePattern
from netsurgeon.pipeline.calibration import Calibration, Selection
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.progress import Progress
from netsurgeon.pipeline.pruning import budget
from netsurgeon.pipeline.pruning.costs import measure_costs
from netsurgeon.pipeline.pruning.low_fidelity import choose_sensitivity_scaling
from netsurgeon.pipeline.pruning.plan import ByteBudget, Plan, SensitivityScaling, spread


def make_plan(
    model: ir.Model,
    selection: Selection,
    calibration: Calibration,
    options: Options,
    progress: Progress,
    *,
    sizes: Sequence[int] = (),
    floats: Collection[str] = (),
) -> Plan:
    """Spread the goal over the layers, zeros and bits together; one dense sweep, unless it needs no budget.

    Args:
        model: the dense model.
        selection: layers that take part.
        calibration: inputs that are swept over.
        options: what is asked for.
        progress: called with stage, steps done and steps in all.
        sizes: largest integers that the weights of a layer may have, the finest first; with less than two the plan does
            not say which.
        floats: layers that stay on floats.

    Raises:
        InputError: no weight would be left, or the sparsities the user has fixed leave no room for the goal.
    """
    kept = _kept_by_rule(selection, options)
    has_bits = len(sizes) > 1 and not set(selection.sizes) <= set(floats)
    if kept is not None and not has_bits:
        return Plan(kept, {})
    keep = 0 if kept is not None else _kept_by_others(selection, options.pruned_share)
    measured = dataclasses.replace(selection, sparsities={}) if has_bits else selection
    kept_share, sizes_with_bits = 1.0 - options.pruned_share, sizes if has_bits else ()
    costs = measure_costs(model, measured, calibration, progress, kept=kept_share, sizes=sizes_with_bits)
    fixed = selection.fixed if kept is None else kept
    free, scaling = {name: cost for name, cost in costs.items() if name not in fixed}, SensitivityScaling()
    if kept is None:
        scaling = choose_sensitivity_scaling(
            model, free, keep, selection=selection, calibration=calibration, progress=progress
        )
    if not has_bits:
        return spread(costs, keep, selection, scaling)
    plan = ByteBudget(costs=costs, sizes=sizes, floats=floats).frugal(fixed, keep, scaling)
    return dataclasses.replace(plan, costs=free)


def _kept_by_rule(selection: Selection, options: Options) -> dict[str, int] | None:
    """Weights to keep in each layer where no budget is needed to say it.

    Raises:
        InputError: no weight would be left.
    """
    pattern = selection.pattern
    if isinstance(pattern, SharePattern):
        return {name: size * pattern.kept // pattern.size for name, size in selection.sizes.items()}
    fixed = selection.fixed
    free = {name: size for name, size in selection.sizes.items() if name not in fixed}
    if free and not options.uniform and options.pruned_share > 0.0:
        return None
    kept = {**budget.uniform(free, options.pruned_share), **fixed}
    if not any(kept.values()):
        raise _nothing_left(selection, options.pruned_share)
    return kept


def _kept_by_others(selection: Selection, sparsity: float) -> int:
    """Weights that the layers without a sparsity of their own may keep, so that all together meet the goal.

    Raises:
        InputError: none are left, or more than those layers have.
    """
    total, fixed = sum(selection.sizes.values()), selection.fixed
    removed = round(total * sparsity)
    kept, kept_there = total - removed, sum(fixed.values())
    removed_there = sum(selection.sizes[name] for name in fixed) - kept_there
    several = f"the {len(fixed)} layers with a sparsity of their own"
    where = "the layer with a sparsity of its own" if len(fixed) == 1 else several
    if kept == 0:
        raise _nothing_left(selection, sparsity)
    if kept_there >= kept:
        raise InputError(
            f"{kept_there:,} weights stay in {where}, but a sparsity of {sparsity} over all leaves only {kept:,} for "
            "all layers: change one of the two"
        )
    if removed_there > removed:
        raise InputError(
            f"{removed_there:,} weights go from {where}, more than the {removed:,} that a sparsity of {sparsity} over "
            "all removes: change one of the two"
        )
    return kept - kept_there


def _nothing_left(selection: Selection, sparsity: float) -> InputError:
    total = sum(selection.sizes.values())
    return InputError(f"a sparsity of {sparsity} leaves none of {total:,} weights: give a smaller one")
