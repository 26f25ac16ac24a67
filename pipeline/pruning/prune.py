"""Prune segment by segment, each on the activations that the segments before it left."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from collections.abc import Collection, Container, Iterator, Mapping, MutableMapping, Sequence

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
from netsurgeon.pipeline.pruning.row_blocks import begin_solving_rows, rows_apart

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

    Args:
        dense: the model whose outputs are aimed at.
        current: a clone of it, pruned in place.
        selection: layers that take part, and slices that are gone: zeroed whatever the plan keeps, the rest corrected.
        plan: weights that each layer keeps.
        calibration: inputs that layers are corrected on.
        options: method, damping and the type that weights are stored in.
        progress: called with stage, steps done and steps in all.
        solved: solutions by layer name, read and added to; None = none are kept.

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
    together = _SolvedTogether.of(dense, layers, selection, already_solved, calibration)
    executor, without_moments = calibration.executor, already_solved | together.followers
    on_current, ticks = dict.fromkeys(layers, corrected), functools.partial(progress, "pruning layers")
    outcomes, roundings, weight_file = dict[str, Outcome](), list[Rounding](), WeightFile.of(current)
    for at, _, (moments,) in calibration.paired_where_made(dense, [current], on_current, without_moments, ticks):
        names = [name for name in segments[at].layers if name not in together.followers]
        segment = [current_layers[name] for name in names]
        together.add_moments(moments, names, executor)
        sharing = together.sharing(names, current_layers)
        # read when they are reached: those of a large model are never held all at once
        solutions = {name: kept[name] for name in names if name in already_solved}
        begun = begin_solving(executor, layers, segment, moments, calibration.seed)
        solutions |= {name: solution.result() for name, solution in begun.items()}
        PruneWeights(layers, {}, solutions=solutions, layers=segment)(current)
        if solved is not None:
            solved.update({name: solutions[name] for name in moments})
        for name, shared in sharing.items():
            shared.take(solutions[name].shift)
        outcomes |= _outcomes(solutions, together.others, options.method)
        # Rounded before the next segment runs, whose layers then make up for the rounding as well.
        rounded = [*segment, *(layer for shared in sharing.values() for layer in shared.others)]
        roundings += round_to_stored(current, rounded, options, grids=selection.integers.grids)
        if weight_file is not None:
            weight_file.take(layer.weight for layer in segment)
    return Pruned(outcomes, tuple(roundings), tuple(_warnings(dense, outcomes)))


def begin_solving(
    executor: Executor,
    plans: Mapping[str, LayerPlan],
    layers: Sequence[Layer],
    moments: Mapping[str, Pending[LayerMoments]],
    seed: int,
) -> dict[str, Pending[Solution]]:
    """Let the layers of a segment be solved, each where its moments are; their solutions are not written yet.

    The rows of a wide layer are solved side by side where workers have cores that one of them cannot use.

    Args:
        executor: where they are solved.
        plans: of layers, by name.
        layers: of the segment.
        moments: of those that are to be solved, by name.
        seed: of the rows sampled to choose the damping.
    """
    begun: dict[str, Pending[Solution]] = {}
    for layer in (layer for layer in layers if layer.name in moments):
        problem, of_layer = LayerProblem.of(layer, plans[layer.name]), moments[layer.name]
        if parts := rows_apart(executor, problem):
            begun[layer.name] = begin_solving_rows(executor, problem, parts, of_layer, seed)
        else:
            begun[layer.name] = executor.start(solve_layer, problem, of_layer, seed, about=layer.name)
    return begun


@dataclasses.dataclass(frozen=True)
class _SolvedTogether:
    """Layers that share a weight, which stays one tensor: the first of them is solved for all.

    It is solved on its own current inputs and on the dense model's inputs of the others, which are still to come.

    Attributes:
        others: names of the others, by name of the first.
        pooled: moments of the others' dense inputs, by name of the first, until that is reached.
    """

    others: Mapping[str, tuple[str, ...]]
    pooled: dict[str, LayerMoments]

    @classmethod
    def of(
        cls,
        dense: ir.Model,
        plans: Collection[str],
        selection: Selection,
        already_solved: Collection[str],
        calibration: Calibration,
    ) -> _SolvedTogether:
        """Those of the layers with plans; of a group that is solved already no moments are taken."""
        taking_part = [
            layer
            for layer in find_layers(dense.graph)[0]
            if layer.name in plans and layer.name not in selection.integers.grids
        ]
        others = {group[0].name: tuple(layer.name for layer in group[1:]) for group in sharing_layers(taking_part)}
        first_of = {name: first for first, names in others.items() if first not in already_solved for name in names}
        pooled: dict[str, LayerMoments] = {}
        if first_of:
            for layer, moments in calibration.dense(dense, list(first_of)):
                first = first_of[layer.name]
                pooled[first] = pooled[first].pooled(moments) if first in pooled else moments
        return cls(others, pooled)

    @property
    def followers(self) -> set[str]:
        """Names of all but the first of each group."""
        return {name for names in self.others.values() for name in names}

    def add_moments(
        self, moments: MutableMapping[str, Pending[LayerMoments]], names: Sequence[str], executor: Executor
    ) -> None:
        """Pool the moments of those of a segment with what the others of their groups have."""
        for name in (name for name in names if name in self.pooled):
            moments[name] = executor.start(LayerMoments.pooled, moments[name], self.pooled.pop(name), about=name)

    def sharing(self, names: Sequence[str], layers: Mapping[str, Layer]) -> dict[str, Shared]:
        """What those of a segment have in common with others, by name, before they are solved."""
        firsts = [name for name in names if name in self.others]
        return {name: Shared.of(layers[name], [layers[other] for other in self.others[name]]) for name in firsts}


def _outcomes(
    solutions: Mapping[str, Solution], together: Mapping[str, Sequence[str]], method: str
) -> dict[str, Outcome]:
    """What became of the layers of a segment, and of those that share a weight with one of them."""
    outcomes: dict[str, Outcome] = {}
    for name, outcome in ((name, solution.outcome) for name, solution in solutions.items()):
        outcomes |= dict.fromkeys((name, *together.get(name, ())), outcome)
        logger.debug("layer %s: %s, damping %g, %.3f s", name, method, outcome.damping, outcome.seconds)
    return outcomes


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
            effort=selection.solver_effort,
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
        layers: of a segment, and those that share a weight with one of them; that is rounded once.
        options: what the weights are stored as.
        grids: names of layers whose integers are on a grid of their own, and that are left as they are.
    """
    layers = [layer for layer in layers if layer.name not in grids]
    stored_type: Values = "float32" if options.stored_values == "float32" else "float16"
    free = [layer.weight.name or "" for layer in layers if not has_scaled_rows(layer, options.stored_values)]
    roundings = round_weights(model, dict.fromkeys(free), stored_type)
    round_weights(model, own_biases(layers), stored_type)
    return roundings


