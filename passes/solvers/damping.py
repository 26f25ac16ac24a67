"""Choose the damping λ of a layer on rows that are held out."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from netsurgeon.passes.solvers import linalg
from netsurgeon.passes.solvers.linalg import Array, FactorizationError
from netsurgeon.passes.solvers.methods import OBS_COLUMNS, quick_refit
from netsurgeon.passes.solvers.problem import Problem, target_moments
from netsurgeon.passes.solvers.statistics import Statistics

logger = logging.getLogger(__name__)

DAMPINGS = (1e-2, 1e-3, 1e-4, 1e-1, 1.0)
"""The usual one first; 1 where there are fewer samples than columns, as in a classifier behind global pooling."""


WIDE_DAMPINGS = (1e-2, 1e-1, 1.0)
"""Of layers wider than OBS_COLUMNS: each candidate costs a factorisation."""


RIDGE_DAMPINGS = (1.0, 1e-1)
"""Of a ridge that is not the identity: it knows of directions that too few samples do not show."""


AMPLE = 10
"""With so many samples a column a layer takes DAMPINGS[0] without a choice, or with more than OBS_COLUMNS columns
AMPLE_WIDE_DAMPING: a correction that rests on so much needs no more, whatever single positions of a feature map say."""


AMPLE_WIDE_DAMPING = 1e-3


NEAR_TIE = 0.002
"""Dampings whose held-out errors differ by less than this share of the output's energy count as equal."""


SAMPLED_ROWS = 64


WIDE_SAMPLED_ROWS = 24
"""Rows that stand for a layer in error curves and the choice of damping; fewer above FEW_ROWS_COLUMNS columns."""


FEW_ROWS_COLUMNS = 900


def choose_damping(weight: Array, fit: Statistics, held_out: Statistics, keep: int, rng: np.random.Generator) -> float:
    """The first λ of the layer's list whose refit on a magnitude-like support is all but the best on held-out samples.

    The list is RIDGE_DAMPINGS with a ridge, else WIDE_DAMPINGS above OBS_COLUMNS columns, else DAMPINGS.

    Near-ties are noise: the mask that the solver finds later is a better one, and needs less damping.

    Args:
        weight: dense, (groups, rows, columns).
        fit: statistics that weights are refitted on.
        held_out: those of other samples, on which the refits are compared.
        keep: weights left in the whole layer.
        rng: draws the rows that are tried.
    """
    columns = weight.shape[-1]
    if fit.count >= AMPLE * columns:
        return AMPLE_WIDE_DAMPING if columns > OBS_COLUMNS else DAMPINGS[0]
    row_numbers = sample_rows(weight, rng)
    share = keep / weight.size
    weight, fit, held_out = weight[:, row_numbers], fit.rows(row_numbers), held_out.rows(row_numbers)
    keep = max(1, round(share * weight.size))
    dampings = RIDGE_DAMPINGS if fit.ridge is not None else WIDE_DAMPINGS if columns > OBS_COLUMNS else DAMPINGS
    errors = []
    for damping in dampings:
        try:
            refitted = quick_refit(Problem.of(weight, fit, damping), keep)
            errors.append(linalg.quadratic_error(refitted, target_moments(weight, held_out), held_out.gram))
        except FactorizationError:
            errors.append(np.inf)
    errors = [error if np.isfinite(error) else np.inf for error in errors]
    # The errors lack a constant, the energy of the dense output: the least of them is minus what a refit explains.
    explained = abs(min(errors))
    limit = min(errors) + NEAR_TIE * explained
    damping = next(damping for damping, error in zip(dampings, errors, strict=True) if error <= limit)
    logger.debug("damping %g of %s: held-out errors %s", damping, dampings, errors)
    return damping


def sample_rows(weight: npt.NDArray[Any], rng: np.random.Generator, together: int = 1) -> npt.NDArray[np.int64]:
    """Rows of a (groups, rows, columns) weight on which the damping is tried; few of them where it is wide.

    So many are drawn `together`, one after the other; fewer rows than that at the end are never drawn.

    Args:
        weight: (groups, rows, columns); only its shape matters.
        rng: draws the rows.
        together: rows that are drawn as one.
    """
    rows, columns = weight.shape[1:]
    limit = SAMPLED_ROWS if columns <= FEW_ROWS_COLUMNS else WIDE_SAMPLED_ROWS
    drawn = rng.choice(rows // together, size=min(rows, limit) // together, replace=False)
    return (np.sort(drawn)[:, None] * together + np.arange(together)).ravel()
