"""Put the weights of layers on integers, each corrected for the integers of the layers before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from netsurgeon.passes import solvers
from netsurgeon.passes.layers import Layer, find_layers
from netsurgeon.passes.pruning import LayerMoments, bias_shift
from netsurgeon.passes.solvers import Array, FactorizationError, Problem, Statistics

DAMPINGS = (1e-2, 1e-1, 1.0, 10.0)
"""λ that are tried, relative to the mean diagonal of H. Where inputs are few, what they suggest a weight should be is
less to be trusted than what it is."""
FEWEST_TO_CHOOSE = 32
"""With fewer samples held out the weights stay where they are, as far as integers let them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntegerOutcome:
    """What became of a layer's weight.

    Attributes:
        damping: λ, relative to the mean diagonal of H.
        error: what the layer's output loses, relative to its energy, on the inputs that it was corrected for.
        scales: of its rows, (groups x rows,), or of spans of their columns, (rows, spans).
    """

    damping: float
    error: float
    scales: Array = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class QuantizeLayers(ir.passes.InPlacePass):
    """Second-order rounding of every layer that `moments` name, and its bias in closed form.

    Attributes:
        most: largest integer of a weight, by layer name.
        moments: of the layers' inputs in the float model and in this one, by layer name.
        outcomes: by layer name: what was done is added.
        spans: columns that share a scale, by layer name, of layers of one group; one that is not named has one a row.
        lopsided: whether integers reach one further below zero than above it; scales may be negative then.
        layers: of the model, to look at; None = all. Who rounds a deep model part by part finds them once.
        is_quick: whether λ is not chosen where a layer has seen ample inputs: the first of DAMPINGS is taken.
    """

    most: Mapping[str, int]
    moments: Mapping[str, LayerMoments] = dataclasses.field(repr=False)
    outcomes: dict[str, IntegerOutcome] = dataclasses.field(default_factory=dict, repr=False)
    spans: Mapping[str, int] = dataclasses.field(default_factory=dict)
    lopsided: bool = False
    layers: Sequence[Layer] | None = dataclasses.field(default=None, repr=False)
    is_quick: bool = False

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Round in place; weights stay floats, which lie on integers times the scales of their rows.

        Raises:
            FactorizationError: a damped Hessian has no Cholesky factor; the message names layer and damping.
        """
        for layer in find_layers(model.graph)[0] if self.layers is None else self.layers:
            if layer.name in self.moments:
                self.outcomes[layer.name] = self._quantize(layer)
        return ir.passes.PassResult(model, bool(self.moments))

    def _quantize(self, layer: Layer) -> IntegerOutcome:
        moments, weight = self.moments[layer.name], layer.matrix()
        nearest = solvers.nearest_integers(weight, self.most[layer.name], layer.blocks, **self._grid(layer))
        # a bias is paid for by weights that become 0: these say whether it is worth a try, what is written decides
        centred = moments.varies and layer.may_add_bias(_lost(weight, nearest.weight))
        rounded = self._round(layer, weight, centred=centred)
        if centred and rounded is not None and not layer.may_add_bias(_lost(weight, rounded.integers.weight)):
            centred, rounded = False, self._round(layer, weight, centred=False)
        if rounded is None:
            layer.write(nearest.weight)
            return IntegerOutcome(damping=0.0, error=0.0, scales=_scales(layer, nearest))
        layer.write(rounded.integers.weight)
        if centred:
            layer.shift_bias(bias_shift(weight, layer.matrix(), rounded.statistics.means, layer.blocks))
        error = rounded.problem.relative(rounded.problem.excess(rounded.integers.weight))
        return IntegerOutcome(damping=rounded.damping, error=error, scales=_scales(layer, rounded.integers))

    def _grid(self, layer: Layer) -> dict[str, int | None]:
        """How columns share a scale, and the least integer, as solvers take them."""
        return {
            "span": self.spans.get(layer.name),
            "least": -self.most[layer.name] - 1 if self.lopsided else None,
        }

    def _round(self, layer: Layer, weight: Array, *, centred: bool) -> _Rounded | None:
        """The weight on integers, corrected; None where there is nothing to correct by, or nothing to correct.

        Args:
            layer: that it is of.
            weight: (groups, rows, columns).
            centred: whether the bias makes up for what the mean of the inputs loses.

        Raises:
            FactorizationError: a damped Hessian has no Cholesky factor.
        """
        moments, most = self.moments[layer.name], self.most[layer.name]
        statistics = moments.statistics(centred=centred)
        if not statistics.is_finite or not weight.any():
            return None
        damping = self._choose_damping(weight, moments, centred)
        try:
            problem = Problem.of(weight, statistics, damping)
        except FactorizationError as failure:
            raise FactorizationError(f"layer {layer.name!r}, damping {damping:g}: {failure}") from failure
        grid = self._grid(layer)
        integers = solvers.round_to_integers(
            problem, weight != 0.0, most, layer.blocks, span=grid["span"], least=grid["least"]
        )
        return _Rounded(integers, problem, statistics, damping)

    def _choose_damping(self, weight: Array, moments: LayerMoments, centred: bool) -> float:
        """The λ whose corrected weights, before they are rounded, are best on the rows that are held out."""
        if moments.held_out.count < FEWEST_TO_CHOOSE:
            return DAMPINGS[-1]
        if self.is_quick and moments.fit.count + moments.held_out.count >= solvers.AMPLE * weight.shape[-1]:
            return DAMPINGS[0]
        fit, held_out = moments.fit.statistics(centred=centred), moments.held_out.statistics(centred=centred)
        errors = []
        for damping in DAMPINGS:
            try:
                corrected = Problem.of(weight, fit, damping).weight
            except FactorizationError:
                errors.append(np.inf)
                continue
            errors.append(_missed(corrected, weight, held_out))
        return DAMPINGS[int(np.argmin(errors))]


class _Rounded(NamedTuple):
    """A weight on integers, and the problem that it is the answer to."""

    integers: solvers.IntegerWeight
    problem: Problem
    statistics: Statistics
    damping: float


def _lost(weight: Array, rounded: Array) -> int:
    """How many weights that are not 0 become so."""
    return int(np.count_nonzero(weight)) - int(np.count_nonzero(rounded))


def _scales(layer: Layer, integers: solvers.IntegerWeight) -> Array:
    """Scales of a layer's rows, (groups x rows,), or of all spans of them, (rows, spans), whatever its blocks."""
    return layer.of_rows(integers.scales) if integers.span is None else np.concatenate(integers.scales, axis=-1)


def _missed(corrected: Array, weight: Array, held_out: Statistics) -> float:
    """What corrected weights miss of the float model's output on other inputs, less what no weights could change."""
    return solvers.quadratic_error(corrected, solvers.target_moments(weight, held_out), held_out.gram)
