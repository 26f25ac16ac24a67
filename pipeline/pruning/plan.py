"""How many weights each layer keeps, and how sensitivities are scaled to decide it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from netsurgeon.pipeline.calibration import Selection
from netsurgeon.pipeline.pruning import budget

EXPONENTS = (0.5, 1.0, 0.0)
"""Exponents of the sensitivities that are tried."""


DEPTH_BIASES = (0.0, -1.0, 1.0)
"""Logarithms of how much more an error in the last layer is made to count than one in the first; also tried."""


HALVINGS = 10
"""Of the share of bytes that costs as much as a plan."""


WORTH = 2.75
"""Without a goal one per cent more of bytes is spent where it saves so many per cent of what the outputs lose."""


ENOUGH = 0.01
"""Nor is it worth bytes to lose far less than this share of the information in the outputs."""


MOST_BYTES = 0.7
"""Share of the bytes of the finest integers beyond which nothing is worth more: the mode is asked for to save them."""


PRICES = np.geomspace(1e-4, 1e3, 57)
"""Prices of a byte that are tried, in units of the loss by the coarsest integers over the bytes of the finest."""


TINY = float(np.finfo(float).tiny)


@dataclasses.dataclass(frozen=True)
class Plan:
    """Weights to keep in each layer, and what led to it.

    Attributes:
        keep: by layer name.
        costs: error curve and sensitivity by layer name; empty where no budget was needed.
        prices: error of a layer, relative to its output's energy, that one weight less is worth; empty likewise.
        most: largest integer of the weights that are to run on integers; empty = one for all.
    """

    keep: Mapping[str, int]
    costs: Mapping[str, budget.Cost] = dataclasses.field(repr=False)
    prices: Mapping[str, float] = dataclasses.field(default_factory=dict, repr=False)
    most: Mapping[str, int] = dataclasses.field(default_factory=dict, repr=False)

    def keeps_all(self, sizes: Mapping[str, int]) -> bool:
        """Whether no weight is to go, of so many by layer name."""
        return all(count >= sizes[name] for name, count in self.keep.items())

    def kept_share(self, sizes: Mapping[str, int]) -> float:
        """Share of the weights that is kept, of so many by layer name."""
        return sum(self.keep.values()) / sum(sizes.values())

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

    @classmethod
    def mean_of(cls, scalings: Sequence[SensitivityScaling]) -> SensitivityScaling:
        """What several parts of the inputs have chosen, together."""
        return cls(*np.mean([dataclasses.astuple(scaling) for scaling in scalings], axis=0).tolist())

    def of(self, costs: Mapping[str, budget.Cost]) -> dict[str, budget.Cost]:
        """The costs, in graph order, with tempered sensitivities."""
        factors = np.exp(self.depth_bias * np.linspace(0.0, 1.0, len(costs)))
        return {
            name: dataclasses.replace(cost, sensitivity=cost.sensitivity**self.exponent * factor)
            for (name, cost), factor in zip(costs.items(), factors, strict=True)
        }


def spread(costs: Mapping[str, budget.Cost], keep: int, selection: Selection, scaling: SensitivityScaling) -> Plan:
    """Spread `keep` weights over the layers without a sparsity of their own.

    Args:
        costs: error curve and sensitivity of each layer, by name.
        keep: weights left in these layers together.
        selection: layers that take part, with those whose sparsity is fixed.
        scaling: how far sensitivities are trusted.
    """
    scaled = scaling.of(costs)
    kept = budget.allocate(scaled, keep)
    return Plan({**kept, **selection.fixed}, costs, budget.prices(scaled, kept))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByteBudget:
    """Zeros and bits of one model that pay for each other: bytes of the file, of which each layer has its share.

    Attributes:
        costs: error curves, sensitivities and costs of rounding, by layer name.
        sizes: largest integers of a weight, the finest first.
        floats: layers that stay on floats.
    """

    costs: Mapping[str, budget.Cost] = dataclasses.field(repr=False)
    sizes: Sequence[int]
    floats: Collection[str]

    def spread(self, share: float, selection: Selection, scaling: SensitivityScaling) -> Plan:
        """The plan whose weights take this share of the bytes that they take at their finest, none of them removed."""
        tables = self._tables(scaling)
        choices = budget.allocate_prices(tables, share)
        keep = {name: int(tables[name].kept[choice]) for name, choice in choices.items()}
        most = {name: int(tables[name].most[choice]) for name, choice in choices.items() if name not in self.floats}
        return Plan({**keep, **selection.fixed}, self.costs, most=most)

    def frugal(self, kept: Mapping[str, int], keep: int, scaling: SensitivityScaling) -> Plan:
        """The plan that keeps so many weights, and spends as many bytes on them as are worth it: see `WORTH`.

        Of the plans that lose least by their bytes it has the least (loss + ENOUGH) · bytes ** WORTH.

        Args:
            kept: weights of the layers in which these are given.
            keep: weights of all other layers together.
            scaling: of the sensitivities.
        """
        tables = self._tables(scaling)
        integers = [table for name, table in tables.items() if name not in self.floats]
        coarsest = sum(float(table.errors[table.most == table.most[-1]].min()) for table in integers)
        finest = sum(float(table.prices[0]) for table in integers)
        plans = [self._at_price(tables, kept, keep, price=price * max(coarsest / finest, TINY)) for price in PRICES]
        small = [plan for plan in plans if plan[0].price <= MOST_BYTES * finest] or plans[-1:]
        _, counts, most = min(small, key=lambda plan: np.log(plan[0].error + ENOUGH) + WORTH * np.log(plan[0].price))
        free = {name: cost for name, cost in scaling.of(self.costs).items() if name not in kept}
        return Plan(counts, self.costs, budget.prices(free, counts), most)

    def _at_price(
        self, tables: Mapping[str, budget.Table], kept: Mapping[str, int], keep: int, *, price: float
    ) -> tuple[budget.Choice, dict[str, int], dict[str, int]]:
        """The best plan where a byte costs so much: what its integers come to, weights kept, and the integers."""
        free = {
            name: budget.Cost(table.at_price(price), self.costs[name].size, sensitivity=1.0)
            for name, table in tables.items()
            if name not in kept
        }
        counts = {**kept, **budget.allocate(free, keep)}
        choices = {
            name: table.keeping(counts[name]).cheapest_at(price)
            for name, table in tables.items()
            if name not in self.floats
        }
        return budget.Choice.sum_of(choices.values()), counts, {name: choice.most for name, choice in choices.items()}

    def share_of(self, plan: Plan, scaling: SensitivityScaling) -> float:
        """The share of bytes whose plan costs the outputs about as much as a plan that removes weights alone."""
        tables, scaled = self._tables(scaling), scaling.of(self.costs)
        allowed = sum(
            cost.sensitivity * float(np.interp(-plan.keep[name] / cost.size, -cost.curve.kept, cost.curve.errors))
            for name, cost in scaled.items()
        )
        low, high = 0.0, 1.0
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            choices = budget.allocate_prices(tables, middle)
            is_dearer = sum(float(tables[name].errors[choice]) for name, choice in choices.items()) > allowed
            low, high = (middle, high) if is_dearer else (low, middle)
        return high

    def _tables(self, scaling: SensitivityScaling) -> dict[str, budget.Table]:
        return {
            name: budget.Table.of(cost, () if name in self.floats else self.sizes)
            for name, cost in scaling.of(self.costs).items()
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimeBudget(ByteBudget):
    """Zeros of one model by what each saves of the time that kernels can do without them.

    Where `ByteBudget` speaks of bytes there are milliseconds here, those above the fewest that the layer can take: a
    share of 0 is as fast as zeros can make the model. A layer that they do not make faster keeps all its weights.

    Attributes:
        milliseconds: of a run of a layer by the share of its weights kept, (points,) each, by layer name; those that
            are missing do not become faster.
    """

    milliseconds: Mapping[str, Callable[[budget.Array], budget.Array]] = dataclasses.field(repr=False)

    def _tables(self, scaling: SensitivityScaling) -> dict[str, budget.Table]:
        return {name: self._priced(name, table) for name, table in super()._tables(scaling).items()}

    def _priced(self, name: str, table: budget.Table) -> budget.Table:
        milliseconds = np.zeros(len(table.kept))
        if name in self.milliseconds and name not in self.floats:
            milliseconds = self.milliseconds[name](table.kept / self.costs[name].size)
        return dataclasses.replace(table, prices=milliseconds - milliseconds.min())
