"""Prune the weights of layers and correct what is left, from calibration statistics."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from netsurgeon.passes import solvers
from netsurgeon.passes.codebooks import quantize
from netsurgeon.passes.graph import tensor
from netsurgeon.passes.layers import Layer, find_layers
from netsurgeon.passes.pruning.layer_moments import LayerMoments
from netsurgeon.passes.pruning.layer_plan import LayerPlan, Outcome, Solution
from netsurgeon.passes.pruning.patterns import SharePattern
from netsurgeon.passes.solvers import Array, FactorizationError, Statistics, Tiles

SPARSE = 0.5
"""Share of nonzero weights below which a weight from which nothing is to be removed keeps its zeros."""


@dataclasses.dataclass(frozen=True)
class PruneWeights(ir.passes.InPlacePass):
    """L-OBS and its descendants on every layer that `plan` and `moments` name.

    Attributes:
        plan: by layer name.
        moments: by layer name.
        seed: of the rows sampled to choose the damping.
        solutions: by layer name: those that are known are written without moments, those that are found are added.
        layers: of the model, to look at; None = all. Who prunes a deep model part by part finds them once.
    """

    plan: Mapping[str, LayerPlan]
    moments: Mapping[str, LayerMoments] = dataclasses.field(repr=False)
    seed: int = 0
    solutions: dict[str, Solution] = dataclasses.field(default_factory=dict, repr=False)
    layers: Sequence[Layer] | None = dataclasses.field(default=None, repr=False)

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """What was done, by layer name."""
        return {name: solution.outcome for name, solution in self.solutions.items()}

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Prune in place.

        Raises:
            FactorizationError: a damped Hessian has no Cholesky factor; the message names layer and damping.
        """
        layers = find_layers(model.graph)[0] if self.layers is None else self.layers
        for layer in (layer for layer in layers if layer.name in self.plan):
            if layer.name in self.solutions:
                solution = self.solutions[layer.name]
                layer.write(solution.weight)
                if solution.shift is not None:
                    layer.shift_bias(solution.shift)
            elif layer.name in self.moments:
                self.solutions[layer.name] = self._prune(layer)
        return ir.passes.PassResult(model, bool(self.solutions))

    def _prune(self, layer: Layer) -> Solution:
        started = time.perf_counter()
        plan, moments = self.plan[layer.name], self.moments[layer.name]
        if plan.method in solvers.UNCORRECTED:
            moments = dataclasses.replace(moments, ridge=None)
        dense = layer.matrix()
        shifts_bias = not plan.keeps_bias and layer.may_add_bias(_lost(plan, dense))
        centred = plan.method not in solvers.UNCORRECTED and shifts_bias and moments.varies
        weight = plan.removed_slices.without_rows(dense) if plan.removed_slices else dense
        if moments.fit.count == 0:  # a layer in a body that none of these inputs passes through
            return _left_alone(layer, dense, plan, 0)
        statistics = moments.statistics(plan.removed_slices, centred=centred)
        if not statistics.is_finite:
            return _left_alone(layer, dense, plan, statistics.count)
        damping = plan.damping
        if damping is None:
            damping = self._choose_damping(weight, plan, moments, centred)
        try:
            problem = solvers.Problem.of(weight, statistics, damping)
            pattern = plan.pattern.on(layer) if plan.pattern else None
            if plan.keep_zeros or _is_left_sparse(plan, weight):
                pruned = solvers.correct(problem, weight != 0)
            else:
                pruned = solvers.prune(problem, _kept(plan, weight), plan.method, pattern, effort=plan.effort)
            if plan.grid is not None and plan.method not in solvers.UNCORRECTED:
                pruned = solvers.round_to_grid(problem, pruned, plan.grid)
            elif plan.grid is None and plan.values == "codebook":
                pruned = quantize(pruned, problem, plan.price, scaled=has_scaled_rows(layer, plan.values))
        except FactorizationError as error:
            raise FactorizationError(f"layer {layer.name!r}, damping {damping:g}: {error}") from error
        written = plan.removed_slices.restored(pruned, dense) if plan.removed_slices else pruned
        layer.write(written)
        shift = bias_shift(layer, dense, statistics) if centred else None
        if shift is not None:
            layer.shift_bias(shift)
        return Solution(
            written.astype(tensor(layer.weight).numpy().dtype) if layer.scale == 1.0 else written,
            shift,
            Outcome(
                damping=damping,
                samples=statistics.count,
                varied=moments.varies,
                seconds=time.perf_counter() - started,
                slots=pattern.slots(pruned != 0) if isinstance(pattern, Tiles) else None,
            ),
        )

    def _choose_damping(self, weight: Array, plan: LayerPlan, moments: LayerMoments, centred: bool) -> float:
        if plan.method == "magnitude" and plan.removed_slices is None:  # nothing is solved
            return solvers.DAMPINGS[0]
        return moments.choose_damping(
            weight, plan.removed_slices, plan.keep, np.random.default_rng(self.seed), centred=centred
        )


def _is_left_sparse(plan: LayerPlan, weight: Array) -> bool:
    """Whether nothing is to go from a weight of which most is zero: a correction that filled it would cost bytes."""
    live = plan.removed_slices.live if plan.removed_slices else weight.size
    return bool(plan.keep >= live and np.count_nonzero(weight) < SPARSE * live)


def _left_alone(layer: Layer, dense: Array, plan: LayerPlan, samples: int) -> Solution:
    """A layer of whose inputs nothing is known keeps every weight but those of inputs that are gone."""
    removed = plan.removed_slices
    weight = dense if removed is None else np.where(removed.columns[:, None, :], 0.0, dense)
    layer.write(weight)
    return Solution(weight, None, Outcome(damping=0.0, samples=samples, varied=True, seconds=0.0, measured=False))


def _lost(plan: LayerPlan, dense: Array) -> int:
    """How many weights that are not zero will be, at least."""
    nonzero = int(np.count_nonzero(dense))
    if plan.keep_zeros:
        return nonzero - int(np.count_nonzero(plan.removed_slices.without_rows(dense))) if plan.removed_slices else 0
    kept = dense.size * plan.pattern.kept // plan.pattern.size if isinstance(plan.pattern, SharePattern) else plan.keep
    return max(nonzero - kept, 0)


def _kept(plan: LayerPlan, weight: Array) -> int:
    """How many weights may stay: all, or no more than there are, lest a refit fills zeros that the model came with."""
    live = plan.removed_slices.live if plan.removed_slices else weight.size
    return weight.size if plan.keep >= live else min(plan.keep, int(np.count_nonzero(weight)))


def bias_shift(layer: Layer, dense: Array, statistics: Statistics) -> Array:
    """``W x̄ − Ŵ x̂̄`` over all groups and blocks, (groups x rows,): keeps each output's mean.

    What a branch that is added behind the layer has lost on average is made up for, too.
    """
    current = layer.matrix()
    moved = dense @ statistics.dense_mean[..., None] - current @ statistics.current_mean[..., None]
    if statistics.residual_mean is not None:
        moved = moved + statistics.residual_mean[..., None]
    return np.asarray(moved[..., 0].reshape(layer.groups, layer.blocks, layer.rows).sum(axis=1).ravel())


def has_scaled_rows(layer: Layer, values: str) -> bool:
    """Whether the rows of a layer share a codebook up to powers of two, as `PackWeights` can store them."""
    return values == "codebook" and layer.blocks == 1 and tensor(layer.weight).numpy().itemsize > 2
