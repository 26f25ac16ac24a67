"""Which weights are kept: the largest overall, N of every M, or four at a time in the tiles of a sparse kernel."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.floating]

TILE_ROWS = 16
SLOTS = 4
"""Weights that a step of the sparse kernel takes of each row of a tile: it multiplies four bytes at a time."""
SAMPLED, SAMPLED_SIZE = 61, 1 << 20
"""One number in so many is sampled of scores that are more than the second; widths are no multiples of it."""


@dataclasses.dataclass(frozen=True)
class NOfM:
    """N:M sparsity: of every `size` consecutive weights at most `kept` are not zero.

    Attributes:
        kept: N.
        size: M.
        order: columns in the order the pattern runs (along the input channels), (columns,).
    """

    kept: int
    size: int
    order: npt.NDArray[np.int64] = dataclasses.field(repr=False)

    @property
    def tuples(self) -> npt.NDArray[np.int64]:
        """Columns of each group of M, (columns / M, M)."""
        return self.order.reshape(-1, self.size)

    @property
    def tuple_of(self) -> npt.NDArray[np.int64]:
        """Index of the group of M that each column belongs to, (columns,)."""
        result = np.empty(self.order.size, np.int64)
        result[self.order] = np.arange(self.order.size) // self.size
        return result

    def choose(self, score: Scores, keep: int) -> Mask:
        """Mask of the N largest of each group of M, (groups, rows, columns); `keep` has no say."""
        del keep
        grouped = score[..., self.tuples]
        ranked = np.argsort(-grouped, axis=-1, kind="stable")
        kept = np.zeros(grouped.shape, bool)
        np.put_along_axis(kept, ranked[..., : self.kept], True, axis=-1)
        mask = np.zeros(score.shape, bool)
        mask[..., self.tuples] = kept
        return mask


@dataclasses.dataclass(frozen=True)
class Tiles:
    """Tiles of TILE_ROWS rows and `width` columns, in each of which every row keeps at most SLOTS times its depth.

    A sparse kernel takes a tile in as many steps as it is deep, whatever its rows hold, so that depths are what time
    is spent on. Tiles at the ends of rows and columns are smaller.

    Attributes:
        width: columns of a tile.
        order: columns of all blocks in the order in which the kernel reads them: the channels of a kernel position one
            after the other, (blocks x columns,).
        blocks: so many matrices in a row hold the columns of the same rows, and are tiled as one.
    """

    width: int
    order: npt.NDArray[np.int64] = dataclasses.field(repr=False)
    blocks: int = 1

    def choose(self, score: Scores, keep: int) -> Mask:
        """Mask (groups x blocks, rows, columns) that keeps `keep` weights, those with the largest squares.

        The rows' squares in a tile are sorted; what its rows lose without the next four of each is the gain of a step.
        Gains fall from step to step, so that the largest of all tiles, for each weight that they take, are the best
        choice; of the last step only as many weights stay as are left to keep.
        """
        if keep >= score.size:
            return np.ones(score.shape, bool)
        tiled, present = self._tiled(score), self._tiled(np.ones(score.shape, bool))
        tiled = np.square(tiled / (tiled.max() or 1.0))  # no square of small weights becomes 0
        ranked = -np.sort(-np.where(present, tiled, -1.0), axis=-1)
        depths, next_tile, left = self._depths(ranked, present, keep)
        mask = _deepest(tiled, ranked, present, SLOTS * depths)
        if left:
            at = np.unravel_index(next_tile, depths.shape)
            depths[at] += 1
            deeper = _deepest(tiled[at], ranked[at], present[at], SLOTS * depths[at])
            mask[at] |= largest(np.where(deeper & ~mask[at], tiled[at], -1.0), left)
        return self._untiled(mask, score.shape)

    def depths(self, mask: Mask) -> npt.NDArray[np.int64]:
        """Steps that the kernel takes for each tile of a mask, (groups, tiles of rows, tiles of columns)."""
        fullest = np.count_nonzero(self._tiled(mask), axis=-1).max(axis=-1)
        return np.asarray(-(-fullest // SLOTS), np.int64)

    def slots(self, mask: Mask) -> int:
        """Weights that these steps have room for: what time is spent on, whatever lies in them."""
        return int(self.depths(mask).sum()) * TILE_ROWS * SLOTS

    def _depths(self, ranked: Scores, present: Mask, keep: int) -> tuple[npt.NDArray[np.int64], int, int]:
        """Steps of each tile that fit into `keep` weights, the tile of the next one, and how many weights are left."""
        by_step = (*ranked.shape[:-1], -1, SLOTS)
        gains = np.maximum(ranked, 0.0).reshape(by_step).sum(axis=(-3, -1), dtype=np.float64)
        # columns that are there come first in a tile as well as in `ranked`
        sizes = present.reshape(by_step).sum(axis=(-3, -1), dtype=np.int64)
        worth = np.minimum.accumulate(np.where(sizes, gains / np.maximum(sizes, 1), -1.0), axis=-1)
        order = np.argsort(-worth, axis=None, kind="stable")
        taken = np.cumsum(sizes.ravel()[order])
        count = int(np.searchsorted(taken, keep, side="right"))
        tiles = order // worth.shape[-1]
        depths = np.bincount(tiles[:count], minlength=worth.size // worth.shape[-1]).reshape(worth.shape[:-1])
        return depths, int(tiles[count]), keep - (int(taken[count - 1]) if count else 0)

    def _tiled(self, array: npt.NDArray[np.generic]) -> npt.NDArray[Any]:
        """(groups x blocks, rows, columns) -> (groups, tiles of rows, tiles of columns, TILE_ROWS, width)."""
        rows = array.shape[1]
        whole = (
            array.reshape(-1, self.blocks, rows, array.shape[2])
            .transpose(0, 2, 1, 3)
            .reshape(-1, rows, self.order.size)
        )
        ends = (-rows % TILE_ROWS, -self.order.size % self.width)
        padded = np.pad(whole[..., self.order], ((0, 0), (0, ends[0]), (0, ends[1])))
        return padded.reshape(len(whole), -1, TILE_ROWS, padded.shape[2] // self.width, self.width).swapaxes(2, 3)

    def _untiled(self, tiled: Mask, shape: tuple[int, ...]) -> Mask:
        """The inverse of `_tiled`."""
        rows = shape[1]
        ordered = tiled.swapaxes(2, 3).reshape(len(tiled), tiled.shape[1] * TILE_ROWS, -1)[:, :rows, : self.order.size]
        whole = np.empty_like(ordered)
        whole[..., self.order] = ordered
        return whole.reshape(-1, rows, self.blocks, shape[2]).swapaxes(1, 2).reshape(shape)


Pattern: TypeAlias = NOfM | Tiles


def _deepest(score: Scores, ranked: Scores, present: Mask, counts: npt.NDArray[np.int64]) -> Mask:
    """Mask (…, rows, width) of the largest scores of each row, as many as the `counts` of its tile (…) say.

    `ranked` holds the scores of each row, falling, those that are not `present` last.
    """
    last = np.clip(counts, 1, score.shape[-1]) - 1
    least = np.take_along_axis(ranked, np.broadcast_to(last[..., None, None], (*ranked.shape[:-1], 1)), axis=-1)
    mask = (score >= least) & present & (counts > 0)[..., None, None]
    surplus = np.count_nonzero(mask, axis=-1) - counts[..., None]
    tied = np.nonzero((surplus > 0) & (counts > 0)[..., None])
    if tied[0].size:  # of equal scores the first ones stay
        equal = mask[tied] & (score[tied] == least[tied])
        stay = np.count_nonzero(equal, axis=-1) - surplus[tied]
        mask[tied] &= ~equal | (np.cumsum(equal, axis=-1) <= stay[:, None])
    return mask


def largest(score: Scores, keep: int) -> Mask:
    """Mask of the `keep` largest scores of the whole array; ties fall to the lower index."""
    flat = score.ravel()
    mask = np.zeros(flat.size, bool)
    if keep >= flat.size:
        mask[:] = True
    elif keep > 0:
        threshold = _kth_largest(flat, keep)
        mask = flat > threshold
        missing = keep - int(np.count_nonzero(mask))
        mask[np.flatnonzero(flat == threshold)[:missing]] = True
    return mask.reshape(score.shape)


def _kth_largest(scores: Scores, k: int) -> Any:
    """The k-th largest of many numbers (count,): of those alone that a sample of them says it lies between."""
    sample = np.sort(scores[::SAMPLED]) if scores.size > SAMPLED_SIZE else scores[:0]
    middle, margin = sample.size - k / SAMPLED, 4.0 * sample.size**0.5
    if margin < middle < sample.size - margin:
        low, high = sample[int(middle - margin)], sample[int(middle + margin)]
        near, rank = scores[(scores >= low) & (scores <= high)], k - int(np.count_nonzero(scores > high))
        if 0 < rank <= near.size:
            scores, k = near, rank
    return np.partition(scores, scores.size - k)[scores.size - k]


def choose(score: Scores, keep: int, pattern: Pattern | None) -> Mask:
    """Mask of the largest scores (groups, rows, columns): `keep` over all, as far as `pattern` allows.

    What a weight is worth is the square of its score; only tiles add it up.
    """
    return largest(score, keep) if pattern is None else pattern.choose(score, keep)
