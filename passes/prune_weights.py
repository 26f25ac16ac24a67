"""Prune the weights of layers and correct what is left, from calibration statistics."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes import solvers
from netsurgeon.passes._find_layers import find_layers
from netsurgeon.passes._layers import Layer
from netsurgeon.passes._linalg import Array, FactorizationError
from netsurgeon.passes._masks import Pattern
from netsurgeon.passes._nodes import tensor
from netsurgeon.passes._quantize import quantize
from netsurgeon.passes.statistics import Moments, Statistics


@dataclasses.dataclass(frozen=True)
class LayerPlan:
    """What is to happen to one layer.

    Attributes:
        keep: weights that may stay nonzero; where it is fewer than all, no more than are nonzero now do.
        method: one of `solvers.METHODS`, or `solvers.HASTY`.
        damping: λ relative to the mean diagonal of H; None = chosen on held-out samples.
        pattern: N and M of an N:M pattern.
        values: "codebook" = at most 255 distinct values, fewer where that costs little, times a power of two for each
            row (see `has_scaled_rows`); anything else leaves them free.
        gone: columns and rows that are trimmed; they are not in `keep`.
        keep_zeros: the support is what is not zero now, and neither `keep` nor `method` choose it.
        patient: whether there is time for the best that the method can do.
        price: error, relative to the energy of the layer's output, that one weight less is worth; None = not known.
    """

    keep: int
    method: str = "auto"
    damping: float | None = None
    pattern: tuple[int, int] | None = None
    values: str = "float32"
    gone: Gone | None = dataclasses.field(default=None, compare=False)
    keep_zeros: bool = False
    patient: bool = True
    price: float | None = None


@dataclasses.dataclass(frozen=True)
class Gone:
    """What a layer loses because units are trimmed.

    Attributes:
        columns: True = nobody makes this input any more: its weights are zero, (groups x blocks, columns / blocks).
        rows: True = nobody reads this output any more: its other weights stay as they are, (groups x blocks, rows).
    """

    columns: npt.NDArray[np.bool_] = dataclasses.field(repr=False)
    rows: npt.NDArray[np.bool_] = dataclasses.field(repr=False)

    @property
    def live(self) -> int:
        """Weights that are left."""
        return int(((~self.rows).sum(axis=1) * (~self.columns).sum(axis=1)).sum())

    def without_rows(self, weight: Array) -> Array:
        """A weight (groups x blocks, rows, columns / blocks) whose lost rows are zero."""
        return np.where(self.rows[:, :, None], 0.0, weight)

    def restored(self, pruned: Array, weight: Array) -> Array:
        """`pruned` with the lost rows of `weight`."""
        return np.where(self.rows[:, :, None], np.where(self.columns[:, None, :], 0.0, weight), pruned)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What was done to one layer.

    Attributes:
        damping: λ that was used, relative to the mean diagonal of the Hessian.
        samples: rows its statistics were taken from.
        varied: whether they differed.
        seconds: time the solver took.
    """

    damping: float
    samples: int
    varied: bool
    seconds: float


@dataclasses.dataclass(frozen=True)
class Solution:
    """What a layer's problem has come to, to be written into the layer.

    Attributes:
        weight: of the shape of `Layer.matrix()`.
        shift: of the bias, (groups x rows,); None where the bias stays.
        outcome: how it came about.
    """

    weight: Array = dataclasses.field(repr=False)
    shift: Array | None = dataclasses.field(repr=False)
    outcome: Outcome


@dataclasses.dataclass(frozen=True)
class LayerMoments:
    """A layer's streamed moments, a part of the samples held out to choose the damping.

    Attributes:
        fit: most of the rows.
        held: the others.
        positions: rows the layer has seen in all, most of which may not have been drawn; each costs its weights'
            number of multiply-adds.
        ridge: what damping multiplies, see `Statistics`.
    """

    fit: Moments
    held: Moments
    positions: int = 0
    ridge: Array | None = dataclasses.field(default=None, repr=False)

    @property
    def varies(self) -> bool:
        """Whether the input differs from sample to sample; where not, centring would leave nothing to go by."""
        return self.fit.varies or self.held.varies

    def statistics(self, gone: Gone | None = None, *, centred: bool) -> Statistics:
        """Of all samples."""
        return self._statistics(self.fit.merged(self.held), gone, centred)

    def choose_damping(
        self, weight: Array, gone: Gone | None, keep: int, rng: np.random.Generator, *, centred: bool
    ) -> float:
        """λ for `weight` (groups, rows, columns) with `keep` weights left; the largest where nothing is held out."""
        if self.held.count == 0:
            return max(solvers.DAMPINGS)
        fit, held = (self._statistics(part, gone, centred) for part in (self.fit, self.held))
        return solvers.choose_damping(weight, fit, held, keep, rng)

    def _statistics(self, moments: Moments, gone: Gone | None, centred: bool) -> Statistics:
        statistics = dataclasses.replace(moments.statistics(centred=centred), ridge=self.ridge)
        return statistics if gone is None else statistics.without(gone.columns, gone.rows)


