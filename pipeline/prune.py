"""The two sweeps of `compress`: measure what pruning costs each layer, then prune segment by segment."""

from __future__ import annotations

import dataclasses
import fnmatch
import math
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence, Set
from typing import Literal

import numpy as np
import onnx_ir as ir

from netsurgeon.passes import solvers
from netsurgeon.passes._find_layers import Declined, find_layers
from netsurgeon.passes._layers import Layer
from netsurgeon.passes.prune_weights import (
    Gone,
    LayerMoments,
    LayerPlan,
    Outcome,
    PruneWeights,
    Solution,
    pattern_of,
)
from netsurgeon.passes.round_weights import Rounding, round_weights
from netsurgeon.pipeline import budget
from netsurgeon.pipeline.calibrate import Calibration
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.options import Options, Progress
from netsurgeon.pipeline.runtime import Feed
from netsurgeon.pipeline.sensitivity import Trial, float_outputs, measure_sensitivity, output_divergence
from netsurgeon.pipeline.walk import cut

LEAST_TRIAL_ERROR = 0.02
"""Relative error a layer's trial has at least: smaller ones drown in rounding and say nothing."""
TRUST = (0.5, 1.0, 0.0)
"""Exponents of the sensitivities that are tried, the usual one first."""
CLEARLY_CLOSER = 0.97
"""Another exponent is taken only where its rehearsal diverges less than this share of the usual one's."""
REHEARSED = 0.5
"""Share of the calibration inputs that plans are rehearsed on; they are compared on others."""
FEWEST_REHEARSED = 48
WIDEST_REHEARSED = 2304
"""Columns of the widest layer up to which plans are rehearsed: above, it would take as long as the pruning itself."""
CHOSEN_AGAIN_COLUMNS = 640
"""Above this width pruning takes the damping of the error curve; below, it chooses again on the current inputs."""
PROBED_INPUTS = (4, 128)
"""Fewest and most inputs on which sensitivities are measured."""
PROBE_WORK = 1e12
"""Multiply-adds that are spent on sensitivities where the fewest inputs need less and the most need more."""


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which layers are pruned.

    Attributes:
        layers: those that take part, in graph order.
        declined: every other node that holds weights, and why.
        sparsities: of layers whose sparsity the user has given.
        gone: what layers lose to trimming.
    """

    layers: tuple[Layer, ...]
    declined: tuple[Declined, ...]
    sparsities: Mapping[str, float]
    gone: Mapping[str, Gone] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def sizes(self) -> dict[str, int]:
        """Weights by layer, after trimming."""
        live = {name: gone.live for name, gone in self.gone.items()}
        return {layer.name: live.get(layer.name, layer.size) for layer in self.layers}

    @property
    def fixed(self) -> dict[str, int]:
        """Weights to keep in layers whose sparsity the user has given."""
        return {
            name: size - round(size * self.sparsities[name])
            for name, size in self.sizes.items()
            if name in self.sparsities
        }


def select(model: ir.Model, options: Options) -> Selection:
    """Choose the layers that take part.

    Raises:
        InputError: no layer can be pruned, or a name or glob of the user's matches none.
    """
    layers, declined = find_layers(model.graph)
    if not layers:
        reasons = "; ".join(f"{d.operator} {d.node!r}: {d.reason}" for d in declined[:3])
        raise InputError(f"the model has no layer that can be pruned ({reasons or 'no Conv, Gemm or MatMul weights'})")
    names = [layer.name for layer in layers]
    for glob in (*options.exclude, *options.layers):
        if not fnmatch.filter(names, glob):
            raise InputError(f"{glob!r} matches no layer: `inspect` lists their names")
    taken, sparsities = [], {}
    driven = {name for segment in cut(model.graph, [layer.node for layer in layers]) for name in segment.layers}
    for layer in layers:
        reason = _reason_to_leave(layer, options, driven)
        if reason:
            declined.append(Declined(layer.name, layer.operator, reason, layer.size))
            continue
        taken.append(layer)
        for glob, sparsity in options.layers.items():
            if fnmatch.fnmatchcase(layer.name, glob):
                sparsities[layer.name] = sparsity
    if not taken:
        raise InputError("every layer is excluded: leave at least one to be pruned")
    return Selection(tuple(taken), tuple(declined), sparsities)


def _reason_to_leave(layer: Layer, options: Options, driven: Set[str]) -> str | None:
    if layer.name not in driven:
        return "its input does not depend on the model's inputs"
    if any(fnmatch.fnmatchcase(layer.name, glob) for glob in options.exclude):
        return "excluded by the user"
    numbers = options.pattern_numbers()
    if numbers is not None:
        try:
            pattern_of(layer, numbers)
        except ValueError as error:
            return str(error)
    return None


@dataclasses.dataclass(frozen=True)
class Plan:
    """Weights to keep in each layer, and what led to it.

    Attributes:
        keep: by layer name.
        costs: error curve and sensitivity by layer name; empty where no budget was needed.
    """

    keep: Mapping[str, int]
    costs: Mapping[str, budget.Cost] = dataclasses.field(repr=False)

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
    return spread(costs, keep, selection, choose_trust(model, costs, keep, selection, calibration, progress))


def spread(costs: Mapping[str, budget.Cost], keep: int, selection: Selection, trust: float) -> Plan:
    """Spread `keep` weights over the layers without a sparsity of their own; sensitivities to the power `trust`."""
    tempered = {name: dataclasses.replace(cost, sensitivity=cost.sensitivity**trust) for name, cost in costs.items()}
    return Plan({**budget.allocate(tempered, keep), **selection.fixed}, costs)


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


def choose_trust(
    model: ir.Model,
    costs: Mapping[str, budget.Cost],
    keep: int,
    selection: Selection,
    calibration: Calibration,
    progress: Progress,
) -> float:
    """The usual exponent of the sensitivities, unless the rehearsal of another stays clearly closer to the dense model.

    How far sensitivities can be trusted differs between networks: later layers make up for some errors of earlier
    ones. So each of TRUST tempers them, and a quick rehearsal on a part of the inputs is
    judged on inputs it has not seen.
    """
    samples = calibration.samples
    if samples.count < 2 * FEWEST_REHEARSED or not can_rehearse(model, costs):
        return TRUST[0]
    part, rest = samples.split(REHEARSED, np.random.default_rng(calibration.seed))
    feeds = list(rest.subset(min(PROBED_INPUTS[1], rest.count), np.random.default_rng(calibration.seed)).batches())
    progress("rehearsing plans", 0, 1)
    plans = [spread(costs, keep, selection, trust) for trust in TRUST]
    rehearsed = rehearse(model, plans, selection, dataclasses.replace(calibration, samples=part))
    divergences = _divergences(model, rehearsed, feeds, calibration)
    best = int(np.argmin(divergences))
    return TRUST[best] if divergences[best] < CLEARLY_CLOSER * divergences[0] else TRUST[0]


def can_rehearse(model: ir.Model, names: Iterable[str]) -> bool:
    """Whether no layer of these names is too wide for a quick rehearsal."""
    wanted = set(names)
    return max(layer.columns for layer in find_layers(model.graph)[0] if layer.name in wanted) <= WIDEST_REHEARSED


def rehearse(model: ir.Model, plans: Sequence[Plan], selection: Selection, calibration: Calibration) -> list[ir.Model]:
    """The model quickly pruned by each plan, side by side, on few rows."""
    rehearsed = [model.clone() for _ in plans]
    layers = [
        {
            name: LayerPlan(keep, solvers.QUICK, plan.damping(name), gone=selection.gone.get(name))
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
    model: ir.Model, rehearsed: Sequence[ir.Model], feeds: Sequence[Feed], calibration: Calibration
) -> list[float]:
    """How far the outputs of quickly pruned models are from the dense one's."""
    sessions = [calibration.runtime.session(each) for each in (model, *rehearsed)]
    outputs = float_outputs(sessions[0], feeds[0])
    dense, *changed = ([session.run(feed, outputs) for feed in feeds] for session in sessions)
    return [output_divergence(dense, each) for each in changed]


