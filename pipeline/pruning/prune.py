"""Prune segment by segment, each on the activations that the segments before it left."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from collections.abc import Container, Iterator, Mapping, MutableMapping, Sequence

import numpy as np
import onnx_ir as ir

from netsurgeon.passes import solvers
from netsurgeon.passes.codebooks import Rounding, Values, round_weights
from netsurgeon.passes.layers import Layer, Shared, find_layers, layers_by_name, own_biases, sharing_layers
from netsurgeon.passes.pruning import (
    LayerMoments,
    LayerPlan,
    LayerProblem,
    Outcome,
    PruneWeights,
    Solution,
    has_scaled_rows,
    solve_layer,
)
from netsurgeon.pipeline.calibration import Calibration, Selection, cut
from netsurgeon.pipeline.execution import Executor, Pending, WeightFile
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.progress import Progress
from netsurgeon.pipeline.pruning.plan import Plan

logger = logging.getLogger(__name__)

CHOSEN_AGAIN_COLUMNS = 640
"""Above this width pruning takes the damping of the error curve; below, it chooses again on the current inputs."""
FAST_SHARE = 0.5
"""Share of the rows that statistics are taken from with little effort."""


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
    warnings: tuple[Message, ...]


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
    `solved` take it from there, all others add theirs. Layers that share a weight are solved together, when the first
    of them is reached, on its current inputs and the dense model's inputs of the others, which are still to come: the
    weight stays one tensor.

    Raises:
        FactorizationError: a damped Hessian has no Cholesky factor.
    """
    if options.integer_mode and not selection.removed_slices and plan.keeps_all(selection.sizes):
        return Pruned({}, (), ())  # nothing to make up for: integers are corrected later, for what they do themselves
    calibration = calibration if selection.effort == "full" else calibration.subsample(FAST_SHARE)
    corrected = options.method not in solvers.UNCORRECTED
    layers = _layer_plans(selection, plan, options, corrected=corrected)
    kept = {} if solved is None else solved
    already_solved = {name for name in layers if name in kept}
    segments = cut(dense.graph, [layer.node for layer in find_layers(dense.graph)[0] if layer.name in layers])
    current_layers = layers_by_name(current.graph)  # once: a deep model has as many segments as layers
    together = _solved_together(dense, layers, selection)
    followers = {other for others in together.values() for other in others}
    unsolved = {name: others for name, others in together.items() if name not in already_solved}
    pooled = _pooled_moments(dense, unsolved, calibration)
    outcomes: dict[str, Outcome] = {}
    roundings: list[Rounding] = []
    weight_file = WeightFile.of(current)
    ticks = functools.partial(progress, "pruning layers")
    executor, without_moments = calibration.executor, {*already_solved, *followers}
    on_current = dict.fromkeys(layers, corrected)
    for at, _, (moments,) in calibration.paired_where_made(dense, [current], on_current, without_moments, ticks):
        names = [name for name in segments[at].layers if name not in followers]
        segment = [current_layers[name] for name in names]
        for name in (name for name in names if name in pooled):
            moments[name] = executor.start(LayerMoments.pooled, moments[name], pooled.pop(name), about=name)
        sharing = _sharing(names, together, current_layers)
        # read when they are reached: those of a large model are never held all at once
        solutions = {name: kept[name] for name in names if name in already_solved}
        begun = begin_solving(executor, layers, segment, moments, calibration.seed)
        solutions |= {name: solution.result() for name, solution in begun.items()}
        PruneWeights(layers, {}, solutions=solutions, layers=segment)(current)
        if solved is not None:
            solved.update({name: solutions[name] for name in moments})
        for name, shared in sharing.items():
            shared.take(solutions[name].shift)
        outcomes |= _outcomes(solutions, together, options.method)
        # Rounded before the next segment runs, whose layers then make up for the rounding as well.
        roundings += round_to_stored(current, segment, options, grids=selection.integers.grids)
        if weight_file is not None:
            weight_file.take(layer.weight for layer in segment)
    warnings = (*_unmeasured(outcomes), *_too_few(dense, outcomes), *_unvaried(outcomes))
    return Pruned(outcomes, tuple(roundings), warnings)


def begin_solving(
    executor: Executor,
    plans: Mapping[str, LayerPlan],
    layers: Sequence[Layer],
    moments: Mapping[str, Pending[LayerMoments]],
    seed: int,
) -> dict[str, Pending[Solution]]:
    """Let the layers of a segment be solved, each where its moments are; their solutions are not written yet.

    Args:
        executor: where they are solved.
        plans: of layers, by name.
        layers: of the segment.
        moments: of those that are to be solved, by name.
        seed: of the rows sampled to choose the damping.
    """
    return {
        layer.name: executor.start(
            solve_layer, LayerProblem.of(layer, plans[layer.name]), moments[layer.name], seed, about=layer.name
        )
        for layer in layers
        if layer.name in moments
    }


def _sharing(
    names: Sequence[str], together: Mapping[str, Sequence[str]], layers: Mapping[str, Layer]
) -> dict[str, Shared]:
    """What those of a segment have in common with others, by name, before they are solved."""
    firsts = [name for name in names if name in together]
    return {name: Shared.of(layers[name], [layers[other] for other in together[name]]) for name in firsts}


