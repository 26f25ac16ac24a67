"""Optimal Brain Surgeon on the rows of a layer: the paper's static ranking, and the exact sweep.

Saliency and correction of weight q of a row w, with H the damped Hessian (arXiv 1705.07565, eqs. 4 and 5):

    L_q = w_q² / (2 [H⁻¹]_qq)          δw = − w_q / [H⁻¹]_qq · H⁻¹ e_q
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from netsurgeon.passes.solvers.linalg import Array, Mask
from netsurgeon.passes.solvers.masks import NOfM, Pattern, choose
from netsurgeon.passes.solvers.parallel import for_each_part

PIVOTS = 64
"""Pivots kept lazily before the inverse is downdated by one matrix product."""
BATCH_BYTES = 64_000_000
MOST_ROWS = 64


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The order in which each row loses its weights, and what each removal costs.

    Attributes:
        order: column removed at each step, (rows, columns); -1 where a pattern forbids further removals.
        losses: growth of the layer's error δE at each step, (rows, columns); infinite where none is removed.
    """

    order: npt.NDArray[np.int64] = dataclasses.field(repr=False)
    losses: Array = dataclasses.field(repr=False)

    def mask(self, keep: int) -> Mask:
        """Rows' losses sorted together: the mask (rows, columns) that keeps `keep` weights."""
        rows, columns = self.order.shape
        removed = min(rows * columns - keep, int(np.isfinite(self.losses).sum()))
        cheapest = np.argsort(self._costs().ravel(), kind="stable")[:removed]
        mask = np.ones((rows, columns), bool)
        mask[cheapest // columns, self.order.ravel()[cheapest]] = False
        return mask

    def scores(self) -> Array:
        """The root of what each weight costs in its turn, (rows, columns)."""
        scores = np.empty_like(self.losses)
        np.put_along_axis(scores, self.order, np.sqrt(self._costs()), axis=1)
        return scores

    def _costs(self) -> Array:
        """A row's weights leave in its own order, so that a cheap step behind a dear one waits for it."""
        return np.asarray(np.maximum.accumulate(self.losses, axis=1))

    def errors(self) -> Array:
        """δE after removing 0, 1, … all weights, cheapest first, (rows x columns + 1,)."""
        steps = self.losses.ravel()[np.argsort(self._costs().ravel(), kind="stable")]
        return np.concatenate([[0.0], np.cumsum(steps)])


def sweep(weight: Array, inverse: Array, pattern: NOfM | None = None) -> Sweep:
    """Exact OBS (arXiv 2208.11580): remove the least salient weight, correct the row, downdate H⁻¹, repeat.

    Args:
        weight: rows W₀, (groups, rows, columns).
        inverse: damped H⁻¹, (groups, columns, columns).
        pattern: N:M pattern that the removals respect.

    Returns:
        The sweep of all groups' rows, (groups x rows, columns).
    """
    groups, rows, columns = weight.shape
    flat = weight.reshape(-1, columns)
    order = np.empty(flat.shape, np.int64)
    losses = np.empty(flat.shape)

    def work(part: npt.NDArray[np.int64]) -> None:
        order[part], losses[part] = _sweep_batch(flat[part], inverse, part // rows, pattern)

    for_each_part(work, groups * rows, int(np.clip(BATCH_BYTES // (8 * columns * columns), 1, MOST_ROWS)))
    return Sweep(order, losses)


def support(weight: Array, inverse: Array, keep: int, pattern: Pattern | None = None) -> Mask:
    """Mask (groups, rows, columns) of the `keep` weights that leave last in the sweep, as far as `pattern` allows.

    N:M is kept while weights leave. Tiles are chosen behind a free sweep, by what each weight has cost in its turn.
    """
    if isinstance(pattern, NOfM):
        return sweep(weight, inverse, pattern).mask(0).reshape(weight.shape)
    swept = sweep(weight, inverse)
    if pattern is None:
        return swept.mask(keep).reshape(weight.shape)
    return choose(swept.scores().reshape(weight.shape), keep, pattern)


def _sweep_batch(
    weight: Array, inverse: Array, owner: npt.NDArray[np.int64], pattern: NOfM | None
) -> tuple[npt.NDArray[np.int64], Array]:
    """`sweep` on rows (rows, columns), each with the inverse of its group `owner` (rows,)."""
    rows, columns = weight.shape
    order, losses = np.full((rows, columns), -1, np.int64), np.full((rows, columns), np.inf)
    alive = np.broadcast_to(np.arange(columns), (rows, columns))
    inverses = [inverse[g] for g in owner]
    room = None if pattern is None else _RemovalQuota(pattern, rows)
    total = columns if pattern is None else columns - pattern.kept * (columns // pattern.size)
    for start in range(0, total, PIVOTS):
        count = min(PIVOTS, total - start)
        block = _pivot_block(weight, inverses, count, alive, room)
        picked = np.take_along_axis(alive, block.pivots, axis=1)
        order[:, start : start + count], losses[:, start : start + count] = picked, block.losses
        left = np.nonzero(~block.removed)[1].reshape(rows, -1)
        weight = np.take_along_axis(block.weight, left, axis=1)
        alive = np.take_along_axis(alive, left, axis=1)
        inverses = [_downdate(*step) for step in zip(inverses, block.updates, left, strict=True)]
    return order, losses


def _downdate(inverse: Array, updates: Array, left: npt.NDArray[np.int64]) -> Array:
    """One row's inverse on the columns that are `left`, less its updates (pivots, columns)."""
    smaller = inverse.take(left, axis=0).take(left, axis=1)
    updates = updates.take(left, axis=1)
    smaller -= updates.T @ updates
    return smaller


@dataclasses.dataclass(frozen=True)
class _Block:
    pivots: npt.NDArray[np.int64]
    losses: Array
    updates: Array
    weight: Array
    removed: Mask


class _RemovalQuota:
    """How many removals each group of M still allows, per row."""

    def __init__(self, pattern: NOfM, rows: int):
        self.tuple_of = pattern.tuple_of
        self.left = np.full((rows, len(pattern.tuples)), pattern.size - pattern.kept)

    def closed(self, alive: npt.NDArray[np.int64]) -> Mask:
        return np.asarray(np.take_along_axis(self.left, self.tuple_of[alive], axis=1) == 0)

    def take(self, columns: npt.NDArray[np.int64]) -> None:
        self.left[np.arange(len(columns)), self.tuple_of[columns]] -= 1


def _pivot_block(
    weight: Array, inverses: list[Array], count: int, alive: npt.NDArray[np.int64], room: _RemovalQuota | None
) -> _Block:
    """Remove `count` weights of each row; the inverses stay, their downdates are returned as (rows, count, columns)."""
    rows, columns = weight.shape
    every = np.arange(rows)
    diagonal = np.stack([np.diagonal(inverse) for inverse in inverses])
    updates = np.zeros((rows, count, columns))
    pivots, losses = np.empty((rows, count), np.int64), np.empty((rows, count))
    removed = np.zeros((rows, columns), bool)
    for step in range(count):
        with np.errstate(over="ignore"):  # of weights about 1e38, where a rounding error is left of a removed one
            score = weight * weight / diagonal
        score[removed] = np.inf
        if room is not None:
            score[room.closed(alive)] = np.inf
        q = score.argmin(axis=1)
        earlier = updates[:, :step]
        column = np.stack([inverse[i] for inverse, i in zip(inverses, q, strict=True)])
        column -= (earlier[every, :, q][:, None, :] @ earlier)[:, 0]
        pivot = diagonal[every, q]
        pivots[:, step], losses[:, step] = q, score[every, q]
        weight = weight - (weight[every, q] / pivot)[:, None] * column
        updates[:, step] = column / np.sqrt(pivot)[:, None]
        diagonal = np.maximum(diagonal - updates[:, step] ** 2, np.finfo(float).tiny)
        removed[every, q] = True
        if room is not None:
            room.take(alive[every, q])
    return _Block(pivots, losses, updates, weight, removed)


def lobs(weight: Array, inverse: Array, keep: int, pattern: Pattern | None = None) -> Array:
    """L-OBS as published: ranked once on the dense H⁻¹, corrections added in that order, H⁻¹ never downdated.

    Args:
        weight: (groups, rows, columns).
        inverse: damped H⁻¹, (groups, columns, columns).
        keep: weights kept over the whole layer.
        pattern: that the weights kept respect.

    Returns:
        The pruned and corrected weight, (groups, rows, columns).
    """
    diagonal = np.einsum("gii->gi", inverse)[:, None, :]
    saliency = weight * weight / (2.0 * diagonal)
    mask = choose(np.sqrt(saliency), keep, pattern)
    order = np.argsort(np.where(mask, np.inf, saliency), axis=-1, kind="stable")
    removed = (~mask).sum(axis=-1)
    result = weight.copy()
    for g in range(len(weight)):
        _correct_in_order(result[g], inverse[g], order[g], removed[g])
    return np.where(mask, result, 0.0)


def _correct_in_order(
    weight: Array, inverse: Array, order: npt.NDArray[np.int64], removed: npt.NDArray[np.int64]
) -> None:
    diagonal = np.diagonal(inverse)
    for step in range(int(removed.max(initial=0))):
        rows = np.flatnonzero(removed > step)
        q = order[rows, step]
        weight[rows] -= (weight[rows, q] / diagonal[q])[:, None] * inverse[q]
