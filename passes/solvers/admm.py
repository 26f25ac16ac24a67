"""ADMM for the support of a sparse layer (ALPS, arXiv 2406.07831).

    W = (W₀H − V + ρD)(H + ρI)⁻¹,   D = top-k(W + V/ρ),   V += ρ(W − D)

with columns scaled to unit diagonal of H. As V + ρ(W − D) = ρ((W + V/ρ) − D), the next V is what D
leaves of W + V/ρ.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import scipy.linalg

from netsurgeon.passes.solvers.linalg import Array, FactorizationError, Mask, inverse
from netsurgeon.passes.solvers.masks import Pattern, choose
from netsurgeon.passes.solvers.parallel import for_each_part


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How the penalty grows.

    Attributes:
        start: first penalty, as a multiple of the mean eigenvalue (which is 1 after scaling).
        growth: every `hold` steps the penalty grows by the second number where more than the first share of the support
            changed.
        steps: most steps.
        hold: steps with the same penalty.
        relaxation: W is taken so many times as far from D as it lies: over 1 fewer steps do.
    """

    start: float
    growth: tuple[tuple[float, float], ...]
    steps: int
    hold: int = 3
    relaxation: float = 1.0


PAPER = Schedule(0.1, ((0.1, 1.3), (0.005, 1.2), (0.0, 1.1)), 300)
WIDE = Schedule(0.1, ((0.1, 2.0), (0.005, 1.6), (0.0, 1.29)), 32, 8)
"""The paper's pace with fewer penalties, for each takes a factorisation; no more error in as many steps."""
SHORT = Schedule(0.03, ((0.1, 2.5), (0.005, 2.0), (0.0, 1.5)), 24, 6)
"""A small penalty first and a steeper rise, settled by the 24th step. On a layer of MiniLM and on random problems of up
to 256 columns, a quarter to a half of the weights kept, 0.2 to 9 % less error than 20 steps of WIDE."""
HASTY = Schedule(0.05, ((0.1, 2.5), (0.005, 2.0), (0.0, 1.5)), 8, 2, relaxation=1.6)
"""For a first look at wide layers, in two fifths of the time. On a layer of MiniLM and a made-up one of 1536 columns, a
quarter and half of the weights kept, 2 to 18 % more error than SHORT or WIDE; without the relaxation it is more."""
SLOW = Schedule(0.03, ((0.1, 1.1), (0.005, 1.07), (0.0, 1.05)), 300)
"""Three times the steps of the paper's schedule for 3 to 20 % less error on trained layers."""
FLOAT32_COLUMNS = 448
FACTORED_STEPS = 60
"""Up to so many steps a Cholesky factor for every penalty is cheaper than one eigendecomposition, worth 40 of them."""
ROWS_AT_ONCE, SPLIT_SIZE = 256, 1 << 20
"""Rows that a step takes at once, in weights of more numbers than the second: what is between two products stays in the
cache, and all cores have work."""
INVERTED_COLUMNS = 1024
"""Above this width, and with as many rows, an inverse for every penalty is cheaper still."""
STACKED_COLUMNS = 64
"""Up to this width the eigenvectors of all groups come from one call; factors would take one for each group."""


