"""From a layer's statistics to pruned and corrected weights: arrays in, arrays out.

Every method but `magnitude` and `lobs` works on the recalibrated target: with C = X X̂ᵀ/N and Ĥ = X̂ X̂ᵀ/N + λR the
best dense weight on the current inputs is W₀ = (W C + λWR + D) Ĥ⁻¹, and every support S ends with the exact refit
w_S = (W₀ Ĥ)_S Ĥ_SS⁻¹ (ALGORITHMS §2). R is the identity unless the statistics bring a ridge. D = (Z − Ẑ) X̂ᵀ/N where a
branch Z is added to the layer's output: what the layer can make up of that branch's error.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from netsurgeon.passes import _admm, _linalg, _obs
from netsurgeon.passes._linalg import Array, FactorizationError, Mask
from netsurgeon.passes._masks import Pattern, choose, largest
from netsurgeon.passes.statistics import Statistics

Method = Literal["auto", "magnitude", "lobs", "obs", "admm"]
METHODS: tuple[str, ...] = get_args(Method)
HASTY = "hasty"
"""For rehearsals, not users: `auto` without patience; of layers with more than OBS_COLUMNS columns the largest scaled
weights, refitted."""
UNCORRECTED = ("magnitude", "lobs")
"""Methods as published: on the dense inputs, without recalibration and refit."""
DAMPINGS = (1e-2, 1e-3, 1e-4, 1e-1, 1.0)
"""The usual one first; 1 where there are fewer samples than columns, as in a classifier behind global pooling."""
WIDE_DAMPINGS = (1e-2, 1e-1, 1.0)
RIDGE_DAMPINGS = (1.0, 1e-1)
"""Of a ridge that is not the identity: it knows of directions that too few samples do not show."""
AMPLE = 10
"""With so many samples a column a layer takes DAMPINGS[0] without a choice, or with more than OBS_COLUMNS columns
AMPLE_WIDE_DAMPING: a correction that rests on so much needs no more, whatever single positions of a feature map say."""
AMPLE_WIDE_DAMPING = 1e-3
NEAR_TIE = 0.002
"""Dampings whose held-out errors differ by less than this share of the output's energy count as equal."""
LEAST_COLUMNS, BOTH_COLUMNS = 16, 320
"""Up to the first width `auto` runs the exact sweep, up to the second both this and ADMM, and takes the better of the
two; above, ADMM alone wins."""
OBS_COLUMNS = 1152
"""Up to this width error curves come from the exact sweep, rehearsals from ADMM, the damping from all of DAMPINGS."""
SAMPLED_ROWS = 64
WIDE_SAMPLED_ROWS = 24
"""Rows that stand for a layer in error curves and the choice of damping; fewer above FEW_ROWS_COLUMNS columns."""
FEW_ROWS_COLUMNS = 900
SLOW_WORK = 5e8
WIDE_WORK = 4e9
"""Up to so many products a step ADMM runs on the SLOW and on the WIDE schedule; above, on the SHORT one."""
QUICK_STEPS = 16
"""Conjugate gradient steps of a quick refit of a layer with more than OBS_COLUMNS columns."""
TRIAL_COLUMNS, TRIAL_STEPS = 256, 5
"""The same for a trial: its error is measured, so it need not be the least."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """One layer's least-squares problem: min over W' of ‖W' − W₀‖_H.

    Attributes:
        target: W₀ H, (groups, rows, columns).
        hessian: damped H, (groups, columns, columns).
        weight: W₀, (groups, rows, columns).
        damping: λ, relative to the mean diagonal of the undamped H.
        absolute: the same times that diagonal, (groups,).
        ridge: what it multiplies, see `Statistics`.
    """

    target: Array = dataclasses.field(repr=False)
    hessian: Array = dataclasses.field(repr=False)
    weight: Array = dataclasses.field(repr=False)
    damping: float
    absolute: Array = dataclasses.field(repr=False)
    ridge: Array | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def of(cls, weight: Array, statistics: Statistics, damping: float) -> Problem:
        """Set up the problem for a dense `weight` (groups, rows, columns).

        Raises:
            FactorizationError: the damped Hessian has no Cholesky factor.
        """
        hessian, target, absolute = damped(weight, statistics, damping)
        solved = statistics.cross is statistics.gram and statistics.lost is None
        if solved and (statistics.ridge is None or not statistics.dead.any()):
            exact = np.where(statistics.dead[:, None, :], 0.0, weight)
        else:
            exact = _linalg.solve(target, hessian)
        return cls(target, hessian, exact, damping, absolute, statistics.ridge)

    def error(self, weight: Array) -> float:
        """‖weight − W₀‖²_H, the damped δE."""
        return float(np.sum(self.row_errors(weight)))

    def row_errors(self, weight: Array) -> Array:
        """The same of each row, over all groups, (rows,)."""
        difference = weight - self.weight
        return np.asarray(np.einsum("grc,grc->r", difference @ self.hessian, difference))

    @property
    def energy(self) -> float:
        """Energy of the layer's output W₀ X, per sample: ‖W₀‖²_H without the damping; 0 where the rest is rounding."""
        damped = float(np.sum(self.target * self.weight))
        found = damped - self._damped(self.weight)
        return found if found > math.sqrt(np.finfo(self.hessian.dtype).eps) * damped else 0.0

    def relative(self, error: float) -> float:
        """An error in units of the output's energy; 0 where that has none, for then nothing is seen of any error."""
        energy = self.energy
        return error / energy if energy else 0.0

    def excess(self, weight: Array) -> float:
        """δE of another weight, per sample: its error without the damping; at least 0."""
        return max(self.error(weight) - self._damped(weight - self.weight), 0.0)

    def _damped(self, difference: Array) -> float:
        """The part of ‖difference‖²_H that is damping."""
        ridged = difference if self.ridge is None else difference @ self.ridge
        return float(self.absolute @ np.einsum("gij,gij->g", ridged, difference))

    def rows(self, chosen: npt.NDArray[np.int64]) -> Problem:
        """The same problem for some of the rows."""
        return dataclasses.replace(self, target=self.target[:, chosen], weight=self.weight[:, chosen])


