"""What removing a share of a layer's weights costs it, at several shares."""

from __future__ import annotations

import dataclasses

import numpy as np

from netsurgeon.passes.solvers import linalg, obs
from netsurgeon.passes.solvers.damping import DAMPINGS, sample_rows
from netsurgeon.passes.solvers.linalg import Array
from netsurgeon.passes.solvers.methods import OBS_COLUMNS, QUICK_STEPS, iterate, largest_scaled, refit_columns
from netsurgeon.passes.solvers.problem import Problem

TRIAL_COLUMNS, TRIAL_STEPS = 256, 5
"""The same for a trial: its error is measured, so it need not be the least."""


def trial(problem: Problem, keep: int) -> tuple[Array, float]:
    """A plausible pruned weight and its δE relative to the output's energy: largest scaled weights, then a refit.

    Raises:
        FactorizationError: the damped Hessian has no Cholesky factor.
    """
    pruned = refit_columns(problem, keep, TRIAL_COLUMNS, TRIAL_STEPS)
    return pruned, problem.relative(problem.excess(pruned))


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
    row_numbers = sample_rows(problem.weight, rng)
    sampled = problem.rows(row_numbers)
    whole, part = (float(np.sum(problem_part.target * problem_part.weight)) for problem_part in (problem, sampled))
    share = whole / max(part, np.finfo(float).tiny)
    kept = np.concatenate([[1.0], 0.95 * 0.92 ** np.arange(84)])
    if problem.weight.shape[-1] <= OBS_COLUMNS:
        exact = obs.sweep(sampled.weight, linalg.inverse(sampled.hessian)).errors()
        errors = exact[sampled.weight.size - np.round(kept * sampled.weight.size).astype(int)]
    else:
        errors = _wide_errors(sampled, kept)
    return Curve(kept, np.maximum.accumulate(errors) * problem.relative(share), problem.damping)


def _wide_errors(problem: Problem, kept: Array) -> Array:
    """Errors of quick prunings at a few points, interpolated in logarithms between them."""
    points = np.array([0.6, 0.35, 0.2, 0.1, 0.03])
    masks = [largest_scaled(problem, round(point * problem.weight.size)) for point in points]
    # all points at once: a pass over a wide Hessian takes as long for one of them
    together = problem.rows(np.tile(np.arange(problem.weight.shape[1]), len(points)))
    refitted = iterate(together, np.concatenate(masks, axis=1), QUICK_STEPS)
    errors = together.row_errors(refitted).reshape(len(points), -1).sum(axis=1)
    x = np.concatenate([[1.0], points, [0.0]])
    y = np.concatenate([[0.25 * errors[0]], errors, [problem.error(np.zeros_like(problem.weight))]])
    result = np.exp(np.interp(-kept, -x, np.log(np.maximum(y, np.finfo(float).tiny))))
    return np.where(kept >= 1.0, 0.0, result)
