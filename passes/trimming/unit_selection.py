"""Which units go: greedily, the cheapest for what it saves, prices renewed as units go.

Prices of all units are renewed after every batch. Inside a batch, those of the cheapest units of every axis (the
pool) are renewed after every single removal, on copies that know only the pool: of two units that carry the same
signal each is cheap, and both are not.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from netsurgeon.passes.solvers import Array, Mask, single_threaded
from netsurgeon.passes.trimming.importance import Importance
from netsurgeon.passes.trimming.unit_costs import UnitCosts

Indices = npt.NDArray[np.int64]
BATCH = 0.02
"""Share of the goal that a batch saves at most, unless a single block saves more."""
POOL = 16
POOL_SHARE = 0.04
"""Units of an axis in the pool: so many, or this share of those left. Of a part of an axis half goes at most."""


@dataclasses.dataclass(frozen=True)
class Axes:
    """Units that share an axis, such as the channels of one convolution and of all it is added to.

    Attributes:
        of: axis of each unit, (units,).
        step: counts left on an axis are multiples of this, in units, (axes,).
        fixed: indices of the axis that no unit owns, in units, (axes,).
    """

    of: Indices
    step: Indices
    fixed: Indices

    @classmethod
    def rounded(cls, of: Indices, step: int = 1) -> Axes:
        """Axes of units only, all rounded to multiples of `step`."""
        count = int(of.max(initial=-1)) + 1
        return cls(of, np.full(count, step), np.zeros(count, np.int64))

    def blocks(self, remaining: Mask) -> Indices:
        """How many units each axis loses next, (axes,): down to a multiple of its step; 0 where none may go."""
        free = self._free(remaining)
        count = free + self.fixed
        block = np.where(count % self.step, count % self.step, self.step)
        return np.where((block <= free) & (block < count), block, 0)

    def pools(self, remaining: Mask) -> tuple[Indices, Indices]:
        """Units of each axis that are watched closely, and how many of them may go before all are priced anew."""
        free = self._free(remaining)
        share = np.ceil(POOL_SHARE * free).astype(np.int64)
        pool = np.minimum(free, np.maximum.reduce([np.full_like(free, POOL), share, 2 * self.step]))
        return pool, np.where(pool < free, pool // 2, pool)

    def _free(self, remaining: Mask) -> Indices:
        return np.bincount(self.of[remaining], minlength=len(self.step))


@dataclasses.dataclass(frozen=True)
class Selection:
    """Units to remove.

    Attributes:
        order: units in the order they go, (removed,).
        prices: price of each at its turn, (removed,).
        removed: True = goes, (units,).
        saved: cost they save together.
        reached: whether that is as much as was asked for.
    """

    order: Indices = dataclasses.field(repr=False)
    prices: Array = dataclasses.field(repr=False)
    removed: Mask = dataclasses.field(repr=False)
    saved: float
    reached: bool


def select_units(
    importance: Importance, costs: UnitCosts, axes: Axes, goal: float, *, per_saving: bool = True
) -> Selection:
    """Remove units until `goal` is saved, or nothing more may go.

    Where an axis has a step, the block that takes it to the next multiple goes as one: axes compete by the sum of
    the prices of the cheapest units of their block, and inside it units go one by one. One index is left everywhere.

    Args:
        importance: prices; changed as units go.
        costs: what the units weigh.
        axes: which units share an axis.
        goal: cost to save.
        per_saving: rank by price per cost saved; else by price alone.

    Raises:
        FactorizationError: an inverse Hessian is no longer positive definite.
    """
    with single_threaded():
        return _select(importance, costs, axes, goal, per_saving)


def _select(importance: Importance, costs: UnitCosts, axes: Axes, goal: float, per_saving: bool) -> Selection:
    remaining = np.ones(costs.units, bool)
    order, prices = [np.zeros(0, np.int64)], [np.zeros(0)]
    dense = costs.total(remaining)
    saved = 0.0
    while saved < goal:
        batch = _Batch(importance, costs.savings(remaining), axes, remaining.copy(), per_saving)
        picked = batch.choose(min(BATCH * goal, goal - saved), goal - saved)
        if len(picked) == 0:
            break
        order.append(picked)
        prices.append(importance.remove(picked))
        remaining[picked] = False
        saved = dense - costs.total(remaining)
    return Selection(np.concatenate(order), np.concatenate(prices), ~remaining, saved, saved >= goal)


class _Batch:
    """The next units to go, each chosen with the prices that those before it leave."""

    def __init__(self, importance: Importance, savings: Array, axes: Axes, remaining: Mask, per_saving: bool):
        self._savings, self._axes, self._remaining, self._per_saving = savings, axes, remaining, per_saving
        self._worth = np.where(savings > 0.0, savings if per_saving else 1.0, 0.0)
        pools, self._most = axes.pools(remaining)
        prices = importance.prices()
        units, axis, position = self._ranked(prices, np.flatnonzero(remaining))
        inside = position < pools[axis]
        self._pool = np.sort(units[inside])
        # the cheapest unit outside: dearer ones in the pool wait until it is priced anew
        outside = self._ratio(prices)[units[~inside]]
        self._limit = float(outside.min(initial=np.inf))
        self._trial = importance.restricted(self._pool)

    def choose(self, budget: float, need: float) -> Indices:
        """Units to go, in order; they save about `budget` of the `need`."""
        taken = np.zeros(len(self._axes.step), np.int64)
        picked: list[int] = []
        spent = 0.0
        while spent < budget:
            blocks = self._axes.blocks(self._remaining)
            axis, ratio = self._cheapest(blocks, need - spent)
            if axis < 0 or (picked and (ratio > self._limit or taken[axis] + blocks[axis] > self._most[axis])):
                break
            for _ in range(blocks[axis]):
                unit = self._take(axis)
                picked.append(unit)
                spent += float(self._savings[unit])
            taken[axis] += blocks[axis]
        return np.array(picked, np.int64)

    def _cheapest(self, blocks: Indices, need: float) -> tuple[int, float]:
        """Axis with the cheapest next block, and its price per worth; −1 where none may go.

        What a block saves beyond the need is worth nothing, lest a large last block miss the goal by far.
        """
        prices = self._trial.prices()
        units, axis, position = self._ranked(prices, self._pool[self._remaining[self._pool]])
        member = position < blocks[axis]
        total = np.bincount(axis[member], prices[units[member]], minlength=len(blocks))
        worth = np.bincount(axis[member], self._worth[units[member]], minlength=len(blocks))
        if self._per_saving:
            worth = np.minimum(worth, need)
        ratio = np.divide(total, worth, out=np.full(len(blocks), np.inf), where=worth > 0.0)
        if not np.isfinite(ratio).any():
            return -1, np.inf
        return int(ratio.argmin()), float(ratio.min())

    def _take(self, axis: int) -> int:
        """Remove the cheapest unit of an axis from the copies."""
        left = self._pool[self._remaining[self._pool] & (self._axes.of[self._pool] == axis)]
        unit = left[self._ratio(self._trial.prices())[left].argmin()]
        self._trial.remove(np.array([unit]))
        self._remaining[unit] = False
        return int(unit)

    def _ranked(self, prices: Array, units: Indices) -> tuple[Indices, Indices, Indices]:
        """Units sorted by axis and price per worth, the axis of each, and its position on that axis."""
        of = self._axes.of[units]
        order = np.lexsort((self._ratio(prices)[units], of))
        units, of = units[order], of[order]
        return units, of, np.arange(len(units)) - np.searchsorted(of, of)

    def _ratio(self, prices: Array) -> Array:
        ratio = np.full(len(prices), np.inf)
        np.divide(prices, self._worth, out=ratio, where=self._worth > 0.0)
        return ratio
