"""Prune the weights of layers and correct what is left, from calibration statistics."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from netsurgeon.passes.layers import Layer, find_layers
from netsurgeon.passes.pruning.layer_moments import LayerMoments
from netsurgeon.passes.pruning.layer_plan import LayerPlan, Outcome, Solution
from netsurgeon.passes.pruning.layer_problem import LayerProblem, solve_layer


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
            if layer.name not in self.solutions and layer.name in self.moments:
                problem = LayerProblem.of(layer, self.plan[layer.name])
                self.solutions[layer.name] = solve_layer(problem, self.moments[layer.name], self.seed)
            if layer.name in self.solutions:
                solution = self.solutions[layer.name]
                layer.write(solution.weight)
                if solution.shift is not None:
                    layer.shift_bias(solution.shift)
        return ir.passes.PassResult(model, bool(self.solutions))
