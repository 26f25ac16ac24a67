"""Rounding a weight to fewer distinct values: to a shorter float type, or to a codebook fitted to it. Arrays only."""

from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from netsurgeon.passes.solvers import FactorizationError, solve

Array: TypeAlias = NDArray[Any]


def relative_error(weight: Array, rounded: Array) -> float:
    """``||rounded - weight||_F / ||weight||_F``, for any shape; 0 for a weight of zeros."""
    norm = float(np.linalg.norm(weight.astype(np.float64, copy=False)))
    return float(np.linalg.norm(np.subtract(rounded, weight, dtype=np.float64))) / norm if norm else 0.0


def rounding_problem(weight: Array, rounded: Array, tolerance: float) -> str | None:
    """Say why ``rounded`` must not take the place of ``weight`` (same shape); None where it may."""
    if not np.isfinite(weight).all():
        return "it holds values that are not finite"
    if not np.isfinite(rounded).all():
        return f"its largest magnitude, {np.abs(weight).max():.3g}, would overflow"
    error = relative_error(weight, rounded)
    return f"its relative error would be {error:.2g}, above {tolerance:.2g}" if error > tolerance else None


def round_to_type(weight: Array, dtype: str) -> Array:
    """Nearest values in ``dtype``, in the weight's own type; an overflow gives infinity and -0.0 becomes 0.0.

    A value that would vanish becomes the smallest number of its sign: what is not zero stays so.
    """
    with np.errstate(over="ignore", under="ignore"):
        rounded: Array = weight.astype(dtype).astype(weight.dtype) + weight.dtype.type(0)
    vanished = (rounded == 0) & (weight != 0)
    smallest = weight.dtype.type(np.finfo(dtype).smallest_subnormal)
    rounded[vanished] = np.copysign(smallest, weight[vanished])
    return rounded


def fit_codebook(
    values: Array, size: int = 255, weights: Array | None = None, iterations: int = 200
) -> NDArray[np.float64]:
    """K-means in one dimension (Lloyd, 1982), started at quantiles of the values' density to the power 1/3.

    That start is optimal for many fine cells (Panter and Dite, 1951). Values are sorted once, so an iteration costs
    a search for each cell's edge and no pass over the values.

    Args:
        values: Finite values (k,), k > 0; their order does not matter.
        size: Largest number of entries.
        weights: Importance (k,) of each value, positive; equal if None.
        iterations: Most iterations; fewer where the codebook no longer moves.

    Returns:
        Ascending codebook (m,), m <= size; the distinct values themselves where they are few enough.

    Raises:
        ValueError: If ``values`` is empty or ``size`` below 1.
    """
    if not values.size or size < 1:
        raise ValueError(f"a codebook needs values and a size of at least 1, got {values.size} and {size}")
    distinct = np.unique(values).astype(np.float64)
    if distinct.size <= size:
        return distinct
    order = slice(None) if weights is None else np.argsort(values, kind="stable")
    ascending = (np.sort(values) if weights is None else values[order]).astype(np.float64)
    mass = np.ones(values.size) if weights is None else weights[order].astype(np.float64)
    return _lloyd(ascending, mass, _companded(ascending, mass, size), iterations)


def _companded(ascending: Array, mass: Array, size: int) -> NDArray[np.float64]:
    """Start of k-means (m,): equal steps in the integral of the density's cube root.

    The density is that of a histogram whose bins widen with the magnitude, so that a few outliers do not make it flat.
    """
    scale = float(np.median(np.abs(ascending))) or float(np.abs(ascending).max())
    least, most = np.arcsinh(ascending[[0, -1]] / scale).tolist()
    edges = scale * np.sinh(np.linspace(least, most, max(size, 64) + 1))
    counts, _ = np.histogram(ascending, bins=edges, weights=mass)
    grown = np.concatenate([[0.0], np.cumsum(np.cbrt(counts * np.diff(edges) ** 2))])
    steps = (np.arange(size) + 0.5) / size * grown[-1]
    return np.unique(np.interp(steps, grown, edges))


def _lloyd(ascending: Array, mass: Array, codebook: Array, iterations: int) -> NDArray[np.float64]:
    total = np.concatenate([[0.0], np.cumsum(mass)])
    moment = np.concatenate([[0.0], np.cumsum(mass * ascending)])
    for _ in range(iterations):
        inner = np.searchsorted(ascending, (codebook[1:] + codebook[:-1]) / 2)
        edges = np.concatenate([[0], inner, [ascending.size]])
        filled = np.diff(total[edges]) > 0
        moved = np.diff(moment[edges])[filled] / np.diff(total[edges])[filled]
        if np.array_equal(moved, codebook):
            break
        codebook = moved
    return codebook


