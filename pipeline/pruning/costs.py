"""Measure what removing weights costs each layer, and what that costs the model's outputs."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes import solvers
from netsurgeon.passes.layers import Layer, LayerMatrix
from netsurgeon.passes.pruning import LayerMoments, RemovedSlices, TilePattern
from netsurgeon.passes.solvers import FactorizationError
from netsurgeon.pipeline.calibration import Calibration, Selection
from netsurgeon.pipeline.execution import Pending, WeightFile, as_is
from netsurgeon.pipeline.progress import Progress
from netsurgeon.pipeline.pruning import budget
from netsurgeon.pipeline.pruning.sensitivity import Probe, Trial, measure_sensitivity
from netsurgeon.pipeline.pruning.sensitivity_by_parts import measure_by_parts, measure_from_parts

LEAST_TRIAL_ERROR = 0.02
"""Relative error a layer's trial has at least: smaller ones drown in rounding and say nothing."""


MEASURED: dict[solvers.Effort, float] = {"full": 0.5, "fast": 0.25, "hasty": 0.27}
"""Share of the rows from which error curves are measured. For a first look just so many that all but a fifth, which is
held out, are AMPLE: a damping that is chosen takes longer than these rows."""


PROBED_INPUTS, PROBED_INPUTS_FAST = (4, 128), (16, 32)
"""Fewest and most inputs on which sensitivities are measured; the second for a first look."""


PROBE_WORK, PROBE_WORK_FAST = 5e11, 1e11
"""Multiply-adds that are spent on sensitivities where the fewest inputs need less and the most need more."""


PARTED_WORK = 1e12
"""Multiply-adds: where sensitivities from the fewest inputs would need more, they are measured part by part."""


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
    layers = {layer.name: layer for layer in selection.layers if layer.name not in selection.sparsities}
    curves, trials, roundings, positions = {}, {}, {}, {}
    trial_file, executor = WeightFile.of(model), calibration.executor
    fewer = calibration.subsample(MEASURED[selection.solver_effort])
    swept = fewer.dense_where_made(model, list(layers), functools.partial(progress, "measuring layers"))
    rng: Pending[np.random.Generator] = executor.start(np.random.default_rng, calibration.seed)

    def begun() -> Iterator[Pending[LayerCost]]:
        nonlocal rng
        for layer, moments in swept:
            measurement, generator = _measurement(layer, selection, min(kept, 0.5), sizes), rng
            asked = executor.start(as_is, measurement, about=layer.name)  # its weight is sent once
            rng = executor.start(generator_behind, asked, moments, generator, about=layer.name)
            yield executor.submit(measure_cost, asked, moments, generator, about=layer.name)

    for cost in executor.gather(begun()):
        name = cost.name
        positions[name] = cost.positions / calibration.samples.fed
        curves[name], roundings[name] = cost.curve, cost.roundings
        trial = layers[name].stored(cost.trial)
        trials[name] = Trial(trial if trial_file is None else trial_file.keep(trial), cost.trial_error)
    work = sum(layer.size * positions[layer.name] for layer in layers.values())
    is_hasty = selection.asked_effort == "fast"
    probed = probed_inputs(len(layers) * work, is_hasty=is_hasty)
    feeds = list(calibration.samples.subset(min(probed, calibration.samples.count), rng.result()).batches())
    by_parts = is_hasty or PROBED_INPUTS[0] * len(layers) * work > PARTED_WORK
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


def _measurement(layer: Layer, selection: Selection, kept: float, sizes: Sequence[int]) -> Measurement:
    return Measurement(
        layer=LayerMatrix.of(layer),
        removed_slices=selection.removed_slices.get(layer.name),
        tiles=selection.pattern.on(layer) if isinstance(selection.pattern, TilePattern) else None,
        kept=kept,
        sizes=tuple(sizes),
        effort=selection.solver_effort,
    )


