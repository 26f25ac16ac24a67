"""What removing a share of a layer's weights costs it, and what rounding the others to integers adds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from netsurgeon.passes.solvers import linalg, obs
from netsurgeon.passes.solvers.damping import DAMPINGS, sample_rows
from netsurgeon.passes.solvers.integer_grid import round_to_integers
from netsurgeon.passes.solvers.linalg import Array
from netsurgeon.passes.solvers.masks import TILE_ROWS, Tiles
from netsurgeon.passes.solvers.methods import (
    ITERATED_COLUMNS,
    OBS_COLUMNS,
    QUICK_STEPS,
    Effort,
    iterate,
    largest_scaled,
    prune,
    quick_refit,
    refit_columns,
)
from netsurgeon.passes.solvers.problem import Problem

TRIAL_COLUMNS, TRIAL_STEPS, WIDE_TRIAL_STEPS = 256, 5, 2
"""The same for a trial: its error is measured, so it need not be the least. The last with little effort above
ITERATED_COLUMNS columns: on a layer of MiniLM for 40 to 50 % more error."""
ROUNDED_KEPT = (0.02, 0.1, 0.4, 1.0)
"""Shares of weights kept at which a layer is rounded: few weights hold most energy, so that rounding costs nearly as
much of them."""
TILED_KEPT = (0.5, 0.2)
"""Shares of weights kept at which tiles are compared with weights anywhere: what they cost more changes slowly."""
HASTY_ROWS = 32
"""Rows that an error curve is measured on for a first look: every second of 64 drawn, and all where fewer are."""
ROUNDED_ROWS, ROUNDED_ROWS_HASTY = 16, 8
"""Rows that stand for a layer: an error that adds up over so many columns differs little from row to row. The second
for a first look."""


def trial(problem: Problem, keep: int, *, effort: Effort = "full") -> tuple[Array, float]:
    """A plausible pruned weight and its δE relative to the output's energy: largest scaled weights, then a refit.

    Args:
        problem: the layer, its weight (groups, rows, columns).
        keep: weights left.
        effort: "full", or fewer steps where the layer is wide.

    Raises:
        FactorizationError: the damped Hessian has no Cholesky factor.
    """
    is_quick = effort != "full" and problem.weight.shape[-1] > ITERATED_COLUMNS
    pruned = refit_columns(problem, keep, TRIAL_COLUMNS, WIDE_TRIAL_STEPS if is_quick else TRIAL_STEPS)
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


def curve(problem: Problem, rng: np.random.Generator, tiles: Tiles | None = None, *, effort: Effort = "full") -> Curve:
    """Error curve of a dense layer from up to SAMPLED_ROWS of its rows a group, of weights in `tiles` if there are any.

    Args:
        problem: the layer, its weight (groups, rows, columns).
        rng: draws the rows.
        tiles: that weights are left in; None = anywhere.
        effort: how long it may take.

    Raises:
        FactorizationError: the damped Hessian has no Cholesky factor.
    """
    row_numbers = sample_rows(problem.weight, rng, 1 if tiles is None else TILE_ROWS)
    if effort == "hasty" and tiles is None:
        row_numbers = row_numbers[:: max(1, len(row_numbers) // HASTY_ROWS)]
    sampled = problem.rows(row_numbers)
    kept = np.concatenate([[1.0], 0.95 * 0.92 ** np.arange(84)])
    if problem.weight.shape[-1] <= OBS_COLUMNS:
        exact = obs.sweep(sampled.weight, linalg.inverse(sampled.hessian)).errors()
        errors = exact[sampled.weight.size - np.round(kept * sampled.weight.size).astype(int)]
    else:
        errors = _wide_errors(sampled, kept)
    if tiles is not None:
        errors = errors * _times_in_tiles(sampled, kept, tiles)
    return Curve(
        kept, np.maximum.accumulate(errors) * problem.relative(_times_sampled(problem, sampled)), problem.damping
    )


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


def _times_in_tiles(problem: Problem, kept: Array, tiles: Tiles) -> Array:
    """How many times the error of weights anywhere that of weights in tiles is, measured at TILED_KEPT."""

    def error(keep: int, pattern: Tiles | None) -> float:
        if problem.weight.shape[-1] > OBS_COLUMNS:
            return problem.error(quick_refit(problem, keep, pattern))
        return problem.error(prune(problem, keep, "admm", pattern, effort="fast"))

    keeps = [max(1, round(share * problem.weight.size)) for share in TILED_KEPT]
    errors = np.array([[error(keep, pattern) for keep in keeps] for pattern in (None, tiles)])
    anywhere, tiled = np.log(np.maximum(errors, np.finfo(float).tiny))
    return np.asarray(np.exp(np.interp(-kept, -np.array(TILED_KEPT), tiled - anywhere)))


def _times_sampled(problem: Problem, sampled: Problem) -> float:
    """How many times the energy of sampled rows that of all is."""
    return problem.damped_energy / max(sampled.damped_energy, np.finfo(float).tiny)


@dataclasses.dataclass(frozen=True)
class RoundingCost:
    """What integers up to one size cost a layer, at each of ROUNDED_KEPT.

    Attributes:
        errors: damped, what they add to the error of pruning, relative to the energy of the layer's output, (points,).
        nonzero: share of the weights kept that do not become 0, (points,).
    """

    errors: Array
    nonzero: Array

    def error_at(self, kept: Array) -> Array:
        """What is added with these shares of the weights kept."""
        return np.asarray(np.interp(kept, ROUNDED_KEPT, self.errors))

    def nonzero_at(self, kept: Array) -> Array:
        """Share of all weights that is not 0 in the end."""
        return np.asarray(kept * np.interp(kept, ROUNDED_KEPT, self.nonzero))


def rounding_costs(
    problem: Problem, sizes: Sequence[int], rng: np.random.Generator, blocks: int = 1, *, effort: Effort = "full"
) -> dict[int, RoundingCost]:
    """The costs by largest integer, from up to ROUNDED_ROWS of a dense layer's rows a group.

    Pruning leaves each row at the least error of its support, so that what rounding adds is ‖s c − w‖_H, with w the
    pruned row: the two errors add up. H is damped, as in `Curve`: where inputs are few, rounding fits them alone, and
    without damping a classifier behind global pooling seems to lose a fifth of what it loses on other inputs.

    Args:
        problem: of the layer.
        sizes: largest integers.
        rng: draws the rows.
        blocks: see `round_to_integers`.
        effort: how long it may take.

    Raises:
        FactorizationError: the damped Hessian has no Cholesky factor.
    """
    most_rows = ROUNDED_ROWS_HASTY if effort == "hasty" else ROUNDED_ROWS
    rows = sample_rows(problem.weight, rng)
    sampled = problem.rows(rows[:: max(1, len(rows) // most_rows)])
    unit = problem.relative(_times_sampled(problem, sampled))
    present = np.count_nonzero(sampled.weight)
    keeps = [max(1, round(share * present)) for share in ROUNDED_KEPT[:-1]]
    pruned = [*(refit_columns(sampled, keep, TRIAL_COLUMNS, TRIAL_STEPS) for keep in keeps), sampled.weight]
    # rows are rounded each by itself, column after column: those of all shares and sizes take little longer than one's
    weight = np.concatenate(pruned * len(sizes), axis=1)
    left = dataclasses.replace(sampled, weight=weight, target=weight @ sampled.hessian)
    choices = (len(sizes), len(ROUNDED_KEPT), -1)
    most = np.empty(weight.shape[:2])
    most.reshape(len(weight), *choices)[:] = np.reshape(sizes, (-1, 1, 1))
    integers = round_to_integers(left, weight != 0.0, most, blocks, is_quick=effort == "hasty")
    errors = unit * left.row_errors(integers.weight).reshape(choices).sum(axis=-1)
    nonzero, present = (
        np.count_nonzero(numbers, axis=(0, 2)).reshape(choices).sum(axis=-1) for numbers in (integers.codes, weight)
    )
    shares = nonzero / np.maximum(present, 1)
    return {size: RoundingCost(errors[at], shares[at]) for at, size in enumerate(sizes)}
