"""Try several scalings of the sensitivities on few inputs and few layers, and take the best."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from netsurgeon.passes import solvers
from netsurgeon.passes.layers import find_layers
from netsurgeon.passes.pruning import LayerPlan, PruneWeights
from netsurgeon.pipeline.calibration import Calibration, Selection
from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.options import Progress
from netsurgeon.pipeline.pruning import budget
from netsurgeon.pipeline.pruning.plan import DEPTH_BIASES, EXPONENTS, Plan, SensitivityScaling, spread
from netsurgeon.pipeline.pruning.sensitivity import float_outputs, output_divergence

WORTH_TILTING = 1.05
"""A trust is rehearsed with tilts, too, where without one it diverges up to so many times as far as the closest."""


FEWEST_REHEARSED, MOST_REHEARSED = 48, 512
"""Inputs that plans are rehearsed on, and as many others that they are compared on: with fewer none is, and with more
it would take too long. Where there are fewer than twice the most, the two parts take turns."""


COMPARED_NUMBERS = 5_000_000
"""Numbers in the outputs of a model that plans are compared by, at most, but FEWEST_COMPARED inputs at least."""


FEWEST_COMPARED = 16


WIDEST_REHEARSED = 2304
"""Columns of the widest layer up to which plans are rehearsed: above, it would take as long as the pruning itself."""


def choose_sensitivity_scaling(
    model: ir.Model,
    costs: Mapping[str, budget.Cost],
    keep: int,
    selection: Selection,
    calibration: Calibration,
    progress: Progress,
) -> SensitivityScaling:
    """The temper whose rehearsal stays closest to the dense model; the usual one where nothing can be rehearsed.

    How far sensitivities can be trusted differs between networks: they are measured one layer at a time, but later
    layers make up for errors of earlier ones. Plans are rehearsed on a part of the inputs and compared on others.
    """
    parts = _rehearsal_parts(calibration) if can_evaluate_at_low_fidelity(model, selection.sizes) else []
    if not parts:
        return SensitivityScaling()
    found: dict[SensitivityScaling, float] = {}

    def try_(tempers: Sequence[SensitivityScaling]) -> None:
        plans = [spread(costs, keep, selection, temper) for temper in tempers]
        losses = []
        for part, others in parts:
            rehearsed = evaluate_at_low_fidelity(model, plans, selection, calibration.part(part))
            losses.append(_divergences(model, rehearsed, others, calibration))
        mean = np.mean(losses, axis=0)
        found.update(zip(tempers, np.where(np.isnan(mean), np.inf, mean).tolist(), strict=True))

    progress("rehearsing plans", 0, 2)
    try_([SensitivityScaling(trust) for trust in EXPONENTS])
    closest = min(found.values())
    if not 0.0 < closest < np.inf:  # nothing that can be compared, or nothing is lost
        return SensitivityScaling()
    progress("rehearsing plans", 1, 2)
    near = [scaling.trust for scaling, loss in found.items() if loss <= WORTH_TILTING * closest]
    try_([SensitivityScaling(trust, tilt) for trust in near for tilt in DEPTH_BIASES[1:]])
    return min(found, key=lambda temper: found[temper])


def _rehearsal_parts(calibration: Calibration) -> list[tuple[Samples, Samples]]:
    """Inputs to rehearse plans on, and others to compare them on; none where there are too few."""
    samples, rng = calibration.samples, np.random.default_rng(calibration.seed)
    try:
        one, other = samples.split(min(0.5, MOST_REHEARSED / samples.count), rng)
    except InputError:  # of a large fixed batch not even one a part
        return []
    if min(one.count, other.count) < FEWEST_REHEARSED:
        return []
    if samples.count < 2 * MOST_REHEARSED:
        return [(one, other), (other, one)]
    return [(one, other.subset(MOST_REHEARSED, rng))]


def can_evaluate_at_low_fidelity(model: ir.Model, names: Iterable[str]) -> bool:
    """Whether no layer of these names is too wide to rehearse."""
    layer_names = set(names)
    return max(layer.columns for layer in find_layers(model.graph)[0] if layer.name in layer_names) <= WIDEST_REHEARSED


def evaluate_at_low_fidelity(
    model: ir.Model, plans: Sequence[Plan], selection: Selection, calibration: Calibration
) -> list[ir.Model]:
    """The model pruned in haste by each plan, side by side, on few rows."""
    rehearsed = [model.clone() for _ in plans]
    layers = [
        {
            name: LayerPlan(keep, solvers.FAST_METHOD, plan.damping(name), gone=selection.gone.get(name))
            for name, keep in plan.keep.items()
        }
        for plan in plans
    ]
    small = dataclasses.replace(calibration, elements=6_000_000, rows_per_column=16)
    for _, _, moments in small.paired(model, rehearsed, dict.fromkeys(layers[0], True)):
        for pruned_model, planned, model_moments in zip(rehearsed, layers, moments, strict=True):
            PruneWeights(planned, model_moments, calibration.seed)(pruned_model)
    return rehearsed


def _divergences(
    model: ir.Model, rehearsed: Sequence[ir.Model], samples: Samples, calibration: Calibration
) -> list[float]:
    """How far the outputs of hastily pruned models are from the dense one's."""
    sessions = [calibration.runtime.session(compared_model) for compared_model in (model, *rehearsed)]
    rng = np.random.default_rng(calibration.seed)
    few = samples.subset(FEWEST_COMPARED, rng)
    outputs = float_outputs(sessions[0], next(few.batches()))
    numbers = sum(value.size for feed in few.batches() for value in sessions[0].run(feed, outputs).values()) / few.count
    compared = samples.subset(max(FEWEST_COMPARED, int(COMPARED_NUMBERS / max(numbers, 1.0))), rng)
    runs = ([session.run(feed, outputs) for session in sessions] for feed in compared.batches())
    dense, *changed = zip(*runs, strict=True)
    return [output_divergence(dense, outputs) for outputs in changed]
