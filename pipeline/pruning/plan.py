"""How many weights each layer keeps, and how sensitivities are scaled to decide it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from netsurgeon.pipeline.calibration import Selection
from netsurgeon.pipeline.pruning import budget

EXPONENTS = (0.5, 1.0, 0.0)
"""Exponents of the sensitivities that are tried."""


DEPTH_BIASES = (0.0, -1.0, 1.0)
"""Logarithms of how much more an error in the last layer is made to count than one in the first; also tried."""


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

    def keeps_all(self, sizes: Mapping[str, int]) -> bool:
        """Whether no weight is to go, of so many by layer name."""
        return all(count >= sizes[name] for name, count in self.keep.items())

    def damping(self, name: str) -> float | None:
        """λ of a layer's error curve, where it has one."""
        return self.costs[name].curve.damping if name in self.costs else None


@dataclasses.dataclass(frozen=True)
class SensitivityScaling:
    """How measured sensitivities are changed before weights are spread by them.

    Attributes:
        exponent: exponent of the sensitivities; 0 = all layers count alike.
        depth_bias: logarithm of how much more the last layer counts than the first, in even steps between.
    """

    exponent: float = EXPONENTS[0]
    depth_bias: float = DEPTH_BIASES[0]

    def of(self, costs: Mapping[str, budget.Cost]) -> dict[str, budget.Cost]:
        """The costs, in graph order, with tempered sensitivities."""
        factors = np.exp(self.depth_bias * np.linspace(0.0, 1.0, len(costs)))
        return {
            name: dataclasses.replace(cost, sensitivity=cost.sensitivity**self.exponent * factor)
            for (name, cost), factor in zip(costs.items(), factors, strict=True)
        }


def spread(costs: Mapping[str, budget.Cost], keep: int, selection: Selection, scaling: SensitivityScaling) -> Plan:
    """Spread `keep` weights over the layers without a sparsity of their own."""
    scaled = scaling.of(costs)
    kept = budget.allocate(scaled, keep)
    return Plan({**kept, **selection.fixed}, costs, budget.prices(scaled, kept))