def damped(weight: Array, statistics: Statistics, damping: float) -> tuple[Array, Array, Array]:
    """Damped Ĥ, target W C + λWR + D and the absolute λ of each group.

    Dead inputs get an identity row and target 0, so that their weight is 0.
    """
    hessian = statistics.gram.copy()
    diagonal = np.einsum("gii->gi", hessian)
    absolute = damping * diagonal.mean(axis=1)
    absolute = np.where(absolute > 0.0, absolute, 1.0)
    dead = statistics.dead
    target = _target(weight, statistics)
    if statistics.ridge is None:
        target = target + absolute[:, None, None] * weight
        diagonal += absolute[:, None]
    else:
        added = absolute[:, None, None] * statistics.ridge
        target = target + weight @ added
        hessian += added
    for g in np.flatnonzero(dead.any(axis=1)):
        hessian[g, dead[g]] = 0.0
        hessian[g][:, dead[g]] = 0.0
        hessian[g, dead[g], dead[g]] = absolute[g]
        target[g][:, dead[g]] = 0.0
    return hessian, target, absolute


def _target(weight: Array, statistics: Statistics) -> Array:
    target = weight @ statistics.cross
    return target if statistics.lost is None else target + statistics.lost


def prune(problem: Problem, keep: int, method: str, pattern: Pattern | None = None, *, patient: bool = True) -> Array:
    """Weights (groups, rows, columns) with at most `keep` nonzeros, or what `pattern` allows.

    Args:
        problem: of the layer.
        keep: most weights kept.
        method: one of METHODS, or HASTY.
        pattern: N:M pattern in place of `keep`.
        patient: whether there is time for the best that `auto` and `admm` can do.

    Raises:
        FactorizationError: a Hessian has no Cholesky factor.
        ValueError: the method is not known.
    """
    if method not in (*METHODS, HASTY):
        raise ValueError(f"method {method!r} is not one of {', '.join(METHODS)}")
    if method == "magnitude":
        return problem.weight * choose(np.abs(problem.weight), keep, pattern)
    if method == "lobs":
        return _obs.lobs(problem.weight, _linalg.inverse(problem.hessian), keep, pattern)
    if pattern is None and keep >= problem.weight.size:
        return problem.weight
    if method == HASTY:
        if problem.weight.shape[-1] > OBS_COLUMNS:
            return _quick(problem, keep)
        method, patient = "auto", False
    masks = _masks(problem, keep, method, pattern, patient)
    results = [_linalg.refit(problem.target, problem.hessian, mask) for mask in masks]
    return results[0] if len(results) == 1 else min(results, key=problem.error)


