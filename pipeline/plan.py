"""How many weights each layer keeps: error curves, sensitivities, and hasty rehearsals of what they suggest."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from netsurgeon.passes import solvers
from netsurgeon.passes._find_layers import find_layers
from netsurgeon.passes._layers import Layer
from netsurgeon.passes._linalg import FactorizationError
from netsurgeon.passes.prune_weights import Gone, LayerMoments, LayerPlan, PruneWeights
from netsurgeon.pipeline import budget
from netsurgeon.pipeline.calibrate import Calibration
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.options import Options, Progress
from netsurgeon.pipeline.samples import Samples
from netsurgeon.pipeline.selection import Selection
from netsurgeon.pipeline.sensitivity import Trial, float_outputs, measure_sensitivity, output_divergence

LEAST_TRIAL_ERROR = 0.02
"""Relative error a layer's trial has at least: smaller ones drown in rounding and say nothing."""
TRUSTS = (0.5, 1.0, 0.0)
"""Exponents of the sensitivities that are rehearsed."""
TILTS = (0.0, -1.0, 1.0)
"""Logarithms of how much more an error in the last layer is made to count than one in the first, also rehearsed."""
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
MEASURED, MEASURED_IN_HASTE = 0.5, 0.25
"""Share of the rows from which error curves are measured; the second where the selection is not patient."""
PROBED_INPUTS = (4, 128)
"""Fewest and most inputs on which sensitivities are measured."""
PROBE_WORK = 1e12
"""Multiply-adds that are spent on sensitivities where the fewest inputs need less and the most need more."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Weights to keep in each layer, and what led to it.

    Attributes:
        keep: by layer name.
        costs: error curve and sensitivity by layer name; empty where no budget was needed.
        prices: error of a layer, relative to its output's energy, that one weight less is worth; empty likewise.
    """

    keep: Mapping[str, int]
    costs: Mapping[str, budget.Cost] = dataclasses.field(repr=False)
    prices: Mapping[str, float] = dataclasses.field(default_factory=dict, repr=False)

    def damping(self, name: str) -> float | None:
        """λ of a layer's error curve, where it has one."""
        return self.costs[name].curve.damping if name in self.costs else None


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
    return spread(costs, keep, selection, choose_temper(model, costs, keep, selection, calibration, progress))


@dataclasses.dataclass(frozen=True)
class Temper:
    """How measured sensitivities are changed before weights are spread by them.

    Attributes:
        trust: exponent of the sensitivities; 0 = all layers count alike.
        tilt: logarithm of how much more the last layer counts than the first, in even steps between.
    """

    trust: float = TRUSTS[0]
    tilt: float = TILTS[0]

    def of(self, costs: Mapping[str, budget.Cost]) -> dict[str, budget.Cost]:
        """The costs, in graph order, with tempered sensitivities."""
        factors = np.exp(self.tilt * np.linspace(0.0, 1.0, len(costs)))
        return {
            name: dataclasses.replace(cost, sensitivity=cost.sensitivity**self.trust * factor)
            for (name, cost), factor in zip(costs.items(), factors, strict=True)
        }


def spread(costs: Mapping[str, budget.Cost], keep: int, selection: Selection, temper: Temper) -> Plan:
    """Spread `keep` weights over the layers without a sparsity of their own."""
    tempered = temper.of(costs)
    kept = budget.allocate(tempered, keep)
    return Plan({**kept, **selection.fixed}, costs, budget.prices(tempered, kept))


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


def choose_temper(
    model: ir.Model,
    costs: Mapping[str, budget.Cost],
    keep: int,
    selection: Selection,
    calibration: Calibration,
    progress: Progress,
) -> Temper:
    """The temper whose rehearsal stays closest to the dense model; the usual one where nothing can be rehearsed.

    How far sensitivities can be trusted differs between networks: they are measured one layer at a time, but later
    layers make up for errors of earlier ones. Plans are rehearsed on a part of the inputs and compared on others.
    """
    parts = _rehearsal_parts(calibration) if can_rehearse(model, selection.sizes) else []
    if not parts:
        return Temper()
    found: dict[Temper, float] = {}

    def try_(tempers: Sequence[Temper]) -> None:
        plans = [spread(costs, keep, selection, temper) for temper in tempers]
        losses = []
        for part, others in parts:
            rehearsed = rehearse(model, plans, selection, calibration.part(part))
            losses.append(_divergences(model, rehearsed, others, calibration))
        mean = np.mean(losses, axis=0)
        found.update(zip(tempers, np.where(np.isnan(mean), np.inf, mean).tolist(), strict=True))

    progress("rehearsing plans", 0, 2)
    try_([Temper(trust) for trust in TRUSTS])
    closest = min(found.values())
    if not 0.0 < closest < np.inf:  # nothing that can be compared, or nothing is lost
        return Temper()
    progress("rehearsing plans", 1, 2)
    near = [each.trust for each, loss in found.items() if loss <= WORTH_TILTING * closest]
    try_([Temper(trust, tilt) for trust in near for tilt in TILTS[1:]])
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


