"""Measure what removing weights costs each layer, and what that costs the model's outputs."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from netsurgeon.passes import solvers
from netsurgeon.passes.layers import Layer
from netsurgeon.passes.pruning import LayerMoments, RemovedSlices, TilePattern
from netsurgeon.passes.solvers import FactorizationError
from netsurgeon.pipeline.calibration import Calibration, Selection
from netsurgeon.pipeline.execution import WeightFile
from netsurgeon.pipeline.progress import Progress
from netsurgeon.pipeline.pruning import budget
from netsurgeon.pipeline.pruning.sensitivity import Probe, Trial, measure_sensitivity
from netsurgeon.pipeline.pruning.sensitivity_by_parts import measure_by_parts, measure_from_parts

LEAST_TRIAL_ERROR = 0.02
"""Relative error a layer's trial has at least: smaller ones drown in rounding and say nothing."""


MEASURED, MEASURED_FAST = 0.5, 0.25
"""Share of the rows from which error curves are measured; the second with little effort."""


PROBED_INPUTS, PROBED_INPUTS_FAST = (4, 128), (16, 32)
"""Fewest and most inputs on which sensitivities are measured; the second for a first look."""


PROBE_WORK, PROBE_WORK_FAST = 5e11, 1e11
"""Multiply-adds that are spent on sensitivities where the fewest inputs need less and the most need more."""


PARTED_WORK = 1e12
"""Where the fewest inputs need more they are measured part by part."""


def measure_costs(
    model: ir.Model,
    selection: Selection,
    calibration: Calibration,
    progress: Progress,
    kept: float,
    sizes: Sequence[int] = (),
) -> dict[str, budget.Cost]:
    """Error curve and sensitivity of each layer without a given sparsity, from one dense sweep and a probe a layer.

    Args:
        model: the dense model.
        selection: layers that take part.
        calibration: inputs that are swept over.
        progress: called with stage, steps done and steps in all.
        kept: share of the weights about which sensitivities are measured.
        sizes: largest integers that weights may be rounded to, of which the cost is measured, too.
    """
    layers = [layer for layer in selection.layers if layer.name not in selection.sparsities]
    rng = np.random.default_rng(calibration.seed)
    curves, trials, roundings, positions = {}, {}, {}, {}
    trial_file = WeightFile.of(model)
    fewer = calibration.subsample(MEASURED if selection.effort == "full" else MEASURED_FAST)
    ticks = functools.partial(progress, "measuring layers")
    for layer, moments in fewer.dense(model, [layer.name for layer in layers], ticks):
        positions[layer.name] = moments.positions / calibration.samples.fed
        curves[layer.name], trial, roundings[layer.name] = _cost(
            layer,
            moments,
            selection.removed_slices.get(layer.name),
            kept=min(kept, 0.5),
            sizes=sizes,
            effort=selection.effort,
            rng=rng,
            tiles=selection.pattern.on(layer) if isinstance(selection.pattern, TilePattern) else None,
        )
        trials[layer.name] = trial if trial_file is None else Trial(trial_file.keep(trial.weight), trial.error)
    work = sum(layer.size * positions[layer.name] for layer in layers)
    probed = probed_inputs(len(layers) * work, is_hasty=selection.asked_effort == "fast")
    feeds = list(calibration.samples.subset(min(probed, calibration.samples.count), rng).batches())
    by_parts = PROBED_INPUTS[0] * len(layers) * work > PARTED_WORK
    probe = Probe(
        model=model,
        trials=trials,
        feeds=feeds,
        runtime=calibration.runtime,
        mask=calibration.samples.mask,
        ticks=functools.partial(progress, "measuring sensitivities"),
    )
    sensitivities = (measure_by_parts if by_parts else measure_from_parts)(probe) or measure_sensitivity(probe)
    return {
        name: budget.Cost(curve, selection.sizes[name], sensitivities[name], roundings[name], positions[name])
        for name, curve in curves.items()
    }


def probed_inputs(multiply_adds: float, *, is_hasty: bool) -> int:
    """On how many inputs sensitivities are measured, of each of which the runs of all layers are so much work."""
    probe_work, bounds = (PROBE_WORK_FAST, PROBED_INPUTS_FAST) if is_hasty else (PROBE_WORK, PROBED_INPUTS)
    return int(np.clip(probe_work / max(multiply_adds, 1.0), *bounds))


def _cost(
    layer: Layer,
    moments: LayerMoments,
    removed_slices: RemovedSlices | None,
    *,
    kept: float,
    sizes: Sequence[int],
    effort: solvers.Effort,
    rng: np.random.Generator,
    tiles: solvers.Tiles | None = None,
) -> tuple[solvers.Curve, Trial, dict[int, solvers.RoundingCost]]:
    """A layer's error curve and what integers cost it, over what trimming leaves, and a trial of the whole layer.

    Raises:
        FactorizationError: the damped Hessian has no Cholesky factor; the message names layer and damping.
    """
    centred = layer.bias_slot() is not None and moments.varies
    statistics = moments.statistics(centred=centred)
    weight = layer.matrix()
    damping = moments.choose_damping(weight, None, round(kept * weight.size), rng, centred=centred)
    try:
        problem = solvers.Problem.of(weight, statistics, damping)
        if removed_slices is None:
            left, curve = problem, solvers.curve(problem, rng, tiles)
        else:
            left = solvers.Problem.of(
                removed_slices.without_rows(weight), statistics.without(removed_slices.columns), damping
            )
            curve = solvers.curve(left, rng).of_part(removed_slices.live / weight.size)
        roundings = solvers.rounding_costs(left, sizes, rng, layer.blocks) if sizes else {}
        kept = min(kept, curve.reaching(LEAST_TRIAL_ERROR))
        pruned, error = solvers.trial(problem, max(1, round(kept * weight.size)), effort=effort)
    except FactorizationError as failure:
        raise FactorizationError(f"layer {layer.name!r}, damping {damping:g}: {failure}") from failure
    return curve, Trial(layer.stored(pruned), error), roundings
