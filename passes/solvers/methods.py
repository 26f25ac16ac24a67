"""From a layer's statistics to pruned and corrected weights: arrays in, arrays out.

Every method but `magnitude` and `lobs` works on the recalibrated target: with C = X X̂ᵀ/N and Ĥ = X̂ X̂ᵀ/N + λR the
best dense weight on the current inputs is W₀ = (W C + λWR + D) Ĥ⁻¹, and every support S ends with the refit
w_S = (W₀ Ĥ)_S Ĥ_SS⁻¹ (ALGORITHMS §2), by conjugate gradients above ITERATED_COLUMNS columns. R is the identity unless
the statistics bring a ridge. D = (Z − Ẑ) X̂ᵀ/N where a branch Z is added to the layer's output: what the layer can make
up of that branch's error.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, get_args

import numpy as np

from netsurgeon.passes.solvers import admm, linalg, obs
from netsurgeon.passes.solvers.linalg import Array, FactorizationError, Floats, Mask
from netsurgeon.passes.solvers.masks import NOfM, Pattern, Tiles, choose
from netsurgeon.passes.solvers.problem import Problem

Method = Literal["auto", "magnitude", "lobs", "obs", "admm"]


Effort = Literal["hasty", "fast", "full"]
"""Whether there is time for the best that `auto` and `admm` can do, for little, or for a first look."""


METHODS: tuple[str, ...] = get_args(Method)


FAST_METHOD = "fast"
"""For low-fidelity evaluations, not users: `auto` with little effort; of layers with more than OBS_COLUMNS
columns the largest scaled weights, refitted."""


UNCORRECTED = ("magnitude", "lobs")
"""Methods as published: on the dense inputs, without recalibration and refit."""


LEAST_COLUMNS, BOTH_COLUMNS = 16, 320
"""Up to the first width `auto` runs the exact sweep, up to the second both this and ADMM, and takes the better of the
two; above, ADMM alone wins. So it does in tiles of any width, which the sweep knows nothing of: on 12 layers of
ResNet-56 and SqueezeNet it had the smaller error in 46 of 48 cases, by 8 % in the median."""


SLOW_WORK = 5e8


WIDE_WORK = 4e9
"""Up to so many products a step ADMM runs on the SLOW and on the WIDE schedule; above, and for layers of more than
ITERATED_COLUMNS columns, on the SHORT one, whose 24 steps end with as little error as the 32 of WIDE."""


OBS_COLUMNS = 1152
"""Up to this width error curves come from the exact sweep, low-fidelity evaluations from ADMM, the damping from all of
DAMPINGS."""


ITERATED_COLUMNS = linalg.BLOCK_COLUMNS
"""Up to this width rows are refitted exactly, one by one, for rows x columns³ products; wider layers by conjugate
gradients on all rows at once, for rows x columns² a step. Blocks of rows of those are refitted by themselves."""


LOW_FIDELITY_COLUMNS = 256
"""The same at low fidelity, where many rows of a few hundred columns would take longer than finding their supports."""


REFIT_STEPS: dict[Effort, int] = {"full": 12, "fast": 6, "hasty": 4}
COLD_STEPS = 96
"""Of them, behind ADMM, whose last weights are close already, and on a support that was given: at 2048 columns 12 and
96 end within 0.6 % of the least error, or 1 % with a damping of 1e-3; on made-up layers of 512 columns 12 end up to
0.3 %, 8 up to 0.5 % and 6 up to 0.6 % above it. After a HASTY schedule 4 do."""


QUICK_STEPS = 16
"""Conjugate gradient steps of a quick refit of a layer with more than OBS_COLUMNS columns."""


def prune(
    problem: Problem, keep: int, method: str, pattern: Pattern | None = None, *, effort: Effort = "full"
) -> Array:
    """Weights (groups, rows, columns) with at most `keep` nonzeros, as far as `pattern` allows.

    Args:
        problem: of the layer.
        keep: most weights kept.
        method: one of METHODS, or FAST_METHOD.
        pattern: that they respect; N:M says how many stay in place of `keep`.
        effort: how long `auto` and `admm` may take.

    Raises:
        FactorizationError: a Hessian has no Cholesky factor.
        ValueError: the method is not known.
    """
    if method not in (*METHODS, FAST_METHOD):
        raise ValueError(f"method {method!r} is not one of {', '.join(METHODS)}")
    exact_columns = ITERATED_COLUMNS
    if method == "magnitude":
        return problem.weight * choose(np.abs(problem.weight), keep, pattern)
    if method == "lobs":
        return obs.lobs(problem.weight, linalg.inverse(problem.hessian), keep, pattern)
    if not isinstance(pattern, NOfM) and keep >= problem.weight.size:
        return problem.weight
    if method == FAST_METHOD:
        if problem.weight.shape[-1] > OBS_COLUMNS:
            return quick_refit(problem, keep, pattern)
        method, exact_columns = "auto", LOW_FIDELITY_COLUMNS
        effort = "hasty" if effort == "hasty" else "fast"
    supports = _supports(problem, keep, method, pattern, effort)
    results = [_refit(problem, mask, exact_columns, start, REFIT_STEPS[effort]) for mask, start in supports]
    return results[0] if len(results) == 1 else min(results, key=problem.error)


def correct(problem: Problem, mask: Mask) -> Array:
    """The best weights (groups, rows, columns) on a support that is given, True = kept.

    Raises:
        FactorizationError: a Hessian has no Cholesky factor.
    """
    return _refit(problem, mask, ITERATED_COLUMNS)


def _refit(
    problem: Problem,
    mask: Mask,
    exact_columns: int,
    start: Floats | None = None,
    steps: int = COLD_STEPS,
) -> Array:
    """The best weights on a support, exactly or by conjugate gradients, `steps` from `start` where that is close."""
    if mask.shape[-1] <= exact_columns:
        return linalg.refit(problem.target, problem.hessian, mask)
    first, steps = (problem.weight, COLD_STEPS) if start is None else (start, steps)
    return RefitSystem.of(problem).refit(problem.target, first, mask, steps)


def _supports(
    problem: Problem, keep: int, method: str, pattern: Pattern | None, effort: Effort
) -> list[tuple[Mask, Floats | None]]:
    """What may stay, by each of the ways that a method takes, and weights on it that are close to the best."""
    columns = problem.weight.shape[-1]
    supports: list[tuple[Mask, Floats | None]] = []
    if method == "auto" and isinstance(pattern, Tiles):
        method = "admm"
    if method == "obs" or (method == "auto" and columns <= (BOTH_COLUMNS if effort == "full" else LEAST_COLUMNS)):
        supports.append((obs.support(problem.weight, linalg.inverse(problem.hessian), keep, pattern), None))
    if method == "admm" or (method == "auto" and columns > LEAST_COLUMNS):
        supports.append(admm.support(choice_of_support(problem, keep, pattern, effort)))
    return supports


def choice_of_support(problem: Problem, keep: int, pattern: Pattern | None, effort: Effort) -> admm.SupportChoice:
    """What ADMM starts from."""
    schedule = schedule_of(problem.weight.shape, effort)
    hessian = admm.scaled(problem.hessian, schedule, problem.weight.shape[1])
    return admm.SupportChoice.of(problem.weight, hessian, keep, pattern, schedule)


def schedule_of(shape: tuple[int, ...], effort: Effort) -> admm.Schedule:
    """That of ADMM for a layer of this shape (groups, rows, columns)."""
    work, columns = math.prod(shape) * shape[-1], shape[-1]
    if effort == "hasty":
        return admm.HASTY
    if effort == "full" and work <= SLOW_WORK:
        return admm.SLOW
    return admm.WIDE if work <= WIDE_WORK and columns <= ITERATED_COLUMNS else admm.SHORT


def quick_refit(problem: Problem, keep: int, pattern: Pattern | None = None) -> Array:
    """The `keep` weights that one cheap pass chooses, refitted in a few steps."""
    return refit_columns(problem, keep, OBS_COLUMNS, QUICK_STEPS, pattern)


def refit_columns(problem: Problem, keep: int, exact_columns: int, steps: int, pattern: Pattern | None = None) -> Array:
    """The largest scaled weights, refitted: exactly up to `exact_columns` columns, else by conjugate gradients."""
    mask = largest_scaled(problem, keep, pattern)
    if problem.weight.shape[-1] <= exact_columns:
        return linalg.refit(problem.target, problem.hessian, mask)
    return iterate(problem, mask, steps)


def largest_scaled(problem: Problem, keep: int, pattern: Pattern | None = None) -> Mask:
    """The `keep` weights that are largest times the root of their input's energy, as far as a pattern allows."""
    score = problem.weight * np.sqrt(np.einsum("gii->gi", problem.hessian))[:, None, :]
    return choose(np.abs(score, out=score), keep, pattern)


