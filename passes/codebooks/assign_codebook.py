"""The values of a pruned layer on a codebook, chosen by what the layer's output loses."""

from __future__ import annotations

import dataclasses

import numpy as np

from netsurgeon.passes.codebooks.codebooks import (
    fit_codebook,
    refit_codebook,
    replace_codebook,
    round_to_codebook,
    round_to_type,
)
from netsurgeon.passes.codebooks.row_scales import row_scales
from netsurgeon.passes.solvers import Array, Problem

BITS = {255: 8.0, 127: 64 / 9, 63: 6.0, 31: 5.0, 15: 4.0, 7: 64 / 21}
"""Bits of a stored value by the values of a codebook: the zero that a sparse layout needs is one more, and 7 and 3 bits
go into words of 64."""
SIZES = tuple(BITS)
WEIGHT_BITS = 6.0
"""What a weight that is removed saves, about."""
SHARE = 1.0
"""Where no price is known, fewer values are taken while the layer's error grows by no more than this share by them."""
BLOCK = 64
"""Columns between two matrix products of the descent."""
REFITS = 2
REFIT_LIMIT = 2e9
"""Codebooks are refitted while the pairs of kept weights, summed over the rows, stay below this."""


def quantize(weight: Array, problem: Problem, price: float | None = None, *, scaled: bool = True) -> Array:
    """Put the kept weights (groups, rows, columns) on a codebook; the support stays.

    With a price the codebook's bits are worth what the plan's pruning has paid for a weight: the size is taken at which
    error and bits cost least together. Without, the smallest that costs little beside the pruning; a layer that has
    lost nothing takes the largest one.

    Args:
        weight: pruned.
        problem: of the layer.
        price: error of the layer, relative to its output's energy, that one weight less is worth.
        scaled: whether each row is a power of two times values of the codebook, which are float16 then.
    """
    if not weight.any():
        return weight
    scales = row_scales(weight) if scaled else np.ones((*weight.shape[:-1], 1))
    divided = dataclasses.replace(problem, weight=problem.weight / scales)
    stored = np.count_nonzero(weight) / WEIGHT_BITS
    allowed = (1.0 + SHARE) * problem.error(weight)
    best = _assigned(weight / scales, divided, scales, SIZES[0])
    least = np.inf
    if price is not None:
        least = problem.relative(problem.error(scales * best)) + price * stored * BITS[SIZES[0]]
    for size in SIZES[1:]:
        assigned = _assigned(weight / scales, divided, scales, size)
        error = problem.error(scales * assigned)
        if price is None:
            cost = size if error <= allowed else np.inf
        else:
            cost = problem.relative(error) + price * stored * BITS[size]
        if not cost < least:
            break
        best, least = assigned, cost
    fitted = _refitted(best, divided, scales)
    return scales * (round_to_type(fitted, "float16") if scaled else fitted)


def _assigned(weight: Array, problem: Problem, scales: Array, size: int) -> Array:
    """Fit a codebook of at most `size` values, and assign it on the layer's problem.

    Rows of `weight` and of the problem's weight are divided by `scales`.
    """
    kept = weight != 0.0
    importance = np.einsum("gii->gi", problem.hessian)[:, None, :] * scales**2
    return descend(round_to_codebook(weight, fit_codebook(weight[kept], size, importance[kept])), problem)


def _refitted(weight: Array, problem: Problem, scales: Array) -> Array:
    """The codebook that a weight has been assigned to, refitted on the layer's problem and assigned again in turn."""
    if len(weight) > 1 or float(np.sum(np.count_nonzero(weight, axis=-1).astype(float) ** 2)) >= REFIT_LIMIT:
        return descend(weight, problem)
    for turn in range(REFITS):
        weight = descend(weight, problem) if turn else weight
        codebook = refit_codebook(weight[0], problem.weight[0], problem.hessian[0], scales=scales[0])
        weight = replace_codebook(weight[0], codebook)[None]
    return weight


def descend(weight: Array, problem: Problem) -> Array:
    """Coordinate descent on a layer's error over the values that its weights have: one sweep over the columns.

    One column after another takes the value that is best while all others stay as they are, so that the error never
    grows, and what rounding has done to one weight is made up for by those behind it, as in GPTQ (arXiv 2210.17323).

    Args:
        weight: (groups, rows, columns); its distinct nonzero values are the codebook, and its zeros stay.
        problem: of the layer.

    Returns:
        The new weight, of the same shape and support.
    """
    codebook = np.unique(weight[weight != 0.0])
    edges = (codebook[1:] + codebook[:-1]) / 2.0
    weight, kept, hessian = weight.copy(), weight != 0.0, problem.hessian
    gradient = (weight - problem.weight) @ hessian
    for start in range(0, weight.shape[-1], BLOCK):
        block = slice(start, start + BLOCK)
        # Within a block only its own gradient is kept up to date; the rest follows in one product (BLAS 3).
        inner, local = hessian[:, block, block], gradient[:, :, block].copy()
        before, now = weight[:, :, block].copy(), weight[:, :, block]
        for at in range(now.shape[-1]):
            best = now[:, :, at] - local[:, :, at] / inner[:, None, at, at]
            nearest = np.where(kept[:, :, start + at], codebook[np.searchsorted(edges, best)], 0.0)
            local += (nearest - now[:, :, at])[:, :, None] * inner[:, None, at, :]
            now[:, :, at] = nearest
        gradient += (now - before) @ hessian[:, block, :]
    return weight