def measure_costs(
    model: ir.Model, selection: Selection, calibration: Calibration, progress: Progress, kept: float
) -> dict[str, budget.Cost]:
    """Error curve and sensitivity of each layer without a given sparsity, from one dense sweep and a probe a layer."""
    layers = [layer for layer in selection.layers if layer.name not in selection.sparsities]
    sizes = selection.sizes
    rng = np.random.default_rng(calibration.seed)
    curves, trials, work = {}, {}, 0
    fewer = dataclasses.replace(calibration, elements=15_000_000, rows_per_column=24)
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
    """A layer's error curve, over what trimming leaves of it, and a trial of the whole layer."""
    centred = layer.bias_slot() is not None and moments.varies
    statistics = moments.all.statistics(centred=centred)
    weight = layer.matrix()
    damping = moments.choose_damping(weight, None, round(kept * weight.size), rng, centred=centred)
    problem = solvers.Problem.of(weight, statistics, damping)
    if gone is None:
        curve = solvers.curve(problem, rng)
    else:
        left = solvers.Problem.of(gone.without_rows(weight), statistics.without(gone.columns), damping)
        curve = solvers.curve(left, rng).of_part(gone.live / weight.size)
    kept = min(kept, curve.reaching(LEAST_TRIAL_ERROR))
    pruned, error = solvers.trial(problem, max(1, round(kept * weight.size)))
    return curve, Trial(layer.stored(pruned), error)