def _warnings(model: ir.Model, outcomes: Mapping[str, Outcome]) -> Iterator[Message]:
    """What the calibration inputs did not tell of layers, a sentence for each kind of it."""
    if names := [name for name, outcome in outcomes.items() if not outcome.measured]:
        text = (
            f"no weight was removed from {_listed(names)}: the inputs overflow once the layers before are pruned, so "
            "that nothing can be measured there"
        )
        yield Message(text, "layers-unmeasured", layers=names)
    columns = {layer.name: math.ceil(layer.columns / layer.blocks) for layer in find_layers(model.graph)[0]}
    if names := [name for name, outcome in outcomes.items() if outcome.samples < columns[name]]:
        text = (
            f"fewer samples than inputs were seen by {_listed(names)}: their correction leans on damping; more "
            "calibration inputs would help"
        )
        yield Message(text, "few-samples", layers=names)
    if names := [name for name, outcome in outcomes.items() if not outcome.varied]:
        text = (
            f"the same input in every sample was seen by {_listed(names)}: what matters there cannot be told; give "
            "more calibration inputs, and different ones"
        )
        yield Message(text, "same-input", layers=names)


def _listed(names: Sequence[str]) -> str:
    layers = "layer" if len(names) == 1 else f"{len(names)} layers:"
    return f"{layers} {', '.join(names[:3])}{', …' if len(names) > 3 else ''}"
