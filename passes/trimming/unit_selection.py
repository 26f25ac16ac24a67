"""Which units go: greedily, the cheapest for what it saves, prices renewed as units go.

Prices of all units are renewed after every batch. Inside a batch, those of the cheapest units of every axis (the
pool) are renewed after every single removal, on copies that know only the pool: of two units that carry the same
signal each is cheap, and both are not. What a removal does not change is not looked at again: of a deep network it
changes two layers.
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
        least: counts that axes keep as long as others can give more, in units, (axes,); None = one.
    """

    of: Indices
    step: Indices
    fixed: Indices
    least: Indices | None = None

    @classmethod
    def rounded(cls, of: Indices, step: int = 1) -> Axes:
        """Axes of units only, all rounded to multiples of `step`."""
        count = int(of.max(initial=-1)) + 1
        return cls(of, np.full(count, step), np.zeros(count, np.int64))

    def blocks(self, remaining: Mask) -> Indices:
        """How many units each axis loses next, (axes,): down to a multiple of its step; 0 where none may go."""
        return _block(self.free(remaining), self.fixed, self.step, 1 if self.least is None else self.least)

    def block(self, axis: int, free: int) -> int:
        """The same of one axis, of which so many units are left."""
        least = 1 if self.least is None else self.least[axis]
        return int(_block(np.array(free), self.fixed[axis], self.step[axis], least))

    def pools(self, remaining: Mask) -> tuple[Indices, Indices]:
        """Units of each axis that are watched closely, and how many of them may go before all are priced anew."""
        free = self.free(remaining)
        share = np.ceil(POOL_SHARE * free).astype(np.int64)
        pool = np.minimum(free, np.maximum.reduce([np.full_like(free, POOL), share, 2 * self.step]))
        return pool, np.where(pool < free, pool // 2, pool)

    def free(self, remaining: Mask) -> Indices:
        """Units left on each axis, (axes,)."""
        return np.bincount(self.of[remaining], minlength=len(self.step))


def _block(free: Indices, fixed: Indices, step: Indices, least: Indices | int) -> Indices:
    count = free + fixed
    block = np.where(count % step, count % step, step)
    return np.where((block <= free) & (count - block >= np.maximum(least, 1)), block, 0)


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
    the prices of the cheapest units of their block, and inside it units go one by one. One index is left everywhere;
    axes go below what they are to keep at least only once nothing else can go.

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
        if len(picked) == 0 and axes.least is not None:
            axes = dataclasses.replace(axes, least=None)
            continue
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
        self._savings, self._axes, self._per_saving = savings, axes, per_saving
        self._worth = np.where(savings > 0.0, savings if per_saving else 1.0, 0.0)
        pools, self._most = axes.pools(remaining)
        units, axis, position = self._ranked(importance, np.flatnonzero(remaining))
        inside = position < pools[axis]
        # the cheapest unit outside: dearer ones in the pool wait until it is priced anew
        self._limit = float(self._ratio(importance, units[~inside]).min(initial=np.inf))
        pool = np.sort(units[inside])
        self._trial = importance.restricted(pool)
        self._pools = _by_axis(pool, axes)
        self._free, self._blocks = axes.free(remaining), axes.blocks(remaining)
        self._block_price, self._block_worth = np.zeros(len(axes.step)), np.zeros(len(axes.step))
        self._rate(np.arange(len(axes.step)))

    def choose(self, budget: float, need: float) -> Indices:
        """Units to go, in order; they save about `budget` of the `need`."""
        taken = np.zeros(len(self._axes.step), np.int64)
        picked: list[int] = []
        spent = 0.0
        while spent < budget:
            axis, ratio = self._cheapest(need - spent)
            block = self._blocks[axis] if axis >= 0 else 0
            if axis < 0 or (picked and (ratio > self._limit or taken[axis] + block > self._most[axis])):
                break
            renewed = [np.array([axis])]
            for _ in range(block):
                unit = self._take(axis)
                renewed.append(self._axes.of[self._trial.renewed()])
                picked.append(unit)
                spent += float(self._savings[unit])
            taken[axis] += block
            self._blocks[axis] = self._axes.block(axis, self._free[axis])
            self._rate(np.unique(np.concatenate(renewed)))
        return np.array(picked, np.int64)

    def _rate(self, axes: Indices) -> None:
        """Price the next block of some axes, by the cheapest units of their pools."""
        units = np.concatenate([np.zeros(0, np.int64), *(self._pools[axis] for axis in axes)])
        units, axis, position = self._ranked(self._trial, units)
        member = position < self._blocks[axis]
        units, axis = units[member], axis[member]
        for total, values in ((self._block_price, self._trial.prices(units)), (self._block_worth, self._worth[units])):
            total[axes] = 0.0
            np.add.at(total, axis, values)

    def _cheapest(self, need: float) -> tuple[int, float]:
        """Axis with the cheapest next block, and its price per worth; −1 where none may go.

        What a block saves beyond the need is worth nothing, lest a large last block miss the goal by far.
        """
        worth = np.minimum(self._block_worth, need) if self._per_saving else self._block_worth
        ratio = np.divide(self._block_price, worth, out=np.full(len(worth), np.inf), where=worth > 0.0)
        if not np.isfinite(ratio).any():
            return -1, np.inf
        return int(ratio.argmin()), float(ratio.min())

    def _take(self, axis: int) -> int:
        """Remove the cheapest unit of an axis from the copies."""
        pool = self._pools[axis]
        unit = int(pool[self._ratio(self._trial, pool).argmin()])
        self._trial.remove(np.array([unit]))
        self._pools[axis] = pool[pool != unit]
        self._free[axis] -= 1
        return unit

    def _ranked(self, importance: Importance, units: Indices) -> tuple[Indices, Indices, Indices]:
        """Units sorted by axis and price per worth, the axis of each, and its position on that axis."""
        of = self._axes.of[units]
        order = np.lexsort((self._ratio(importance, units), of))
        units, of = units[order], of[order]
        return units, of, np.arange(len(units)) - np.searchsorted(of, of)

    def _ratio(self, importance: Importance, units: Indices) -> Array:
        """Price per worth of some units; infinite where they are worth nothing."""
        prices, worth = importance.prices(units), self._worth[units]
        return np.asarray(np.divide(prices, worth, out=np.full(len(units), np.inf), where=worth > 0.0))


def _by_axis(units: Indices, axes: Axes) -> list[Indices]:
    """Units of each axis, in their order."""
    of = axes.of[units]
    ends = np.cumsum(np.bincount(of, minlength=len(axes.step)))
    return np.split(units[np.argsort(of, kind="stable")], ends[:-1]) if len(ends) else []