def can_rehearse(model: ir.Model, names: Iterable[str]) -> bool:
    """Whether no layer of these names is too wide to rehearse."""
    wanted = set(names)
    return max(layer.columns for layer in find_layers(model.graph)[0] if layer.name in wanted) <= WIDEST_REHEARSED


def rehearse(model: ir.Model, plans: Sequence[Plan], selection: Selection, calibration: Calibration) -> list[ir.Model]:
    """The model pruned in haste by each plan, side by side, on few rows."""
    rehearsed = [model.clone() for _ in plans]
    layers = [
        {
            name: LayerPlan(keep, solvers.HASTY, plan.damping(name), gone=selection.gone.get(name))
            for name, keep in plan.keep.items()
        }
        for plan in plans
    ]
    small = dataclasses.replace(calibration, elements=6_000_000, rows_per_column=16)
    for _, _, moments in small.paired(model, rehearsed, dict.fromkeys(layers[0], True)):
        for each, planned, found in zip(rehearsed, layers, moments, strict=True):
            PruneWeights(planned, found, calibration.seed)(each)
    return rehearsed


def _divergences(
    model: ir.Model, rehearsed: Sequence[ir.Model], samples: Samples, calibration: Calibration
) -> list[float]:
    """How far the outputs of hastily pruned models are from the dense one's."""
    sessions = [calibration.runtime.session(each) for each in (model, *rehearsed)]
    rng = np.random.default_rng(calibration.seed)
    few = samples.subset(FEWEST_COMPARED, rng)
    outputs = float_outputs(sessions[0], next(few.batches()))
    numbers = sum(value.size for feed in few.batches() for value in sessions[0].run(feed, outputs).values()) / few.count
    compared = samples.subset(max(FEWEST_COMPARED, int(COMPARED_NUMBERS / max(numbers, 1.0))), rng)
    runs = ([session.run(feed, outputs) for session in sessions] for feed in compared.batches())
    dense, *changed = zip(*runs, strict=True)
    return [output_divergence(dense, each) for each in changed]


def measure_costs(
    model: ir.Model, selection: Selection, calibration: Calibration, progress: Progress, kept: float
) -> dict[str, budget.Cost]:
    """Error curve and sensitivity of each layer without a given sparsity, from one dense sweep and a probe a layer."""
    layers = [layer for layer in selection.layers if layer.name not in selection.sparsities]
    sizes = selection.sizes
    rng = np.random.default_rng(calibration.seed)
    curves, trials, work = {}, {}, 0
    fewer = calibration.thinned(MEASURED if selection.is_patient else MEASURED_IN_HASTE)
    for done, (layer, moments) in enumerate(fewer.dense(model, [layer.name for layer in layers])):
        progress("measuring layers", done, len(layers))
        work += layer.size * moments.positions
        curves[layer.name], trials[layer.name] = _cost(
            layer, moments, selection.gone.get(layer.name), min(kept, 0.5), rng
        )
    probed = int(np.clip(PROBE_WORK * calibration.samples.count / (len(layers) * work), *PROBED_INPUTS))
    feeds = list(calibration.samples.subset(min(probed, calibration.samples.count), rng).batches())
    progress("measuring sensitivities", 0, 1)
    sensitivities = measure_sensitivity(model, trials, feeds, calibration.runtime)
    return {
        layer.name: budget.Cost(curves[layer.name], sizes[layer.name], sensitivities[layer.name]) for layer in layers
    }


def _cost(
    layer: Layer, moments: LayerMoments, gone: Gone | None, kept: float, rng: np.random.Generator
) -> tuple[solvers.Curve, Trial]:
    """A layer's error curve, over what trimming leaves of it, and a trial of the whole layer.

    Raises:
        FactorizationError: the damped Hessian has no Cholesky factor; the message names layer and damping.
    """
    centred = layer.bias_slot() is not None and moments.varies
    statistics = moments.statistics(centred=centred)
    weight = layer.matrix()
    damping = moments.choose_damping(weight, None, round(kept * weight.size), rng, centred=centred)
    try:
        problem = solvers.Problem.of(weight, statistics, damping)
        if gone is None:
            curve = solvers.curve(problem, rng)
        else:
            left = solvers.Problem.of(gone.without_rows(weight), statistics.without(gone.columns), damping)
            curve = solvers.curve(left, rng).of_part(gone.live / weight.size)
        kept = min(kept, curve.reaching(LEAST_TRIAL_ERROR))
        pruned, error = solvers.trial(problem, max(1, round(kept * weight.size)))
    except FactorizationError as failure:
        raise FactorizationError(f"layer {layer.name!r}, damping {damping:g}: {failure}") from failure
    return curve, Trial(layer.stored(pruned), error)
