"""Dense linear algebra on stacks of symmetric matrices (groups, columns, columns).

In float64; above SINGLE_COLUMNS columns in float32, solutions where that has a Cholesky factor: twice as fast.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

from netsurgeon.passes.solvers.masks import TILE_ROWS
from netsurgeon.passes.solvers.parallel import for_each_part

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.floating]
SINGLE_COLUMNS = 1024
RANGE = (1e-12, 1e12)
"""Diagonals of Hessians whose squares float32 holds with room to spare."""
ROWS_AT_ONCE = 4096
"""Of a layer with more rows, such as a head, what is needed between two results is never there for all of them."""
REFIT_ROWS = (64, 256)
"""Fewest and most rows that conjugate gradients take at once: enough for a fast product (64 take a tenth more time each
than 256), and what is between two products stays in the cache."""
REFIT_PARTS = 4
"""Parts of fewer rows than that many times the most. What a row comes to depends on the rows beside it in its last
bits, so that parts go by the layer and never by the cores."""
BLOCK_COLUMNS, BLOCK_WORK = 1024, 1 << 29
"""Layers of more columns, and of more products a step, are worked in blocks of rows."""
BATCH_COLUMNS = 64
"""Up to this width rows are refitted in one stacked solve; wider ones row by row."""


class FactorizationError(ValueError):
    """A damped Hessian that has no Cholesky factor; the message names layer and damping."""


def _lapack(name: str, matrix: Floats) -> Any:
    return getattr(scipy.linalg.lapack, ("s" if matrix.dtype == np.float32 else "d") + name)


def inverse(hessian: Array) -> Array:
    """Inverses of a stack of positive definite matrices.

    Raises:
        FactorizationError: a matrix is not positive definite.
    """
    return np.stack([_inverse(matrix) for matrix in hessian])


def _inverse(matrix: Floats) -> Floats:
    potri = _lapack("potri", matrix)
    lower, _ = potri(_cholesky(matrix), lower=1, overwrite_c=1)
    full = lower + lower.T  # what lies above the diagonal is 0
    np.einsum("ii->i", full)[:] *= 0.5
    return np.asarray(full)


def _cholesky(matrix: Floats) -> Floats:
    potrf = _lapack("potrf", matrix)
    factor, failed = potrf(matrix, lower=1)
    # OpenBLAS takes a NaN for a pivot
    if failed != 0 or not np.isfinite(np.diagonal(factor)).all():
        raise FactorizationError("the damped Hessian is not positive definite")
    return np.asarray(factor)


def solve(target: Array, hessian: Array) -> Array:
    """``target @ hessian⁻¹`` for stacks (groups, rows, columns) and (groups, columns, columns).

    Raises:
        FactorizationError: a matrix is not positive definite.
    """
    solution = np.empty_like(target)
    for g, matrix in enumerate(hessian):
        solution[g] = _in_working_type(_solve_rows, matrix, target[g])
    return solution


def _solve_rows(matrix: Floats, rows: Floats) -> Floats:
    potrs, factor = _lapack("potrs", matrix), _cholesky(matrix)
    result = np.empty_like(rows)
    for part in row_parts(len(rows)):
        result[part] = potrs(factor, rows[part].T, lower=1)[0].T
    return result


def row_parts(rows: int) -> Iterator[slice]:
    """Parts of many rows that are worked one after the other: what lies between takes the memory of one of them."""
    return (slice(start, min(start + ROWS_AT_ONCE, rows)) for start in range(0, rows, ROWS_AT_ONCE))


def rows_together(rows: int) -> int:
    """So many of the rows of a wide layer are worked at once; all parts of a layer begin with a whole tile."""
    size = int(np.clip(-(-rows // REFIT_PARTS), *REFIT_ROWS))
    return -(-size // TILE_ROWS) * TILE_ROWS


def row_blocks(groups: int, rows: int, columns: int) -> list[slice] | None:
    """Blocks of rows that a wide layer is worked in, by its shape alone; None = all rows are one."""
    size = rows_together(rows)
    if columns <= BLOCK_COLUMNS or groups * rows * columns**2 <= BLOCK_WORK or size >= rows:
        return None
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def product(rows: Array, matrix: Array) -> Array:
    """``rows @ matrix``, (groups, rows, columns); in float32 above SINGLE_COLUMNS columns."""
    if matrix.shape[-1] <= SINGLE_COLUMNS:
        return np.asarray(rows @ matrix)
    factor, result = in_range(matrix), np.empty((*rows.shape[:2], matrix.shape[-1]))
    single = (matrix if factor == 1.0 else factor * matrix).astype(np.float32)
    for part in row_parts(rows.shape[1]):
        result[:, part] = rows[:, part].astype(np.float32) @ single
    if factor != 1.0:
        result /= factor
    return result


def _in_working_type(solver: Callable[[Floats, Floats], Floats], matrix: Array, rows: Array) -> Array:
    """``solver(matrix, rows)`` in float32 for a wide matrix, unless that fails; else in float64."""
    if len(matrix) > SINGLE_COLUMNS:
        factor = in_range(matrix)
        single = (
            part.astype(np.float32) if factor == 1.0 else (factor * part).astype(np.float32) for part in (matrix, rows)
        )
        with contextlib.suppress(FactorizationError):
            return solver(*single).astype(np.float64)
    return np.asarray(solver(matrix, rows), np.float64)


def in_range(hessian: Array) -> float:
    """What to multiply a Hessian and its target by so that float32 holds their products: a power of two, mostly 1.

    The solution is the same, and where the factor is 1 so is every bit on the way.
    """
    largest = float(np.einsum("...ii->...i", hessian).max(initial=0.0))
    if not np.isfinite(largest) or largest == 0.0 or RANGE[0] <= largest <= RANGE[1]:
        return 1.0
    return float(2.0 ** -np.frexp(largest)[1])


def refit(target: Array, hessian: Array, mask: Mask) -> Array:
    """The best weights on a support: for the kept set R of each row, ``w_R = target_R H_RR⁻¹`` (ALGORITHMS §2).

    Args:
        target: ``W₀ H``, (groups, rows, columns).
        hessian: damped H, (groups, columns, columns).
        mask: True = kept, (groups, rows, columns).

    Raises:
        FactorizationError: a matrix is not positive definite.
    """
    result = np.zeros_like(target)
    for g, matrix in enumerate(hessian):
        if matrix.shape[0] <= BATCH_COLUMNS:
            result[g] = _refit_stacked(target[g], matrix, mask[g])
        else:
            result[g] = _in_working_type(functools.partial(_refit_rows, mask=mask[g]), matrix, target[g])
    return result


def _refit_stacked(target: Array, hessian: Array, mask: Mask) -> Array:
    """All rows in one stacked solve: removed columns become rows and columns of the identity."""
    _cholesky(hessian)
    masked = hessian * (mask[:, :, None] & mask[:, None, :])
    columns = np.arange(hessian.shape[0])
    masked[:, columns, columns] += ~mask
    return np.asarray(np.linalg.solve(masked, (target * mask)[..., None])[..., 0])


def _refit_rows(hessian: Floats, target: Floats, mask: Mask) -> Floats:
    """Row by row through the smaller of H on the kept and H⁻¹ on the removed columns."""
    rows, columns = target.shape
    result = np.zeros_like(target)
    many = 2 * mask.sum(axis=1) > columns
    inverted = _inverse(hessian) if many.any() else None
    full = target[many] @ inverted if inverted is not None else target[:0]
    position = np.cumsum(many) - 1

    def work(part: npt.NDArray[np.int64]) -> None:
        for r in part:
            support = np.flatnonzero(mask[r])
            if inverted is not None and many[r]:
                removed = np.flatnonzero(~mask[r])
                price = _solve_small(inverted[np.ix_(removed, removed)], full[position[r], removed])
                result[r] = full[position[r]] - price @ inverted[removed]
                result[r, removed] = 0.0
            else:
                result[r, support] = _solve_small(hessian[np.ix_(support, support)], target[r, support])

    for_each_part(work, rows, 8)
    return result


def _solve_small(matrix: Floats, vector: Floats) -> Floats:
    if len(vector) == 0:
        return vector
    posv = _lapack("posv", matrix)
    _, solution, failed = posv(matrix, vector, lower=1, overwrite_a=1)
    if failed != 0:
        raise FactorizationError("the damped Hessian is not positive definite on a row's support")
    return np.asarray(solution)


def refit_iterative(
    target: npt.NDArray[Any], hessian: npt.NDArray[Any], start: npt.NDArray[Any], mask: Mask, steps: int,
    together: int | None = None,
) -> npt.NDArray[Any]:  # fmt: skip
    """Conjugate gradients on the support, many rows at once (BLAS-3): for wide layers.

    Works in the type of `hessian`, and ends in that of `target`. Jacobi-preconditioned; `start` is zero off the mask.
    Rows are taken `together` as their number says, or as that of the layer does of which they are blocks.
    """
    result, dtype = np.empty_like(target), hessian.dtype

    def work(part: npt.NDArray[np.int64]) -> None:
        rows = np.s_[:, part[0] : part[-1] + 1]
        targets, starts = (side[rows].astype(dtype, copy=False) for side in (target, start))
        result[rows] = _conjugate_gradients(targets, hessian, starts, mask[rows], steps)

    rows = target.shape[1]
    for_each_part(work, rows, rows_together(rows) if together is None else together)
    return result


def _conjugate_gradients(
    target: npt.NDArray[Any], hessian: npt.NDArray[Any], start: npt.NDArray[Any], mask: Mask, steps: int
) -> npt.NDArray[Any]:
    weight, tiny = start * mask, np.finfo(target.dtype).tiny
    diagonal = np.einsum("gii->gi", hessian)[:, None, :]
    residual = (target - weight @ hessian) * mask
    scaled = residual / diagonal
    direction = scaled.copy()
    energy = (residual * scaled).sum(axis=-1, keepdims=True)
    for _ in range(steps):
        image = direction @ hessian
        image *= mask
        length = energy / np.maximum((direction * image).sum(axis=-1, keepdims=True), tiny)
        weight += length * direction
        image *= length
        residual -= image
        np.divide(residual, diagonal, out=scaled)
        fresh = (residual * scaled).sum(axis=-1, keepdims=True)
        direction *= fresh / np.maximum(energy, tiny)
        direction += scaled
        energy = fresh
    return np.where(mask, weight, 0.0).astype(target.dtype)  # not -0.0, which takes room in a file


def quadratic_error(weight: Array, target: Array, hessian: Array) -> float:
    """``tr(W H Wᵀ) − 2 tr(W targetᵀ)``: the layer's error up to a constant that no W changes.

    Args:
        weight: W, (groups, rows, columns).
        target: what W H is to be, (groups, rows, columns).
        hessian: H, (groups, columns, columns).
    """
    return float(np.sum((weight @ hessian - 2.0 * target) * weight))