@dataclasses.dataclass(frozen=True)
class Pruned:
    """What the second sweep did.

    Attributes:
        outcomes: by layer name.
        roundings: how each weight's values were rounded.
        warnings: what the user should know.
    """

    outcomes: Mapping[str, Outcome]
    roundings: tuple[Rounding, ...]
    warnings: tuple[str, ...]


def prune_segments(
    dense: ir.Model,
    current: ir.Model,
    selection: Selection,
    plan: Plan,
    calibration: Calibration,
    options: Options,
    progress: Progress,
    solved: MutableMapping[str, Solution] | None = None,
) -> Pruned:
    """Prune `current` in place, segment by segment, each on the activations that the segments before it left.

    Columns that are gone are zeroed and the rest corrected, whatever the plan keeps. Layers whose solution is in
    `solved` take it from there, all others add theirs.

    Raises:
        FactorizationError: a damped Hessian has no Cholesky factor.
    """
    wide = {layer.name for layer in selection.layers if layer.columns // layer.blocks > CHOSEN_AGAIN_COLUMNS}
    layers = {
        name: LayerPlan(
            keep,
            options.method,
            plan.damping(name) if options.damping is None and name in wide else options.damping,
            options.pattern_numbers(),
            options.stored_values,
            selection.gone.get(name),
            options.keep_zeros,
        )
        for name, keep in plan.keep.items()
    }
    corrected = options.method not in solvers.UNCORRECTED
    known = {} if solved is None else {name: solved[name] for name in layers if name in solved}
    segments = cut(dense.graph, [layer.node for layer in find_layers(dense.graph)[0] if layer.name in layers])
    outcomes: dict[str, Outcome] = {}
    roundings: list[Rounding] = []
    for at, count, (moments,) in calibration.paired(dense, [current], dict.fromkeys(layers, corrected), known):
        progress("pruning layers", at, count)
        names = segments[at].layers
        prune = PruneWeights(layers, moments, calibration.seed, {name: known[name] for name in names if name in known})
        prune(current)
        if solved is not None:
            solved.update({name: prune.solutions[name] for name in moments})
        outcomes |= prune.outcomes
        done = [layer for layer in find_layers(current.graph)[0] if layer.name in names]
        roundings += round_weights(current, [layer.weight.name or "" for layer in done], _stored_type(options))
    return Pruned(outcomes, tuple(roundings), (*_too_few(dense, outcomes), *_unvaried(outcomes)))


def _stored_type(options: Options) -> Literal["float16", "float32"]:
    return "float32" if options.stored_values == "float32" else "float16"


def _too_few(model: ir.Model, outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    columns = {layer.name: math.ceil(layer.columns / layer.blocks) for layer in find_layers(model.graph)[0]}
    short = [name for name, outcome in outcomes.items() if outcome.samples < columns[name]]
    if short:
        yield (
            f"fewer samples than inputs were seen by {_listed(short)}: "
            "their correction leans on damping; more calibration inputs would help"
        )


def _unvaried(outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    same = [name for name, outcome in outcomes.items() if not outcome.varied]
    if same:
        yield (
            f"the same input in every sample was seen by {_listed(same)}: what matters there cannot be told; "
            "give more calibration inputs, and different ones"
        )


def _listed(names: Sequence[str]) -> str:
    layers = "layer" if len(names) == 1 else f"{len(names)} layers:"
    return f"{layers} {', '.join(names[:3])}{', …' if len(names) > 3 else ''}"
