"""The weights of one layer on a grid of integers, with a scale a row, chosen by what the layer's output loses.

A row w of the layer becomes s c, with integers c of at most `most` in size. What that costs is ‖s c − w₀‖_H, the same
error by which weights are pruned: the integers are found by the second-order sweep of GPTQ (arXiv 2210.17323, the OBS
update of every later weight for the rounding of this one), then improved by coordinate descent (COMQ, arXiv
2403.07134), with the scale in closed form between two sweeps. Zeros stay, so that what was pruned is kept.

Where a grid is there already (`IntegerGrid`), its scales stay and the integers alone are looked for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from netsurgeon.passes.solvers.linalg import Array, FactorizationError, Mask, inverse
from netsurgeon.passes.solvers.problem import Problem

Codes = npt.NDArray[np.int8]
Limits = tuple[Array | float, Array | float]
"""Least and largest integer: of all rows, or of each, (groups, rows)."""

CLIPS = np.linspace(1.0, 0.4, 25)
"""Shares of a row's largest weight at which the grid may end; beyond it weights are clipped."""
EXACT_COLUMNS = 1200
"""Up to so many columns ends of the grid are compared in H itself; above, on its diagonal."""
ROUNDS = 2
"""Times the scales are refitted, with a sweep of coordinate descent behind each."""
SWEEPS = 2
"""Sweeps of coordinate descent behind the first rounding."""
BLOCK = 64
"""Columns between two matrix products."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntegerWeight:
    """A weight as integers.

    Attributes:
        codes: (groups, rows, columns).
        scales: one a row, positive, exact in float32, (groups, rows).
    """

    codes: Codes = dataclasses.field(repr=False)
    scales: Array = dataclasses.field(repr=False)

    @property
    def weight(self) -> Array:
        """What the integers stand for, (groups, rows, columns)."""
        return np.asarray(self.codes * self.scales[..., None])


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntegerGrid:
    """The numbers that a weight may be: integers times the scale of their row; zero is among them.

    Attributes:
        scales: positive, (groups x blocks, rows).
        least: smallest integer, 0 or below, (groups x blocks, rows).
        most: largest integer, 0 or above, (groups x blocks, rows).
    """

    scales: Array = dataclasses.field(repr=False)
    least: Array = dataclasses.field(repr=False)
    most: Array = dataclasses.field(repr=False)


def round_to_grid(problem: Problem, pruned: Array, grid: IntegerGrid) -> Array:
    """Put a pruned weight on a grid whose scales stay, by the same error by which it was pruned.

    Both the nearest integers of what correction has left and those of the sweep are improved by coordinate descent;
    each row takes the better. So a weight that is on the grid and from which nothing has gone keeps its integers.

    Args:
        problem: of the layer.
        pruned: its weight after correction, (groups x blocks, rows, columns); its zeros stay.
        grid: where the result lies.

    Returns:
        The weight, (groups x blocks, rows, columns).
    """
    kept, limits = pruned != 0.0, (grid.least, grid.most)
    best, least = np.zeros_like(pruned), np.full(grid.scales.shape, np.inf)
    for codes in (_nearest(pruned, grid.scales, limits), _sweep_forward(problem, grid.scales, limits, kept)):
        for _ in range(SWEEPS):
            codes = _descend(problem, codes, grid.scales, limits, kept)
        weight = codes * grid.scales[..., None]
        difference = weight - problem.weight
        error = np.einsum("grc,grc->gr", difference @ problem.hessian, difference)
        best = np.where((error < least)[..., None], weight, best)
        least = np.minimum(error, least)
    return best


def round_to_integers(problem: Problem, kept: Mask, most: int, blocks: int = 1) -> IntegerWeight:
    """Put a layer's best weight on integers from −most to most times a scale a row.

    Args:
        problem: of the layer: its weight is what is rounded, its error what is to stay small.
        kept: False = this weight is zero and stays so, (groups x blocks, rows, columns).
        most: largest integer: 127, 63 or 7 for 8, 7 and 4 bits.
        blocks: so many matrices in a row hold the columns of the same rows, which share their scales.

    Returns:
        The integers and scales, (groups x blocks, rows). A row of zeros has a scale, too.
    """
    weight = np.where(kept, problem.weight, 0.0)
    scales = _first_scales(problem, weight, most, blocks)
    limits = (-most, most)
    codes = _sweep_forward(problem, scales, limits, kept)
    for _ in range(SWEEPS):
        codes = _descend(problem, codes, scales, limits, kept)
    for _ in range(ROUNDS):
        scales = _refitted_scales(problem, codes, scales, blocks)
        codes = _descend(problem, codes, scales, limits, kept)
    return IntegerWeight(codes=codes.astype(np.int8), scales=scales)


def nearest_integers(weight: Array, most: int, blocks: int = 1) -> IntegerWeight:
    """Each weight to the nearest integer of a grid that ends at its row's largest: needs no statistics.

    Args:
        weight: (groups x blocks, rows, columns).
        most: largest integer.
        blocks: see `round_to_integers`.
    """
    scales = _to_stored(_largest(weight, blocks) / most)
    return IntegerWeight(codes=_nearest(weight, scales, (-most, most)).astype(np.int8), scales=scales)


def _largest(weight: Array, blocks: int) -> Array:
    """Largest size in each row over its blocks, (groups x blocks, rows); 1 in a row of zeros."""
    largest = _over_blocks(np.abs(weight).max(axis=-1, initial=0.0), blocks, np.max)
    return np.asarray(np.where(largest > 0.0, largest, 1.0))


def _nearest(weight: Array, scales: Array, limits: Limits) -> Array:
    least, most = (np.expand_dims(np.asarray(limit), -1) for limit in limits)
    return np.asarray(np.clip(np.rint(weight / scales[..., None]), least, most))


def _to_stored(scales: Array) -> Array:
    """As they will be stored: with the 11 digits of a float16, in which they are packed, and exact in float32."""
    fraction, exponent = np.frexp(np.maximum(scales, np.finfo(np.float32).tiny))
    return np.asarray(np.ldexp(np.rint(fraction * 2.0**11) / 2.0**11, exponent))


def _over_blocks(numbers: Array, blocks: int, total: Callable[..., Array]) -> Array:
    """A sum or maximum over the blocks that share their rows, given to each of them, (groups x blocks, rows)."""
    if blocks == 1:
        return numbers
    stacked = numbers.reshape(-1, blocks, numbers.shape[-1])
    return np.repeat(total(stacked, axis=1), blocks, axis=0)


def _first_scales(problem: Problem, weight: Array, most: int, blocks: int) -> Array:
    """Where the grid of each row ends: the best of CLIPS for rounding to the nearest."""
    largest, hessian = _largest(weight, blocks), problem.hessian
    exact = weight.shape[-1] <= EXACT_COLUMNS
    diagonal = np.einsum("gii->gi", hessian)[:, None, :]
    best, least = largest / most, np.full(largest.shape, np.inf)
    for clip in CLIPS:
        scales = _to_stored(clip * largest / most)
        error = _nearest(weight, scales, (-most, most)) * scales[..., None] - weight
        weighted = error @ hessian if exact else error * diagonal
        cost = _over_blocks(np.einsum("grc,grc->gr", weighted, error), blocks, np.sum)
        best, least = np.where(cost < least, scales, best), np.minimum(cost, least)
    return _to_stored(best)


def _sweep_forward(problem: Problem, scales: Array, limits: Limits, kept: Mask) -> Array:
    """GPTQ: column after column to the nearest integer, and every later column makes up for it.

    Columns of large energy come first: their errors cost most, and the others are still free to make up for them.
    """
    order = np.argsort(-np.einsum("gii->gi", problem.hessian), axis=-1, kind="stable")
    hessian = np.take_along_axis(np.take_along_axis(problem.hessian, order[:, :, None], 1), order[:, None, :], 2)
    try:
        # the rows of the upper factor of H⁻¹ hold what each column hands on to those behind it
        upper = np.swapaxes(np.linalg.cholesky(inverse(hessian)), 1, 2)
    except (np.linalg.LinAlgError, FactorizationError):
        return np.where(kept, _nearest(problem.weight, scales, limits), 0.0)
    left = np.take_along_axis(problem.weight, order[:, None, :], 2)
    mask = np.take_along_axis(kept, order[:, None, :], 2)
    codes = np.zeros_like(left)
    columns = left.shape[-1]
    for start in range(0, columns, BLOCK):
        block = slice(start, min(start + BLOCK, columns))
        errors = np.zeros((*left.shape[:2], block.stop - start))
        for at in range(start, block.stop):
            code = np.where(mask[:, :, at], np.clip(np.rint(left[:, :, at] / scales), *limits), 0.0)
            error = (left[:, :, at] - code * scales) / upper[:, None, at, at]
            codes[:, :, at], errors[:, :, at - start] = code, error
            left[:, :, at + 1 : block.stop] -= error[:, :, None] * upper[:, None, at, at + 1 : block.stop]
        left[:, :, block.stop :] -= errors @ upper[:, block, block.stop :]
    return np.take_along_axis(codes, np.argsort(order, axis=-1)[:, None, :], 2)


def _descend(problem: Problem, codes: Array, scales: Array, limits: Limits, kept: Mask) -> Array:
    """One sweep of coordinate descent: each column takes the integers that are best while all others stay.

    The error never grows. Within a block only its own gradient is kept up to date; the rest follows in one product.
    """
    codes, hessian = codes.astype(np.float64), problem.hessian
    step = scales[..., None]
    gradient = (codes * step - problem.weight) @ hessian
    for start in range(0, codes.shape[-1], BLOCK):
        block = slice(start, start + BLOCK)
        inner, local = hessian[:, block, block], gradient[:, :, block].copy()
        before, now = codes[:, :, block].copy(), codes[:, :, block]
        for at in range(now.shape[-1]):
            best = now[:, :, at] - local[:, :, at] / (inner[:, None, at, at] * scales)
            code = np.where(kept[:, :, start + at], np.clip(np.rint(best), *limits), 0.0)
            local += ((code - now[:, :, at]) * scales)[:, :, None] * inner[:, None, at, :]
            now[:, :, at] = code
        gradient += ((now - before) * step) @ hessian[:, block, :]
    return codes


def _refitted_scales(problem: Problem, codes: Array, scales: Array, blocks: int) -> Array:
    """The scale of each row that is best for its integers: s = c H w₀ᵀ / c H cᵀ; positive, else it stays."""
    product = codes @ problem.hessian
    energy = _over_blocks(np.einsum("grc,grc->gr", product, codes), blocks, np.sum)
    matching = _over_blocks(np.einsum("grc,grc->gr", product, problem.weight), blocks, np.sum)
    fitted = matching / np.where(energy > 0.0, energy, 1.0)
    return _to_stored(np.where((energy > 0.0) & (fitted > 0.0), fitted, scales))