class Scaled:
    """A damped Hessian scaled to unit diagonal, and H + ρI to be solved with; float32 above FLOAT32_COLUMNS columns.

    Attributes:
        scale: square root of the Hessian's diagonal, (groups, 1, columns).
        hessian: scaled H, (groups, columns, columns).
    """

    def __init__(self, hessian: Array):
        dtype = np.float32 if hessian.shape[-1] > FLOAT32_COLUMNS else np.float64
        scale = np.sqrt(np.einsum("gii->gi", hessian))[:, None, :]
        self.hessian: npt.NDArray[np.floating] = (hessian / scale / scale.transpose(0, 2, 1)).astype(dtype)
        self.scale: npt.NDArray[np.floating] = scale.astype(dtype)

    def penalise(self, rho: float) -> None:
        """Set the penalty that `solve` goes by."""
        raise NotImplementedError

    def solve(self, target: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """``target @ (H + ρI)⁻¹``, (groups, rows, columns)."""
        raise NotImplementedError


class Eigenbasis(Scaled):
    """A new ρ costs nothing: two matrix products a step."""

    def __init__(self, hessian: Array):
        super().__init__(hessian)
        values, self._vectors = np.linalg.eigh(self.hessian)
        floor = np.finfo(values.dtype).eps * values[:, -1:]
        self._values = np.maximum(values, floor)[:, None, :]
        self._shifted = self._values

    def penalise(self, rho: float) -> None:
        """Set the penalty that `solve` goes by."""
        self._shifted = self._values + rho

    def solve(self, target: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """``target @ (H + ρI)⁻¹``, (groups, rows, columns)."""
        return np.asarray(((target @ self._vectors) / self._shifted) @ self._vectors.transpose(0, 2, 1))


class Factored(Scaled):
    """A new ρ costs a Cholesky factor: less than an eigendecomposition where steps are few."""

    def __init__(self, hessian: Array):
        super().__init__(hessian)
        self._rho: float | None = None
        self._factors: list[npt.NDArray[np.floating]] = []

    def penalise(self, rho: float) -> None:
        """Set the penalty that `solve` goes by."""
        if rho != self._rho:
            shift = rho * np.eye(self.hessian.shape[-1], dtype=self.hessian.dtype)
            self._factors, self._rho = [_factor(hessian + shift) for hessian in self.hessian], rho

    def solve(self, target: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """``target @ (H + ρI)⁻¹``, (groups, rows, columns)."""
        solved = [
            scipy.linalg.cho_solve((factor, True), rows.T, check_finite=False).T
            for factor, rows in zip(self._factors, target, strict=True)
        ]
        return np.stack(solved)


class Inverted(Scaled):
    """A new ρ costs an inverse: a step is one product, in four fifths of the time of two triangular solutions."""

    def __init__(self, hessian: Array):
        super().__init__(hessian)
        self._rho: float | None = None
        self._inverse: npt.NDArray[np.floating] = self.hessian

    def penalise(self, rho: float) -> None:
        """Set the penalty that `solve` goes by."""
        if rho != self._rho:
            shift = rho * np.eye(self.hessian.shape[-1], dtype=self.hessian.dtype)
            self._inverse, self._rho = inverse(self.hessian + shift), rho

    def solve(self, target: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """``target @ (H + ρI)⁻¹``, (groups, rows, columns)."""
        return np.asarray(target @ self._inverse)


def _factor(matrix: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    try:
        return np.asarray(scipy.linalg.cholesky(matrix, lower=True, overwrite_a=True, check_finite=False))
    except scipy.linalg.LinAlgError as error:
        raise FactorizationError("the damped and penalised Hessian is not positive definite") from error


def scaled(hessian: Array, schedule: Schedule, rows: int) -> Scaled:
    """The cheapest for a schedule and so many rows; `hessian` is damped, (groups, columns, columns)."""
    columns = hessian.shape[-1]
    if schedule.steps > FACTORED_STEPS or columns <= STACKED_COLUMNS:
        return Eigenbasis(hessian)
    return Inverted(hessian) if INVERTED_COLUMNS < columns <= rows else Factored(hessian)


def support(
    weight: Array, problem: Scaled, keep: int, pattern: Pattern | None = None, schedule: Schedule = SLOW
) -> tuple[Mask, npt.NDArray[np.floating]]:
    """Mask (groups, rows, columns) that keeps `keep` weights over the layer, as far as `pattern` allows.

    Beside it the weights that the last step has left on it, close to the best ones.
    """
    shifted = (weight * problem.scale).astype(problem.hessian.dtype)
    target = shifted @ problem.hessian
    rho, score, dual = schedule.start, np.abs(shifted), np.zeros_like(shifted)
    mask = choose(score, keep, pattern)
    settled = mask

    def work(part: npt.NDArray[np.int64]) -> None:
        rows = np.s_[:, part[0] : part[-1] + 1]
        sparse = shifted[rows] * mask[rows]
        dense = problem.solve(target[rows] + rho * sparse - dual[rows])
        if schedule.relaxation != 1.0:
            dense = sparse + schedule.relaxation * (dense - sparse)
        shifted[rows] = dense + dual[rows] / rho
        score[rows] = np.abs(shifted[rows])

    def settle(part: npt.NDArray[np.int64]) -> None:
        rows = np.s_[:, part[0] : part[-1] + 1]
        np.multiply(shifted[rows], ~mask[rows], out=dual[rows])
        dual[rows] *= rho

    for step in range(1, schedule.steps + 1):
        problem.penalise(rho)
        _each(work, shifted)
        mask = choose(score, keep, pattern)
        _each(settle, shifted)
        if step % schedule.hold == 0:
            changed = np.count_nonzero(mask != settled) / (2.0 * max(int(mask.sum()), 1))
            if changed == 0.0:
                break
            settled = mask
            rho *= next(factor for share, factor in schedule.growth if changed > share)
    shifted *= mask
    shifted /= problem.scale
    return mask, shifted


def _each(work: Callable[[npt.NDArray[np.int64]], None], weight: npt.NDArray[np.floating]) -> None:
    """Call `work` with the rows of a weight, some of them at once where they are many."""
    if weight.size > SPLIT_SIZE:
        for_each_part(work, weight.shape[1], ROWS_AT_ONCE)
    else:
        work(np.arange(weight.shape[1]))