@dataclasses.dataclass(frozen=True)
class RefitSystem:
    """What all rows of a wide layer are refitted with, by conjugate gradients in float32.

    Attributes:
        hessian: damped H times `factor`, (groups, columns, columns).
        factor: brings it into the range of float32, see `linalg.in_range`.
        together: rows that are worked at once.
    """

    hessian: Floats = dataclasses.field(repr=False)
    factor: float
    together: int

    @classmethod
    def of(cls, problem: Problem) -> RefitSystem:
        """That of a layer."""
        factor = linalg.in_range(problem.hessian)
        hessian = problem.hessian if factor == 1.0 else factor * problem.hessian
        return cls(hessian.astype(np.float32), factor, linalg.rows_together(problem.weight.shape[1]))

    def iterate(self, target: Array, start: Floats, mask: Mask, steps: int) -> Array:
        """Weights of some rows on their support after so many steps, from `start`; `target` is that of the layer."""
        target = target if self.factor == 1.0 else self.factor * target
        return linalg.refit_iterative(target, self.hessian, start, mask, steps, together=self.together)

    def refit(self, target: Array, start: Floats, mask: Mask, steps: int) -> Array:
        """Weights as `iterate` gives them, where those are finite.

        Raises:
            FactorizationError: the steps do not converge.
        """
        refitted = self.iterate(target, start, mask, steps)
        if not np.isfinite(refitted).all():
            raise FactorizationError("the damped Hessian is not positive definite on a support")
        return refitted


def iterate(problem: Problem, mask: Mask, steps: int, start: Floats | None = None) -> Array:
    """The weights of a mask after some steps of conjugate gradients, in float32, from `start` or the dense weights."""
    return RefitSystem.of(problem).iterate(problem.target, problem.weight if start is None else start, mask, steps)
