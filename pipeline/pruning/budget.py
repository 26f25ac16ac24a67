"""Spread one global goal over the layers."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from netsurgeon.passes.solvers import Curve, RoundingCost
from netsurgeon.pipeline.pruning.byte_prices import bytes_a_weight

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
LEAST_SPARSITY = 0.05
"""A layer that would lose a smaller share of its weights stays dense: zeros this sparse save nothing."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What pruning one layer costs the model.

    Attributes:
        curve: error of the layer against the weights it keeps.
        size: weights of the layer.
        sensitivity: error of the model's outputs per error of the layer.
        roundings: what integers add to that error, by the largest one; empty where that was not measured.
        positions: rows that the layer sees of one input.
    """

    curve: Curve
    size: int
    sensitivity: float
    roundings: Mapping[int, RoundingCost] = dataclasses.field(default_factory=dict)
    positions: float = 1.0

    @classmethod
    def mean_of(cls, costs: Sequence[Cost]) -> Cost:
        """What several parts of the inputs say of the same layer, together."""
        curves = [cost.curve for cost in costs]
        curve = Curve(
            curves[0].kept,
            np.mean([part.errors for part in curves], axis=0),
            float(np.exp(np.mean(np.log([part.damping for part in curves])))),
        )
        roundings = {
            most: RoundingCost(
                np.mean([cost.roundings[most].errors for cost in costs], axis=0),
                np.mean([cost.roundings[most].nonzero for cost in costs], axis=0),
            )
            for most in costs[0].roundings
        }
        sensitivity, positions = np.mean([(cost.sensitivity, cost.positions) for cost in costs], axis=0).tolist()
        return cls(curve, costs[0].size, sensitivity, roundings, positions)


@dataclasses.dataclass(frozen=True)
class Choice:
    """What a layer becomes, or several.

    Attributes:
        most: largest integer; 0 = they stay floats.
        price: bytes in the file, about.
        error: of the model's outputs.
    """

    most: int
    price: float
    error: float

    @classmethod
    def sum_of(cls, choices: Collection[Choice]) -> Choice:
        """Several layers together."""
        return cls(
            max(choice.most for choice in choices),
            sum(choice.price for choice in choices),
            sum(choice.error for choice in choices),
        )


@dataclasses.dataclass(frozen=True)
class Table:
    """What a layer can become, each with its price: weights kept, and how fine the integers are that they become.

    Attributes:
        kept: weights, (choices,).
        most: largest integer, 0 = they stay floats, (choices,).
        prices: bytes in the file, about, or milliseconds of a run, (choices,).
        errors: of the model's outputs, (choices,).
    """

    kept: Ints = dataclasses.field(repr=False)
    most: Ints = dataclasses.field(repr=False)
    prices: Array = dataclasses.field(repr=False)
    errors: Array = dataclasses.field(repr=False)

    @classmethod
    def of(cls, cost: Cost, sizes: Sequence[int]) -> Table:
        """A layer's table; the first choice keeps every weight, as fine as can be.

        Args:
            cost: of the layer.
            sizes: largest integers, the finest first; none = the layer stays on floats.
        """
        shares = cost.curve.kept[np.round(cost.curve.kept * cost.size) >= 1]
        kept = np.round(shares * cost.size).astype(np.int64)
        errors = cost.curve.errors[: len(shares)]
        rows = []
        for most in sizes or (0,):
            rounding = cost.roundings.get(most)
            density = shares if rounding is None else rounding.nonzero_at(shares)
            added = 0.0 if rounding is None else rounding.error_at(shares)
            price = cost.size * bytes_a_weight(density, most or None)
            rows.append((kept, np.full(len(kept), most), price, cost.sensitivity * (errors + added)))
        return cls(*map(np.concatenate, zip(*rows, strict=True)))

    def keeping(self, kept: int) -> Table:
        """Its choices that keep so many weights, one for each size of integers."""
        rows = [self._of(size) for size in dict.fromkeys(self.most.tolist())]
        prices, errors = (
            np.array([np.interp(kept, row.kept[::-1], getattr(row, field)[::-1]) for row in rows])
            for field in ("prices", "errors")
        )
        return Table(np.full(len(rows), kept), np.array([row.most[0] for row in rows]), prices, errors)

    def cheapest_at(self, price: float) -> Choice:
        """The choice that costs least where a byte costs so much."""
        at = int(np.argmin(self.errors + price * self.prices))
        return Choice(int(self.most[at]), float(self.prices[at]), float(self.errors[at]))

    def at_price(self, price: float) -> Curve:
        """What the weights kept cost, on the integers that cost least there, where a byte costs so much."""
        kept = self._of(int(self.most[0])).kept
        costs = (self.errors + price * self.prices).reshape(-1, len(kept)).min(axis=0)
        return Curve(kept / kept[0], costs)

    def _of(self, size: int) -> Table:
        is_of_size = self.most == size
        return Table(self.kept[is_of_size], self.most[is_of_size], self.prices[is_of_size], self.errors[is_of_size])

    def cheapest_within(self, most: float) -> int:
        """The choice that costs the outputs least of those whose price is no higher."""
        least = max(most, float(self.prices.min()))  # a sum may be rounded to less
        return int(np.argmin(np.where(self.prices <= least, self.errors, np.inf)))

    def steps(self) -> list[tuple[float, float, int]]:
        """(cost per price, price saved, choice) of each step down the lower convex hull, dearer from step to step."""
        saved = self.prices[0] - self.prices
        order = np.lexsort((self.errors, saved))
        hull = _lower_hull(saved, self.errors, [0, *(int(at) for at in order if saved[at] > 0.0)])
        return [
            (float((self.errors[b] - self.errors[a]) / (saved[b] - saved[a])), float(saved[b] - saved[a]), b)
            for a, b in itertools.pairwise(hull)
        ]


def uniform(sizes: Mapping[str, int], sparsity: float) -> dict[str, int]:
    """The same share of every layer."""
    return {name: size - round(size * sparsity) for name, size in sizes.items()}


def allocate(costs: Mapping[str, Cost], keep: int) -> dict[str, int]:
    """Weights to keep in each layer, `keep` in all, so that the summed cost is least.

    Lagrangian relaxation over the layers' convex error curves (SPDY's objective, arXiv 2201.13096, whose dynamic
    programme it equals where curves are convex): the cheapest steps over all layers are taken until the budget is met.
    """
    removed = sum(cost.size for cost in costs.values()) - keep
    open_ = dict(costs)
    while True:
        removed_by_layer = _cheapest_steps(open_, removed)
        grazed = {name for name, count in removed_by_layer.items() if 0 < count < LEAST_SPARSITY * costs[name].size}
        room = sum(count for name, cost in open_.items() if name not in grazed for _, count in _steps(cost))
        if not grazed or room < removed:
            break
        open_ = {name: cost for name, cost in open_.items() if name not in grazed}
    kept = {name: cost.size - removed_by_layer.get(name, 0) for name, cost in costs.items()}
    return kept if sum(kept.values()) <= keep else _scaled(kept, keep)


def allocate_prices(tables: Mapping[str, Table], share: float) -> dict[str, int]:
    """The choice for each layer, by which all together take this share of the prices of their first choices.

    As `allocate`, of bytes or milliseconds in place of weights: the steps over all tables that cost the outputs least
    for what they save.
    """
    to_save = (1.0 - share) * sum(float(table.prices[0]) for table in tables.values())
    choices = dict.fromkeys(tables, 0)
    steps = [(slope, name, saved, choice) for name, table in tables.items() for slope, saved, choice in table.steps()]
    for _, name, saved, choice in sorted(steps):
        if saved >= to_save:  # the last step: no further than is asked
            choices[name] = tables[name].cheapest_within(tables[name].prices[choices[name]] - to_save)
            break
        choices[name], to_save = choice, to_save - saved
    return choices


def prices(costs: Mapping[str, Cost], kept: Mapping[str, int]) -> dict[str, float]:
    """Error of each layer that costs as much as the dearest weight that was removed (the Lagrange multiplier).

    A layer whose errors do not show at the outputs has no price.
    """
    dearest = max((_last_slope(cost, cost.size - kept[name]) for name, cost in costs.items()), default=0.0)
    return {name: dearest / cost.sensitivity for name, cost in costs.items() if cost.sensitivity > 0.0}


def _last_slope(cost: Cost, removed: int) -> float:
    """Cost per weight of the last of the steps by which so many weights have gone."""
    slope = 0.0
    for next_slope, count in _steps(cost):
        if removed <= 0:
            break
        slope, removed = next_slope, removed - count
    return slope


def _cheapest_steps(costs: Mapping[str, Cost], removed: int) -> dict[str, int]:
    """Weights removed from each layer, `removed` in all unless the curves end before."""
    result = dict.fromkeys(costs, 0)
    steps = [(slope, name, count) for name, cost in costs.items() for slope, count in _steps(cost)]
    for _, name, count in sorted(steps):
        step_removed = max(0, min(count, removed))
        result[name] += step_removed
        removed -= step_removed
    return result


def _scaled(kept: Mapping[str, int], keep: int) -> dict[str, int]:
    """Where even the ends of all curves keep too much: the same share of each."""
    share = keep / sum(kept.values())
    result = {name: int(count * share) for name, count in kept.items()}
    for name in sorted(result, key=lambda name: kept[name] * share - result[name], reverse=True):
        if sum(result.values()) < keep:
            result[name] += 1
    return result


def _steps(cost: Cost) -> list[tuple[float, int]]:
    """(cost per weight, weights) of each step down the lower convex hull, slopes rising."""
    removed = np.round((1.0 - cost.curve.kept) * cost.size)
    open_ = removed < cost.size  # a layer keeps one weight at least: without any it would cut the network
    removed, errors = removed[open_], cost.curve.errors[open_] * cost.sensitivity
    hull = _lower_hull(removed, errors, range(len(removed)))
    return [
        (float((errors[b] - errors[a]) / (removed[b] - removed[a])), int(removed[b] - removed[a]))
        for a, b in itertools.pairwise(hull)
    ]


def _lower_hull(x: Array, y: Array, points: Iterable[int]) -> list[int]:
    """Those of some points, in the order of x, that lie on the lower convex hull."""
    hull: list[int] = []
    for point in points:
        while len(hull) >= 2 and _above(x, y, hull[-2], hull[-1], point):
            hull.pop()
        if not hull or x[point] > x[hull[-1]]:
            hull.append(point)
    return hull


def _above(x: Array, y: Array, first: int, middle: int, last: int) -> bool:
    """Whether the middle point lies on or above the line from first to last."""
    return bool((y[middle] - y[first]) * (x[last] - x[first]) >= (y[last] - y[first]) * (x[middle] - x[first]))