def _outcomes(
    solutions: Mapping[str, Solution], together: Mapping[str, Sequence[str]], method: str
) -> dict[str, Outcome]:
    """What became of the layers of a segment, and of those that share a weight with one of them."""
    outcomes: dict[str, Outcome] = {}
    for name, outcome in ((name, solution.outcome) for name, solution in solutions.items()):
        outcomes |= dict.fromkeys((name, *together.get(name, ())), outcome)
        logger.debug("layer %s: %s, damping %g, %.3f s", name, method, outcome.damping, outcome.seconds)
    return outcomes


def _solved_together(
    dense: ir.Model, layers: Mapping[str, LayerPlan], selection: Selection
) -> dict[str, tuple[str, ...]]:
    """Layers that share a weight: the first of them, by name, with the others."""
    taking_part = [
        layer
        for layer in find_layers(dense.graph)[0]
        if layer.name in layers and layer.name not in selection.integers.grids
    ]
    return {group[0].name: tuple(layer.name for layer in group[1:]) for group in sharing_layers(taking_part)}


def _pooled_moments(
    dense: ir.Model, together: Mapping[str, Sequence[str]], calibration: Calibration
) -> dict[str, LayerMoments]:
    """Moments of the dense inputs of all but the first of the layers that share a weight, by name of the first."""
    first = {name: head for head, others in together.items() for name in others}
    pooled: dict[str, LayerMoments] = {}
    if first:
        for layer, moments in calibration.dense(dense, list(first)):
            pooled_so_far = pooled.get(first[layer.name])
            pooled[first[layer.name]] = moments if pooled_so_far is None else pooled_so_far.pooled(moments)
    return pooled


def _layer_plans(selection: Selection, plan: Plan, options: Options, *, corrected: bool) -> dict[str, LayerPlan]:
    """What is done to each layer of the plan, by name."""
    by_name = {layer.name: layer for layer in selection.layers}
    # The damping of a wide layer's error curve is kept: choosing it again costs several factorisations of a large H.
    wide = {layer.name for layer in selection.layers if layer.columns // layer.blocks > CHOSEN_AGAIN_COLUMNS}
    keeps_damping = wide if options.damping is None and corrected else set()
    grids = selection.integers.grids
    keeps, keep_biases = dict(plan.keep), set()
    for group in sharing_layers([layer for layer in selection.layers if layer.name in keeps]):
        names = [layer.name for layer in group]
        # what each should keep on its own account; one weight keeps as much of itself as they do together
        keeps |= dict.fromkeys(names, round(np.mean([keeps[name] for name in names])))
        keep_biases |= set(names) if any(layer.bias_slot() is None for layer in group) else set()
    return {
        name: LayerPlan(
            keep=keep,
            method=options.method,
            damping=plan.damping(name) if name in keeps_damping else options.damping,
            pattern=selection.pattern,
            values=options.stored_values,
            removed_slices=selection.removed_slices.get(name),
            keep_zeros=options.keep_zeros,
            effort="hasty" if selection.asked_effort == "fast" else selection.effort,
            price=plan.prices.get(name),
            grid=grids[name].of(by_name[name]) if name in grids else None,
            keeps_bias=name in keep_biases,
        )
        for name, keep in keeps.items()
    }


def round_to_stored(
    model: ir.Model, layers: Sequence[Layer], options: Options, *, grids: Container[str] = ()
) -> list[Rounding]:
    """Round the weights and biases of layers, in place, to the type that they are stored in; how the weights were.

    Args:
        model: that has the layers.
        layers: of a segment.
        options: what the weights are stored as.
        grids: names of layers whose integers are on a grid of their own, and that are left as they are.
    """
    layers = [layer for layer in layers if layer.name not in grids]
    stored_type: Values = "float32" if options.stored_values == "float32" else "float16"
    free = [layer.weight.name or "" for layer in layers if not has_scaled_rows(layer, options.stored_values)]
    roundings = round_weights(model, free, stored_type)
    round_weights(model, own_biases(layers), stored_type)
    return roundings


def _too_few(model: ir.Model, outcomes: Mapping[str, Outcome]) -> Iterator[Message]:
    columns = {layer.name: math.ceil(layer.columns / layer.blocks) for layer in find_layers(model.graph)[0]}
    short = [name for name, outcome in outcomes.items() if outcome.samples < columns[name]]
    if short:
        yield Message(
            f"fewer samples than inputs were seen by {_listed(short)}: "
            "their correction leans on damping; more calibration inputs would help",
            "few-samples",
            layers=short,
        )


def _unmeasured(outcomes: Mapping[str, Outcome]) -> Iterator[Message]:
    names = [name for name, outcome in outcomes.items() if not outcome.measured]
    if names:
        yield Message(
            f"no weight was removed from {_listed(names)}: the inputs overflow once the layers before are pruned, so "
            "that nothing can be measured there",
            "layers-unmeasured",
            layers=names,
        )


def _unvaried(outcomes: Mapping[str, Outcome]) -> Iterator[Message]:
    same = [name for name, outcome in outcomes.items() if not outcome.varied]
    if same:
        yield Message(
            f"the same input in every sample was seen by {_listed(same)}: what matters there cannot be told; "
            "give more calibration inputs, and different ones",
            "same-input",
            layers=same,
        )


def _listed(names: Sequence[str]) -> str:
    layers = "layer" if len(names) == 1 else f"{len(names)} layers:"
    return f"{layers} {', '.join(names[:3])}{', …' if len(names) > 3 else ''}"
