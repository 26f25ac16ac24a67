"""From a layer's statistics to pruned and corrected weights: arrays in, arrays out.

Every method but `magnitude` and `lobs` works on the recalibrated target: with C = X X̂ᵀ/N and Ĥ = X̂ X̂ᵀ/N + λR the
best dense weight on the current inputs is W₀ = (W C + λWR + D) Ĥ⁻¹, and every support S ends with the exact refit
w_S = (W₀ Ĥ)_S Ĥ_SS⁻¹ (ALGORITHMS §2). R is the identity unless the statistics bring a ridge. D = (Z − Ẑ) X̂ᵀ/N where a
branch Z is added to the layer's output: what the layer can make up of that branch's error.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from netsurgeon.passes.solvers import admm, linalg, obs
from netsurgeon.passes.solvers.linalg import Array, Mask
from netsurgeon.passes.solvers.masks import Pattern, choose, largest
from netsurgeon.passes.solvers.problem import Problem

Method = Literal["auto", "magnitude", "lobs", "obs", "admm"]


Effort = Literal["fast", "full"]
"""Whether there is time for the best that `auto` and `admm` can do."""


METHODS: tuple[str, ...] = get_args(Method)


FAST_METHOD = "fast"
"""For low-fidelity evaluations, not users: `auto` with little effort; of layers with more than OBS_COLUMNS
columns the largest scaled weights, refitted."""


UNCORRECTED = ("magnitude", "lobs")
"""Methods as published: on the dense inputs, without recalibration and refit."""


LEAST_COLUMNS, BOTH_COLUMNS = 16, 320
"""Up to the first width `auto` runs the exact sweep, up to the second both this and ADMM, and takes the better of the
two; above, ADMM alone wins."""


SLOW_WORK = 5e8


WIDE_WORK = 4e9
"""Up to so many products a step ADMM runs on the SLOW and on the WIDE schedule; above, on the SHORT one."""


OBS_COLUMNS = 1152
"""Up to this width error curves come from the exact sweep, low-fidelity evaluations from ADMM, the damping from all of
DAMPINGS."""


QUICK_STEPS = 16
"""Conjugate gradient steps of a quick refit of a layer with more than OBS_COLUMNS columns."""


def prune(
    problem: Problem, keep: int, method: str, pattern: Pattern | None = None, *, effort: Effort = "full"
) -> Array:
    """Weights (groups, rows, columns) with at most `keep` nonzeros, or what `pattern` allows.

    Args:
        problem: of the layer.
        keep: most weights kept.
        method: one of METHODS, or FAST_METHOD.
        pattern: N:M pattern in place of `keep`.
        effort: how long `auto` and `admm` may take.

    Raises:
        FactorizationError: a Hessian has no Cholesky factor.
        ValueError: the method is not known.
    """
    if method not in (*METHODS, FAST_METHOD):
        raise ValueError(f"method {method!r} is not one of {', '.join(METHODS)}")
    if method == "magnitude":
        return problem.weight * choose(np.abs(problem.weight), keep, pattern)
    if method == "lobs":
        return obs.lobs(problem.weight, linalg.inverse(problem.hessian), keep, pattern)
    if pattern is None and keep >= problem.weight.size:
        return problem.weight
    if method == FAST_METHOD:
        if problem.weight.shape[-1] > OBS_COLUMNS:
            return quick_refit(problem, keep)
        method, effort = "auto", "fast"
    masks = _masks(problem, keep, method, pattern, effort)
    results = [linalg.refit(problem.target, problem.hessian, mask) for mask in masks]
    return results[0] if len(results) == 1 else min(results, key=problem.error)


def correct(problem: Problem, mask: Mask) -> Array:
    """The best weights (groups, rows, columns) on a support that is given, True = kept.

    Raises:
        FactorizationError: a Hessian has no Cholesky factor.
    """
    return linalg.refit(problem.target, problem.hessian, mask)


def _masks(problem: Problem, keep: int, method: str, pattern: Pattern | None, effort: Effort) -> list[Mask]:
    columns = problem.weight.shape[-1]
    masks = []
    if method == "obs" or (method == "auto" and columns <= (BOTH_COLUMNS if effort == "full" else LEAST_COLUMNS)):
        swept = obs.sweep(problem.weight, linalg.inverse(problem.hessian), pattern)
        mask = swept.mask(keep) if pattern is None else swept.mask(0)
        masks.append(mask.reshape(problem.weight.shape))
    if method == "admm" or (method == "auto" and columns > LEAST_COLUMNS):
        work = problem.weight.size * columns
        schedule = (
            admm.SLOW if effort == "full" and work <= SLOW_WORK else admm.WIDE if work <= WIDE_WORK else admm.SHORT
        )
        masks.append(admm.support(problem.weight, admm.scaled(problem.hessian, schedule), keep, pattern, schedule))
    return masks


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