def correct(problem: Problem, mask: Mask) -> Array:
    """The best weights (groups, rows, columns) on a support that is given, True = kept.

    Raises:
        FactorizationError: a Hessian has no Cholesky factor.
    """
    return _linalg.refit(problem.target, problem.hessian, mask)


def _masks(problem: Problem, keep: int, method: str, pattern: Pattern | None, patient: bool) -> list[Mask]:
    columns = problem.weight.shape[-1]
    masks = []
    if method == "obs" or (method == "auto" and columns <= (BOTH_COLUMNS if patient else LEAST_COLUMNS)):
        swept = _obs.sweep(problem.weight, _linalg.inverse(problem.hessian), pattern)
        mask = swept.mask(keep) if pattern is None else swept.mask(0)
        masks.append(mask.reshape(problem.weight.shape))
    if method == "admm" or (method == "auto" and columns > LEAST_COLUMNS):
        work = problem.weight.size * columns
        schedule = _admm.SLOW if patient and work <= SLOW_WORK else _admm.WIDE if work <= WIDE_WORK else _admm.SHORT
        masks.append(_admm.support(problem.weight, _admm.scaled(problem.hessian, schedule), keep, pattern, schedule))
    return masks


def choose_damping(weight: Array, fit: Statistics, held: Statistics, keep: int, rng: np.random.Generator) -> float:
    """The first λ of DAMPINGS whose refit on a magnitude-like support is all but the best on held-out samples.

    Near-ties are noise: the mask that the solver finds later is a better one, and needs less damping.
    """
    columns = weight.shape[-1]
    if fit.count >= AMPLE * columns:
        return AMPLE_WIDE_DAMPING if columns > OBS_COLUMNS else DAMPINGS[0]
    chosen = _sample_rows(weight, rng)
    share = keep / weight.size
    weight, fit, held = weight[:, chosen], fit.rows(chosen), held.rows(chosen)
    keep = max(1, round(share * weight.size))
    dampings = RIDGE_DAMPINGS if fit.ridge is not None else WIDE_DAMPINGS if columns > OBS_COLUMNS else DAMPINGS
    errors = []
    for damping in dampings:
        try:
            refitted = _quick(Problem.of(weight, fit, damping), keep)
            errors.append(_linalg.quadratic_error(refitted, _target(weight, held), held.gram))
        except FactorizationError:
            errors.append(np.inf)
    explained = abs(min(errors))
    return next(d for d, error in zip(dampings, errors, strict=True) if error <= min(errors) + NEAR_TIE * explained)


def trial(problem: Problem, keep: int) -> tuple[Array, float]:
    """A plausible pruned weight and its δE relative to the output's energy: largest scaled weights, then a refit.

    Raises:
        FactorizationError: the damped Hessian has no Cholesky factor.
    """
    pruned = _refitted(problem, keep, TRIAL_COLUMNS, TRIAL_STEPS)
    return pruned, problem.relative(problem.excess(pruned))


def _quick(problem: Problem, keep: int) -> Array:
    return _refitted(problem, keep, OBS_COLUMNS, QUICK_STEPS)


def _refitted(problem: Problem, keep: int, exact_columns: int, steps: int) -> Array:
    """The largest scaled weights, refitted: exactly up to `exact_columns` columns, else by conjugate gradients."""
    mask = _largest_scaled(problem, keep)
    if problem.weight.shape[-1] <= exact_columns:
        return _linalg.refit(problem.target, problem.hessian, mask)
    return _iterated(problem, mask, steps)