def round_to_codebook(weight: Array, codebook: Array) -> Array:
    """Replace each nonzero of ``weight`` (any shape) by the nearest entry of the ascending ``codebook`` (m,).

    Zeros stay exact zeros (-0.0 becomes 0.0). The result has the weight's type.
    """
    entries = codebook.astype(weight.dtype)
    rounded = entries[np.searchsorted((entries[1:] + entries[:-1]) / 2, weight)]
    rounded[weight == 0] = 0
    return rounded


def refit_codebook(
    weight: Array, target: Array, hessian: Array, damping: float = 1e-8, scales: Array | None = None
) -> NDArray[np.float64]:
    """Best entries for a weight whose elements have been assigned to a codebook, in the layer's own metric.

    Minimises ``sum_r s_r² (A_r c - target_r)^T H (A_r c - target_r)`` over c, where A_r (columns, m) puts the entries
    of c at the kept elements of row r. The normal equations are ``(sum_r s_r² A_r^T H A_r) c = sum_r s_r² A_r^T H
    target_r``; a ridge of ``damping`` times their mean diagonal pulls towards the present entries. Costs rows times
    kept², in float64.

    Args:
        weight: Rounded weight (rows, columns): its distinct nonzero values are the present codebook.
        target: Weight to come close to, usually the original (rows, columns).
        hessian: Symmetric, positive semidefinite (columns, columns).
        damping: Relative ridge, positive.
        scales: s, what each row is multiplied with in the end (rows, 1); 1 if None.

    Returns:
        New entries (m,), in the order of the ascending distinct nonzero values of ``weight``.

    Raises:
        FactorizationError: If the damped normal equations are not positive definite.
    """
    codebook = np.unique(weight[weight != 0]).astype(np.float64)
    size = codebook.size
    if not size:
        return codebook
    rows, columns = np.nonzero(weight)
    indices = np.searchsorted(codebook, weight[rows, columns])
    importance = np.ones(len(weight)) if scales is None else np.square(scales[:, 0], dtype=np.float64)
    weighted_target = (target.astype(np.float64) @ hessian.astype(np.float64))[rows, columns] * importance[rows]
    right = np.bincount(indices, weights=weighted_target, minlength=size)
    normal = _normal_matrix(rows, columns, indices, hessian=hessian, importance=importance, size=size)
    ridge = damping * float(np.trace(normal)) / size
    damped = normal + ridge * np.eye(size)
    try:
        solved: NDArray[np.float64] = solve((right + ridge * codebook)[None, None], damped[None])[0, 0]
        return solved
    except FactorizationError as error:
        raise FactorizationError(f"a codebook of {size} values cannot be refitted with damping {damping:g}") from error


def _normal_matrix(
    rows: Array, columns: Array, indices: Array, hessian: Array, importance: Array, size: int
) -> NDArray[np.float64]:
    """``sum_r s_r² A_r^T H A_r`` (size, size): each row's part of H, summed over runs of equal indices."""
    order = np.lexsort((indices, rows))
    columns, indices = columns[order], indices[order]
    normal = np.zeros((size, size))
    bounds = np.flatnonzero(np.diff(rows, prepend=-1, append=-1))
    for start, stop in pairwise(bounds):
        kept, entries = columns[start:stop], indices[start:stop]
        runs = np.flatnonzero(np.diff(entries, prepend=-1))
        part = hessian.take(kept, axis=0).take(kept, axis=1).astype(np.float64, copy=False)
        part = np.add.reduceat(np.add.reduceat(part, runs, axis=0), runs, axis=1)
        normal[np.ix_(entries[runs], entries[runs])] += importance[rows[start]] * part
    return normal


def replace_codebook(weight: Array, codebook: Array) -> Array:
    """Give the i-th of the ascending distinct nonzero values of ``weight`` (any shape) the value ``codebook[i]``."""
    kept = weight != 0
    replaced = np.zeros_like(weight)
    replaced[kept] = codebook.astype(weight.dtype)[np.searchsorted(np.unique(weight[kept]), weight[kept])]
    return replaced
