"""The values of a pruned layer on a codebook, chosen by what the layer's output loses."""

from __future__ import annotations

import numpy as np

from netsurgeon.passes._codebooks import fit_codebook, refit_codebook, replace_codebook, round_to_codebook
from netsurgeon.passes._linalg import Array
from netsurgeon.passes.solvers import Problem

SIZES = (255, 127, 63, 31, 15)
"""Values of a codebook, 8 to 4 bits each: the zero that a sparse layout needs is one more."""
SHARE = 1.0
"""Fewer values are taken while the layer's error grows by no more than this share by them."""
BLOCK = 64
"""Columns between two matrix products of the descent."""
SWEEPS = 2
REFIT_LIMIT = 2e9
"""Codebooks are refitted while the pairs of kept weights, summed over the rows, stay below this."""


def quantize(weight: Array, problem: Problem) -> Array:
    """Put the kept weights (groups, rows, columns) on the smallest codebook that costs little beside the pruning.

    A layer that has lost nothing takes the largest one. The support stays.
    """
    if not weight.any():
        return weight
    allowed = (1.0 + SHARE) * problem.error(weight)
    best = _on_codebook(weight, problem, SIZES[0])
    for size in SIZES[1:]:
        smaller = _on_codebook(weight, problem, size)
        if problem.error(smaller) > allowed:
            break
        best = smaller
    return best


def _on_codebook(weight: Array, problem: Problem, size: int) -> Array:
    """Fit a codebook of at most `size` values, then assign and refit in turn on the layer's problem."""
    rounded = round_to_codebook(weight, fit_codebook(weight[weight != 0.0], size))
    cheap = float(np.sum(np.count_nonzero(weight, axis=-1).astype(float) ** 2)) < REFIT_LIMIT
    for _ in range(SWEEPS):
        rounded = descend(rounded, problem)
        if len(weight) == 1 and cheap:
            codebook = refit_codebook(rounded[0], problem.weight[0], problem.hessian[0])
            rounded = replace_codebook(rounded[0], codebook)[None]
    return rounded


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
        inner, local = hessian[:, block, block], gradient[:, :, block].copy()
        before, now = weight[:, :, block].copy(), weight[:, :, block]
        for at in range(now.shape[-1]):
            best = now[:, :, at] - local[:, :, at] / inner[:, None, at, at]
            nearest = np.where(kept[:, :, start + at], codebook[np.searchsorted(edges, best)], 0.0)
            local += (nearest - now[:, :, at])[:, :, None] * inner[:, None, at, :]
            now[:, :, at] = nearest
        gradient += (now - before) @ hessian[:, block, :]
    return weight