def _largest_scaled(problem: Problem, keep: int) -> Mask:
    scale = np.sqrt(np.einsum("gii->gi", problem.hessian))[:, None, :]
    return largest(np.abs(problem.weight * scale), keep)


def _iterated(problem: Problem, mask: Mask, steps: int) -> Array:
    target, hessian, start = (a.astype(np.float32) for a in (problem.target, problem.hessian, problem.weight))
    return _linalg.refit_iterative(target, hessian, start, mask, steps).astype(np.float64)


def energy(weight: Array, statistics: Statistics) -> float:
    """Energy of a layer's output, per sample; never 0."""
    return max(float(np.sum((weight @ statistics.gram) * weight)), np.finfo(float).tiny)


def _sample_rows(weight: Array, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    rows, columns = weight.shape[1:]
    limit = SAMPLED_ROWS if columns <= FEW_ROWS_COLUMNS else WIDE_SAMPLED_ROWS
    return np.sort(rng.choice(rows, size=min(rows, limit), replace=False))


@dataclasses.dataclass(frozen=True)
class Curve:
    """What pruning costs a layer, measured by one sweep of the solver.

    Attributes:
        kept: fraction of weights kept, from 1 downwards, (points,).
        errors: damped δE at each point, relative to the energy of the layer's output, (points,).
        damping: λ it was measured with.
    """

    kept: Array
    errors: Array
    damping: float = DAMPINGS[0]

    def reaching(self, error: float) -> float:
        """The largest fraction kept at which the error is at least `error`; the smallest where it never is."""
        return float(self.kept[min(int(np.searchsorted(self.errors, error)), len(self.kept) - 1)])

    def of_part(self, share: float) -> Curve:
        """The curve over the only `share` of the weights that is not zero from the start."""
        inside = self.kept < share
        return Curve(
            np.concatenate([[1.0], self.kept[inside] / share]),
            np.concatenate([[0.0], self.errors[inside]]),
            self.damping,
        )


def curve(problem: Problem, rng: np.random.Generator) -> Curve:
    """Error curve of a dense layer from up to SAMPLED_ROWS of its rows a group.

    Raises:
        FactorizationError: the damped Hessian has no Cholesky factor.
    """
    chosen = _sample_rows(problem.weight, rng)
    sampled = problem.rows(chosen)
    whole, part = (float(np.sum(each.target * each.weight)) for each in (problem, sampled))
    share = whole / max(part, np.finfo(float).tiny)
    kept = np.concatenate([[1.0], 0.95 * 0.92 ** np.arange(84)])
    if problem.weight.shape[-1] <= OBS_COLUMNS:
        exact = _obs.sweep(sampled.weight, _linalg.inverse(sampled.hessian)).errors()
        errors = exact[sampled.weight.size - np.round(kept * sampled.weight.size).astype(int)]
    else:
        errors = _wide_errors(sampled, kept)
    return Curve(kept, np.maximum.accumulate(errors) * problem.relative(share), problem.damping)


def _wide_errors(problem: Problem, kept: Array) -> Array:
    """Errors of quick prunings at a few points, interpolated in logarithms between them."""
    points = np.array([0.6, 0.35, 0.2, 0.1, 0.03])
    masks = [_largest_scaled(problem, round(point * problem.weight.size)) for point in points]
    # all points at once: a pass over a wide Hessian takes as long for one of them
    together = problem.rows(np.tile(np.arange(problem.weight.shape[1]), len(points)))
    refitted = _iterated(together, np.concatenate(masks, axis=1), QUICK_STEPS)
    errors = together.row_errors(refitted).reshape(len(points), -1).sum(axis=1)
    x = np.concatenate([[1.0], points, [0.0]])
    y = np.concatenate([[0.25 * errors[0]], errors, [problem.error(np.zeros_like(problem.weight))]])
    result = np.exp(np.interp(-kept, -x, np.log(np.maximum(y, np.finfo(float).tiny))))
    return np.where(kept >= 1.0, 0.0, result)
