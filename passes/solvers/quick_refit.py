"""Refit the kept weights of many rows at once, by conjugate gradients."""

from __future__ import annotations

import numpy as np

from netsurgeon.passes.solvers import linalg
from netsurgeon.passes.solvers.linalg import Array, Mask
from netsurgeon.passes.solvers.masks import largest
from netsurgeon.passes.solvers.problem import Problem

OBS_COLUMNS = 1152
"""Up to this width error curves come from the exact sweep, low-fidelity evaluations from ADMM, the damping from all of
DAMPINGS."""


QUICK_STEPS = 16
"""Conjugate gradient steps of a quick refit of a layer with more than OBS_COLUMNS columns."""


def quick_refit(problem: Problem, keep: int) -> Array:
    """The `keep` weights that one cheap pass chooses, refitted in a few steps."""
    return refit_columns(problem, keep, OBS_COLUMNS, QUICK_STEPS)


def refit_columns(problem: Problem, keep: int, exact_columns: int, steps: int) -> Array:
    """The largest scaled weights, refitted: exactly up to `exact_columns` columns, else by conjugate gradients."""
    mask = largest_scaled(problem, keep)
    if problem.weight.shape[-1] <= exact_columns:
        return linalg.refit(problem.target, problem.hessian, mask)
    return iterate(problem, mask, steps)


def largest_scaled(problem: Problem, keep: int) -> Mask:
    """The `keep` weights that are largest times the root of their input's energy."""
    scale = np.sqrt(np.einsum("gii->gi", problem.hessian))[:, None, :]
    return largest(np.abs(problem.weight * scale), keep)


def iterate(problem: Problem, mask: Mask, steps: int) -> Array:
    """The weights of a mask after some steps of conjugate gradients, in float32: exact enough for a trial."""
    factor = linalg.in_range(problem.hessian)
    scaled = (factor * problem.target, factor * problem.hessian, problem.weight)
    target, hessian, start = (array.astype(np.float32) for array in scaled)
    return linalg.refit_iterative(target, hessian, start, mask, steps).astype(np.float64)
