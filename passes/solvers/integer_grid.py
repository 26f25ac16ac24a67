"""The weights of one layer on a grid of integers, with a scale a row or a few columns of it, by what its output loses.

A row w of the layer becomes s c, with integers c of at most `most` in size. What that costs is ‖s c − w₀‖_H, the same
error by which weights are pruned: the integers are found by the second-order sweep of GPTQ (arXiv 2210.17323, the OBS
update of every later weight for the rounding of this one), then improved by coordinate descent (COMQ, arXiv
2403.07134), with the scale in closed form between two sweeps. Zeros stay, so that what was pruned is kept.

Where a scale serves a span of a row's columns only, and the grid has one integer more below zero than above it, a scale
may be negative: the largest weight of the span lies on that integer, whatever its sign, and no integer is wasted.

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

CLIPS = np.linspace(1.0, 0.4, 25)
"""Shares of a row's largest weight at which the grid may end; beyond it weights are clipped."""
FEW_CLIPS = 5
"""As many of them for a grid that is FINE."""
FINE = 32
"""From so large an integer on a row loses less to rounding than to any clipping."""
EXACT_COLUMNS = 1200
"""Up to so many columns ends of the grid are compared in H itself; above, on its diagonal."""
ROUNDS = 2
"""Times the scales are refitted, with a sweep of coordinate descent behind each."""
SWEEPS = 2
"""Sweeps of coordinate descent behind the first rounding."""
QUICK_SWEEPS = 1
"""Sweeps of coordinate descent behind the first rounding, and rounds of scales behind these, of an estimate."""
BLOCK = 64
"""Columns between two matrix products."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntegerWeight:
    """A weight as integers.

    Attributes:
        codes: (groups, rows, columns).
        scales: exact in float32, one a row, (groups, rows), or one a span of a row, (groups, rows, spans).
        span: columns that share a scale; None = all of a row.
    """

    codes: Codes = dataclasses.field(repr=False)
    scales: Array = dataclasses.field(repr=False)
    span: int | None = None

    @property
    def weight(self) -> Array:
        """What the integers stand for, (groups, rows, columns)."""
        if self.span is None:
            return np.asarray(self.codes * self.scales[..., None])
        return np.asarray(self.codes * steps_of(self.scales, self.span, self.codes.shape[-1]))


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Grid:
    """The integers from least to most, of all rows or of each, (groups, rows); a scale serves `span` columns."""

    least: int | Array
    most: int | Array
    span: int
    blocks: int

    @property
    def is_lopsided(self) -> bool:
        return bool(np.all(np.asarray(self.least) < -np.asarray(self.most)))

    def slices(self, columns: int) -> list[slice]:
        """The columns of each scale."""
        return [slice(start, min(start + self.span, columns)) for start in range(0, columns, self.span)]

    def nearest(self, numbers: Array) -> Array:
        least, most = (_of_rows(limit) if numbers.ndim > 2 else limit for limit in (self.least, self.most))
        return np.asarray(np.clip(np.rint(numbers), least, most))

    def steps(self, scales: Array, columns: int) -> Array:
        return steps_of(scales, self.span, columns)


def _of_rows(limit: int | Array) -> int | Array:
    """A limit of all rows, or one a row, beside numbers of (groups, rows, columns)."""
    return limit if isinstance(limit, int) else limit[..., None]


def steps_of(scales: Array, span: int, columns: int) -> Array:
    """The scale of each column, (…, columns), where one (…, spans) serves `span` of them.

    Args:
        scales: (…, spans), or (…, 1) where one serves the whole row.
        span: columns that share a scale; the last span of a row may be shorter.
        columns: of the weight.
    """
    if scales.shape[-1] == 1:
        return np.broadcast_to(scales, (*scales.shape[:-1], columns))
    return np.asarray(np.repeat(scales, span, axis=-1)[..., :columns])


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
    kept, scales = pruned != 0.0, grid.scales[..., None]
    limits = _Grid(least=grid.least, most=grid.most, span=max(pruned.shape[-1], 1), blocks=1)
    best, least = np.zeros_like(pruned), np.full(grid.scales.shape, np.inf)
    for codes in (limits.nearest(pruned / scales), _sweep_forward(problem, scales, limits, kept)):
        for _ in range(SWEEPS):
            codes = _descend(problem, codes, scales, limits, kept)
        weight = codes * scales
        difference = weight - problem.weight
        error = np.einsum("grc,grc->gr", difference @ problem.hessian, difference)
        best = np.where((error < least)[..., None], weight, best)
        least = np.minimum(error, least)
    return best


def round_to_integers(
    problem: Problem,
    kept: Mask,
    most: int | Array,
    blocks: int = 1,
    *,
    span: int | None = None,
    least: int | None = None,
    is_quick: bool = False,
) -> IntegerWeight:
    """Put a layer's best weight on integers from −most to most times a scale.

    Args:
        problem: of the layer: its weight is what is rounded, its error what is to stay small.
        kept: False = this weight is zero and stays so, (groups x blocks, rows, columns).
        most: largest integer: 127, 63 or 7 for 8, 7 and 4 bits; or that of each row, (groups x blocks, rows).
        blocks: so many matrices in a row hold the columns of the same rows, which share their scales.
        span: columns that share a scale, from the first on; None = a row has one. Blocks share none then.
        least: smallest integer; None = −most. With −most − 1 scales may be negative.
        is_quick: whether half the sweeps do, and the diagonal of H to compare ends of the grid: for estimates.

    Returns:
        The integers and scales, (groups x blocks, rows) or (groups x blocks, rows, spans). Zeros have a scale, too.
    """
    weight = np.where(kept, problem.weight, 0.0)
    grid = _grid(weight, most, blocks, span, least)
    scales = _first_scales(problem, weight, grid, 0 if is_quick else EXACT_COLUMNS)
    codes = _sweep_forward(problem, scales, grid, kept)
    for _ in range(QUICK_SWEEPS if is_quick else SWEEPS):
        codes = _descend(problem, codes, scales, grid, kept)
    for _ in range(QUICK_SWEEPS if is_quick else ROUNDS):
        scales = _refitted_scales(problem, codes, scales, grid)
        codes = _descend(problem, codes, scales, grid, kept)
    return _as_integers(codes, scales, span)


def nearest_integers(
    weight: Array, most: int, blocks: int = 1, *, span: int | None = None, least: int | None = None
) -> IntegerWeight:
    """Each weight to the nearest integer of a grid that ends at the largest of its scale: needs no statistics.

    Args:
        weight: (groups x blocks, rows, columns).
        most: largest integer.
        blocks: see `round_to_integers`.
        span: likewise.
        least: likewise.
    """
    grid = _grid(weight, most, blocks, span, least)
    scales = _to_stored(_widest(weight, grid))
    return _as_integers(grid.nearest(weight / grid.steps(scales, weight.shape[-1])), scales, span)


def clipped_integers(weight: Array, most: int) -> IntegerWeight:
    """Each weight to the nearest integer of a grid that ends where its row loses least; needs no statistics.

    Args:
        weight: (groups, rows, columns).
        most: largest integer.
    """
    grid = _grid(weight, most, 1, None, None)
    widest = _widest(weight, grid)
    best, least = _to_stored(widest), np.full(widest.shape, np.inf)
    for clip in CLIPS[::2] if most < FINE else CLIPS[:1]:
        scales = _to_stored(clip * widest)
        cost = np.square(grid.nearest(weight / scales) * scales - weight).sum(axis=-1, keepdims=True)
        best, least = np.where(cost < least, scales, best), np.minimum(cost, least)
    return _as_integers(grid.nearest(weight / best), best, None)


def _grid(weight: Array, most: int | Array, blocks: int, span: int | None, least: int | None) -> _Grid:
    return _Grid(
        least=-most if least is None else least,
        most=most,
        span=max(weight.shape[-1], 1) if span is None else span,
        blocks=blocks if span is None else 1,
    )


def _as_integers(codes: Array, scales: Array, span: int | None) -> IntegerWeight:
    return IntegerWeight(codes=codes.astype(np.int8), scales=scales[..., 0] if span is None else scales, span=span)


def _widest(weight: Array, grid: _Grid) -> Array:
    """Scales with which no weight is clipped, (groups, rows, spans)."""
    ends = []
    least, most = (_of_rows(limit) for limit in (grid.least, grid.most))
    for columns in grid.slices(weight.shape[-1]):
        part = weight[..., columns]
        at = np.abs(part).argmax(axis=-1, keepdims=True)
        largest = np.take_along_axis(part, at, -1)
        ends.append(largest / least if grid.is_lopsided else np.abs(largest) / most)
    widest = np.concatenate(ends, axis=-1)
    if grid.blocks > 1:
        widest = _over_blocks(widest[..., 0], grid.blocks, np.max)[..., None]
    return np.asarray(np.where(widest == 0.0, 1.0 / most, widest))


def _to_stored(scales: Array) -> Array:
    """As they will be stored: with the 11 digits of a float16, in which they are packed, and exact in float32."""
    sizes = np.maximum(np.abs(scales), np.finfo(np.float32).tiny)
    fraction, exponent = np.frexp(np.copysign(sizes, scales))
    return np.asarray(np.ldexp(np.rint(fraction * 2.0**11) / 2.0**11, exponent))


def _over_blocks(numbers: Array, blocks: int, total: Callable[..., Array]) -> Array:
    """A sum or maximum over the blocks that share their rows, given to each of them, (groups x blocks, rows)."""
    if blocks == 1:
        return numbers
    stacked = numbers.reshape(-1, blocks, numbers.shape[-1])
    return np.repeat(total(stacked, axis=1), blocks, axis=0)


def _first_scales(problem: Problem, weight: Array, grid: _Grid, exact_columns: int) -> Array:
    """Where the grid of each scale ends: the best of CLIPS for rounding to the nearest, see `_costs`."""
    widest = _widest(weight, grid)
    best, least = widest, np.full(widest.shape, np.inf)
    for clip in CLIPS[:FEW_CLIPS] if np.min(grid.most) >= FINE else CLIPS:
        scales = _to_stored(clip * widest)
        steps = grid.steps(scales, weight.shape[-1])
        cost = _costs(grid.nearest(weight / steps) * steps - weight, problem.hessian, grid, exact_columns)
        best, least = np.where(cost < least, scales, best), np.minimum(cost, least)
    return _to_stored(best)


def _costs(error: Array, hessian: Array, grid: _Grid, exact_columns: int) -> Array:
    """What the errors in the columns of each scale cost by themselves, (groups, rows, spans).

    Above so many columns by the diagonal of H alone.
    """
    costs = []
    for columns in grid.slices(error.shape[-1]):
        part, inner = error[..., columns], hessian[:, columns, columns]
        exact = part.shape[-1] <= exact_columns
        weighted = part @ inner if exact else part * np.einsum("gii->gi", inner)[:, None, :]
        costs.append(_over_blocks(np.einsum("grc,grc->gr", weighted, part), grid.blocks, np.sum))
    return np.stack(costs, axis=-1)


def _sweep_forward(problem: Problem, scales: Array, grid: _Grid, kept: Mask) -> Array:
    """GPTQ: column after column to the nearest integer, and every later column makes up for it.

    Columns of large energy come first: their errors cost most, and the others are still free to make up for them.
    """
    columns = problem.weight.shape[-1]
    steps = grid.steps(scales, columns)
    order = np.argsort(-np.einsum("gii->gi", problem.hessian), axis=-1, kind="stable")
    hessian = np.take_along_axis(np.take_along_axis(problem.hessian, order[:, :, None], 1), order[:, None, :], 2)
    try:
        # the rows of the upper factor of H⁻¹ hold what each column hands on to those behind it
        upper = np.swapaxes(np.linalg.cholesky(inverse(hessian)), 1, 2)
    except (np.linalg.LinAlgError, FactorizationError):
        return np.where(kept, grid.nearest(problem.weight / steps), 0.0)
    left, steps = (np.take_along_axis(numbers, order[:, None, :], 2) for numbers in (problem.weight, steps))
    mask = np.take_along_axis(kept, order[:, None, :], 2)
    codes = np.zeros_like(left)
    for start in range(0, columns, BLOCK):
        block = slice(start, min(start + BLOCK, columns))
        errors = np.zeros((*left.shape[:2], block.stop - start))
        for at in range(start, block.stop):
            step = steps[:, :, at]
            code = np.where(mask[:, :, at], grid.nearest(left[:, :, at] / step), 0.0)
            error = (left[:, :, at] - code * step) / upper[:, None, at, at]
            codes[:, :, at], errors[:, :, at - start] = code, error
            left[:, :, at + 1 : block.stop] -= error[:, :, None] * upper[:, None, at, at + 1 : block.stop]
        left[:, :, block.stop :] -= errors @ upper[:, block, block.stop :]
    return np.take_along_axis(codes, np.argsort(order, axis=-1)[:, None, :], 2)


def _descend(problem: Problem, codes: Array, scales: Array, grid: _Grid, kept: Mask) -> Array:
    """One sweep of coordinate descent: each column takes the integers that are best while all others stay.

    The error never grows. Within a block only its own gradient is kept up to date; the rest follows in one product.
    """
    codes, hessian = codes.astype(np.float64), problem.hessian
    steps = grid.steps(scales, codes.shape[-1])
    gradient = (codes * steps - problem.weight) @ hessian
    for start in range(0, codes.shape[-1], BLOCK):
        block = slice(start, start + BLOCK)
        inner, local = hessian[:, block, block], gradient[:, :, block].copy()
        before, now = codes[:, :, block].copy(), codes[:, :, block]
        for at in range(now.shape[-1]):
            step = steps[:, :, start + at]
            best = now[:, :, at] - local[:, :, at] / (inner[:, None, at, at] * step)
            code = np.where(kept[:, :, start + at], grid.nearest(best), 0.0)
            local += ((code - now[:, :, at]) * step)[:, :, None] * inner[:, None, at, :]
            now[:, :, at] = code
        gradient += ((now - before) * steps[:, :, block]) @ hessian[:, block, :]
    return codes


def _refitted_scales(problem: Problem, codes: Array, scales: Array, grid: _Grid) -> Array:
    """The scales that are best for the integers, one span after the other; of another sign or none, they stay.

    With all others as they are, that of a span is s + (w₀ − ŵ) H cᵀ / c H cᵀ, where c is zero outside the span.
    """
    scales, hessian = scales.copy(), problem.hessian
    gradient = (problem.weight - codes * grid.steps(scales, codes.shape[-1])) @ hessian
    for at, columns in enumerate(grid.slices(codes.shape[-1])):
        part, old = codes[..., columns], scales[..., at]
        energy = np.einsum("grc,grc->gr", part @ hessian[:, columns, columns], part)
        energy = _over_blocks(energy, grid.blocks, np.sum)
        matching = _over_blocks(np.einsum("grc,grc->gr", gradient[..., columns], part), grid.blocks, np.sum)
        fitted = old + matching / np.where(energy > 0.0, energy, 1.0)
        scales[..., at] = _to_stored(np.where((energy > 0.0) & (fitted * old > 0.0), fitted, old))
        if columns.stop < codes.shape[-1]:
            gradient += ((old - scales[..., at])[..., None] * part) @ hessian[:, columns, :]
    return scales