@dataclasses.dataclass(frozen=True)
class PruneWeights(ir.passes.InPlacePass):
    """L-OBS and its descendants on every layer that `plan` and `moments` name.

    Attributes:
        plan: by layer name.
        moments: by layer name.
        seed: of the rows sampled to choose the damping.
        solutions: by layer name: those that are known are written without moments, those that are found are added.
    """

    plan: Mapping[str, LayerPlan]
    moments: Mapping[str, LayerMoments] = dataclasses.field(repr=False)
    seed: int = 0
    solutions: dict[str, Solution] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """What was done, by layer name."""
        return {name: solution.outcome for name, solution in self.solutions.items()}

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Prune in place.

        Raises:
            FactorizationError: a damped Hessian has no Cholesky factor; the message names layer and damping.
        """
        layers = [layer for layer in find_layers(model.graph)[0] if layer.name in self.plan]
        for layer in layers:
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
        centred = plan.method not in solvers.UNCORRECTED and layer.bias_slot() is not None and moments.varies
        dense = layer.matrix()
        weight = plan.gone.without_rows(dense) if plan.gone else dense
        damping = plan.damping
        if damping is None:
            damping = self._choose_damping(weight, plan, moments, centred)
        statistics = moments.statistics(plan.gone, centred=centred)
        try:
            problem = solvers.Problem.of(weight, statistics, damping)
            pattern = pattern_of(layer, plan.pattern) if plan.pattern else None
            if plan.keep_zeros:
                pruned = solvers.correct(problem, weight != 0)
            else:
                pruned = solvers.prune(problem, _kept(plan, weight), plan.method, pattern, patient=plan.patient)
            if plan.values == "codebook":
                pruned = quantize(pruned, problem, plan.price, scaled=has_scaled_rows(layer, plan.values))
        except FactorizationError as error:
            raise FactorizationError(f"layer {layer.name!r}, damping {damping:g}: {error}") from error
        written = plan.gone.restored(pruned, dense) if plan.gone else pruned
        layer.write(written)
        shift = bias_shift(layer, dense, statistics) if centred else None
        if shift is not None:
            layer.shift_bias(shift)
        return Solution(
            written, shift, Outcome(damping, statistics.count, moments.varies, time.perf_counter() - started)
        )

    def _choose_damping(self, weight: Array, plan: LayerPlan, moments: LayerMoments, centred: bool) -> float:
        if plan.method == "magnitude" and plan.gone is None:  # nothing is solved
            return solvers.DAMPINGS[0]
        return moments.choose_damping(weight, plan.gone, plan.keep, np.random.default_rng(self.seed), centred=centred)


def _kept(plan: LayerPlan, weight: Array) -> int:
    """How many weights may stay: all, or no more than there are, lest a refit fills zeros that the model came with."""
    live = plan.gone.live if plan.gone else weight.size
    return weight.size if plan.keep >= live else min(plan.keep, int(np.count_nonzero(weight)))


def bias_shift(layer: Layer, dense: Array, statistics: Statistics) -> Array:
    """``W x̄ − Ŵ x̂̄`` over all groups and blocks, (groups x rows,): keeps each output's mean.

    What a branch that is added behind the layer has lost on average is made up for, too.
    """
    current = layer.matrix()
    moved = dense @ statistics.dense_mean[..., None] - current @ statistics.current_mean[..., None]
    if statistics.lost_mean is not None:
        moved = moved + statistics.lost_mean[..., None]
    return np.asarray(moved[..., 0].reshape(layer.groups, layer.blocks, layer.rows).sum(axis=1).ravel())


def has_scaled_rows(layer: Layer, values: str) -> bool:
    """Whether the rows of a layer share a codebook up to powers of two, as `PackWeights` can store them."""
    return values == "codebook" and layer.blocks == 1 and tensor(layer.weight).numpy().itemsize > 2


def pattern_of(layer: Layer, pattern: tuple[int, int]) -> Pattern:
    """The N:M pattern on a layer's columns.

    Raises:
        ValueError: its input channels are not a multiple of M.
    """
    kept, size = pattern
    channels = layer.columns // layer.blocks // layer.kernel_size
    if channels % size:
        raise ValueError(f"layer {layer.name!r} has {channels} input channels a group, not a multiple of {size}")
    return Pattern(kept, size, layer.pattern_columns)
