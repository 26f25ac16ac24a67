"""How many weights each layer keeps: error curves, sensitivities, and low-fidelity evaluations of what they suggest."""

from __future__ import annotations

import onnx_ir as ir

from netsurgeon.pipeline.calibration import Calibration, Selection
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.progress import Progress
from netsurgeon.pipeline.pruning import budget
from netsurgeon.pipeline.pruning.costs import measure_costs
from netsurgeon.pipeline.pruning.low_fidelity import choose_sensitivity_scaling
from netsurgeon.pipeline.pruning.plan import Plan, spread


def make_plan(
    model: ir.Model, selection: Selection, calibration: Calibration, options: Options, progress: Progress
) -> Plan:
    """Spread the goal over the layers; one dense sweep, unless the goal needs no budget.

    Raises:
        InputError: no weight would be left, or the sparsities the user has fixed leave no room for the goal.
    """
    numbers = options.pattern_numbers()
    if numbers is not None:
        kept = {name: size * numbers[0] // numbers[1] for name, size in selection.sizes.items()}
        return Plan(kept, {})
    fixed = selection.fixed
    free = {name: size for name, size in selection.sizes.items() if name not in fixed}
    if options.uniform or not free or options.pruned_share == 0.0:
        kept = {**budget.uniform(free, options.pruned_share), **fixed}
        if not any(kept.values()):
            raise _nothing_left(selection, options.pruned_share)
        return Plan(kept, {})
    keep = _kept_by_others(selection, options.pruned_share)
    costs = measure_costs(model, selection, calibration, progress, 1.0 - options.pruned_share)
    return spread(
        costs,
        keep,
        selection,
        choose_sensitivity_scaling(model, costs, keep, selection=selection, calibration=calibration, progress=progress),
    )


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