def probed_inputs(multiply_adds: float, *, is_hasty: bool) -> int:
    """On how many inputs sensitivities are measured, of each of which the runs of all layers are so much work."""
    probe_work, bounds = (PROBE_WORK_FAST, PROBED_INPUTS_FAST) if is_hasty else (PROBE_WORK, PROBED_INPUTS)
    return int(np.clip(probe_work / max(multiply_adds, 1.0), *bounds))


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What is measured of a layer; it needs no graph, so that it can be sent elsewhere.

    Attributes:
        layer: its weight.
        removed_slices: what it loses to trimming.
        tiles: that the weights which stay keep to.
        kept: share of the weights that a trial keeps, at most.
        sizes: largest integers that weights may be rounded to.
        effort: how long a trial may take.
    """

    layer: LayerMatrix
    removed_slices: RemovedSlices | None
    tiles: solvers.Tiles | None
    kept: float
    sizes: tuple[int, ...]
    effort: solvers.Effort


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerCost:
    """What was measured of a layer.

    Attributes:
        name: of the layer.
        positions: rows that it has seen in all.
        curve: what removing weights costs it.
        roundings: what integers cost it, by size.
        trial: a pruned weight, see `LayerMatrix.rounded`.
        trial_error: its error relative to the energy of the layer's output.
    """

    name: str
    positions: int
    curve: solvers.Curve
    roundings: dict[int, solvers.RoundingCost]
    trial: npt.NDArray[np.floating] = dataclasses.field(repr=False)
    trial_error: float


def measure_cost(measurement: Measurement, moments: LayerMoments, rng: np.random.Generator) -> LayerCost:
    """A layer's error curve and what integers cost it, over what trimming leaves, and a trial of the whole layer.

    Args:
        measurement: what is measured.
        moments: of the layer's input.
        rng: draws rows that stand for all; it stays what it is.

    Raises:
        FactorizationError: the damped Hessian has no Cholesky factor; the message names layer and damping.
    """
    rng, removed_slices = copy.deepcopy(rng), measurement.removed_slices
    centred = measurement.layer.has_room_for_bias and moments.varies
    statistics = moments.statistics(centred=centred)
    weight, kept, effort = measurement.layer.matrix(), measurement.kept, measurement.effort
    damping = moments.choose_damping(weight, None, round(kept * weight.size), rng, centred=centred)
    try:
        problem = solvers.Problem.of(weight, statistics, damping)
        if removed_slices is None:
            left, curve = problem, solvers.curve(problem, rng, measurement.tiles, effort=effort)
        else:
            left = solvers.Problem.of(
                removed_slices.without_rows(weight), statistics.without(removed_slices.columns), damping
            )
            curve = solvers.curve(left, rng, effort=effort).of_part(removed_slices.live / weight.size)
        sizes = measurement.sizes
        blocks = measurement.layer.blocks
        roundings = solvers.rounding_costs(left, sizes, rng, blocks, effort=effort) if sizes else {}
        kept = min(kept, curve.reaching(LEAST_TRIAL_ERROR))
        pruned, error = solvers.trial(problem, max(1, round(kept * weight.size)), effort=effort)
    except FactorizationError as failure:
        raise FactorizationError(f"layer {measurement.layer.name!r}, damping {damping:g}: {failure}") from failure
    return LayerCost(
        name=measurement.layer.name,
        positions=moments.positions,
        curve=curve,
        roundings=roundings,
        trial=measurement.layer.rounded(pruned),
        trial_error=error,
    )


def generator_behind(measurement: Measurement, moments: LayerMoments, rng: np.random.Generator) -> np.random.Generator:
    """The generator that the next layer's rows are drawn with: one that has drawn what `measure_cost` draws.

    So layers can be measured side by side, and have the rows that they have one after the other. Of a layer that has
    lost slices it draws rows as if they were all there, which serves as well.
    """
    rng, weight, tiles = copy.deepcopy(rng), measurement.layer.values, measurement.tiles
    if moments.held_out.count and moments.fit.count < solvers.AMPLE * weight.shape[-1]:  # the damping is chosen
        solvers.sample_rows(weight, rng)
    is_tiled = tiles is not None and measurement.removed_slices is None
    solvers.sample_rows(weight, rng, solvers.TILE_ROWS if is_tiled else 1)
    if measurement.sizes:
        solvers.sample_rows(weight, rng)
    return rng
