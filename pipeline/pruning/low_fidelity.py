"""Try several scalings of the sensitivities on few inputs and few layers, and take the best."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from netsurgeon.passes import solvers
from netsurgeon.passes.layers import find_layers, layers_by_name
from netsurgeon.passes.pruning import LayerPlan, PruneWeights
from netsurgeon.pipeline.calibration import Calibration, Selection
from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.progress import Progress, Ticks, no_ticks, part_of
from netsurgeon.pipeline.pruning import budget
from netsurgeon.pipeline.pruning.plan import DEPTH_BIASES, EXPONENTS, Plan, SensitivityScaling, spread
from netsurgeon.pipeline.pruning.prune import begin_solving
from netsurgeon.pipeline.runtime import counted
from netsurgeon.pipeline.verification import float_outputs, output_divergence

LOW_FIDELITY_INPUTS = (48, 512)
"""Fewest and most inputs that plans are tried on, and as many others that they are compared on. Where there are fewer
than twice the most, the two parts take turns."""


LOW_FIDELITY_WORK, LOW_FIDELITY_WORK_FAST = 5e9, 3e9
"""Multiply-adds of a model on the inputs that plans are tried on, where the fewest need less and the most need more;
the second for a first look."""


COMPARED_NUMBERS = 5_000_000
"""Numbers in the outputs of a model that plans are compared by, at most, but FEWEST_COMPARED inputs at least."""


FEWEST_COMPARED = 16


WIDEST_AT_LOW_FIDELITY = 2304
"""Columns of the widest layer up to which plans are tried: above, it would take as long as the pruning itself."""


def choose_sensitivity_scaling(
    model: ir.Model,
    costs: Mapping[str, budget.Cost],
    keep: int,
    selection: Selection,
    calibration: Calibration,
    progress: Progress,
) -> SensitivityScaling:
    """The scaling whose plan stays closest to the dense model at low fidelity; the usual one where none can be tried.

    How far sensitivities can be trusted differs between networks: they are measured one layer at a time, but later
    layers make up for errors of earlier ones. Plans are tried on a part of the inputs and compared on others.

    Args:
        model: the dense model.
        costs: error curve and sensitivity of each layer, by name.
        keep: weights that are left in these layers together.
        selection: layers that take part.
        calibration: inputs that plans are tried and compared on.
        progress: called with stage, steps done and steps in all.
    """
    can = selection.asked_effort != "fast" and can_evaluate_at_low_fidelity(model, selection.sizes)
    parts = _evaluation_parts(calibration, low_fidelity_inputs(costs)) if can else []
    if not parts:
        return SensitivityScaling()
    divergences: dict[SensitivityScaling, float] = {}

    def try_(scalings: Sequence[SensitivityScaling], ticks: Ticks) -> None:
        plans = [spread(costs, keep, selection, scaling) for scaling in scalings]
        losses = []
        for number, (part, others) in enumerate(parts):
            ticks_of_part = part_of(ticks, number, len(parts))
            pruned_models = evaluate_at_low_fidelity(model, plans, selection, calibration.part(part), ticks_of_part)
            losses.append(_divergences(model, pruned_models, others, calibration))
        mean = np.mean(losses, axis=0)
        divergences.update(zip(scalings, np.where(np.isnan(mean), np.inf, mean).tolist(), strict=True))

    ticks = functools.partial(progress, "trying plans")
    try_([SensitivityScaling(exponent) for exponent in EXPONENTS], part_of(ticks, 0, 2))
    closest = min(divergences, key=lambda scaling: divergences[scaling])
    if not 0.0 < divergences[closest] < np.inf:  # nothing that can be compared, or nothing is lost
        return SensitivityScaling()
    try_([dataclasses.replace(closest, depth_bias=depth_bias) for depth_bias in DEPTH_BIASES[1:]], part_of(ticks, 1, 2))
    return min(divergences, key=lambda scaling: divergences[scaling])


def low_fidelity_inputs(costs: Mapping[str, budget.Cost], *, is_hasty: bool = False) -> int:
    """How many inputs plans are tried on, by what pruning costs the layers."""
    return inputs_at_low_fidelity(sum(cost.size * cost.positions for cost in costs.values()), is_hasty=is_hasty)


def inputs_at_low_fidelity(multiply_adds: float, *, is_hasty: bool) -> int:
    """How many inputs plans are tried on: fewer where each is more work, for more positions stand in each."""
    work = LOW_FIDELITY_WORK_FAST if is_hasty else LOW_FIDELITY_WORK
    return int(np.clip(work / max(multiply_adds, 1.0), *LOW_FIDELITY_INPUTS))


def _evaluation_parts(calibration: Calibration, most: int) -> list[tuple[Samples, Samples]]:
    """At most so many inputs to try plans on, and others to compare them on; none where there are too few."""
    samples, rng = calibration.samples, np.random.default_rng(calibration.seed)
    try:
        one, other = samples.split(min(0.5, most / samples.count), rng)
    except InputError:  # of a large fixed batch not even one a part
        return []
    if min(one.count, other.count) < LOW_FIDELITY_INPUTS[0]:
        return []
    if samples.count < 2 * most:
        return [(one, other), (other, one)]
    return [(one, other.subset(most, rng))]


def can_evaluate_at_low_fidelity(model: ir.Model, names: Iterable[str]) -> bool:
    """Whether no layer of these names is too wide to be pruned only to compare plans."""
    layer_names = set(names)
    return (
        max(layer.columns for layer in find_layers(model.graph)[0] if layer.name in layer_names)
        <= WIDEST_AT_LOW_FIDELITY
    )


def evaluate_at_low_fidelity(
    model: ir.Model,
    plans: Sequence[Plan],
    selection: Selection,
    calibration: Calibration,
    ticks: Ticks = no_ticks,
) -> list[ir.Model]:
    """The model pruned with little effort by each plan, side by side, on few rows; ticks are those of a sweep.

    Args:
        model: the dense model.
        plans: weights kept, one plan a model that is given back.
        selection: layers that take part.
        calibration: inputs that layers are corrected on.
        ticks: called for every batch and every model of a segment.
    """
    pruned_models = [model.clone() for _ in plans]
    layers = [
        {
            name: LayerPlan(
                keep,
                solvers.FAST_METHOD,
                plan.damping(name),
                pattern=selection.pattern,
                removed_slices=selection.removed_slices.get(name),
                effort=selection.solver_effort,
            )
            for name, keep in plan.keep.items()
        }
        for plan in plans
    ]
    layers_of_models = [layers_by_name(pruned_model.graph) for pruned_model in pruned_models]
    small = dataclasses.replace(calibration, max_elements=calibration.max_elements // 5, rows_per_column=16)
    executor, observed = calibration.executor, dict.fromkeys(layers[0], True)
    for at, count, moments in small.paired_where_made(model, pruned_models, observed, ticks=ticks):
        segments = [
            [by_name[name] for name in of_model] for by_name, of_model in zip(layers_of_models, moments, strict=True)
        ]
        begun = [
            begin_solving(executor, planned, segment, of_model, calibration.seed)
            for planned, segment, of_model in zip(layers, segments, moments, strict=True)
        ]
        for pruned_model, planned, segment, pending in zip(pruned_models, layers, segments, begun, strict=True):
            ticks(at, count)
            solutions = {name: solution.result() for name, solution in pending.items()}
            PruneWeights(planned, {}, solutions=solutions, layers=segment)(pruned_model)
    return pruned_models


def _divergences(
    model: ir.Model, pruned_models: Sequence[ir.Model], samples: Samples, calibration: Calibration
) -> list[float]:
    """How far the outputs of models pruned at low fidelity are from the dense one's."""
    sessions = [counted(calibration.runtime.session(entry), samples.mask) for entry in (model, *pruned_models)]
    rng = np.random.default_rng(calibration.seed)
    first_samples = samples.subset(FEWEST_COMPARED, rng)
    outputs = float_outputs(sessions[0].run(next(first_samples.batches())))
    numbers = (
        sum(value.size for feed in first_samples.batches() for value in sessions[0].run(feed, outputs).values())
        / first_samples.count
    )
    compared = samples.subset(max(FEWEST_COMPARED, int(COMPARED_NUMBERS / max(numbers, 1.0))), rng)
    runs = ([session.run(feed, outputs) for session in sessions] for feed in compared.batches())
    dense, *changed = zip(*runs, strict=True)
    return [output_divergence(dense, outputs) for outputs in changed]
