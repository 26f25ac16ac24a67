"""A scaled Hessian, and the cheapest way to solve with it and one penalty after the other."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
import scipy.linalg

from netsurgeon.passes.solvers.admm.schedule import Schedule
from netsurgeon.passes.solvers.linalg import Array, FactorizationError, Floats, inverse

FLOAT32_COLUMNS = 448
FACTORED_STEPS = 60
"""Up to so many steps a Cholesky factor for every penalty is cheaper than one eigendecomposition, worth 40 of them."""
INVERTED_COLUMNS = 1024
"""Above this width, and with as many rows, an inverse for every penalty is cheaper still."""
STACKED_COLUMNS = 64
"""Up to this width the eigenvectors of all groups come from one call; factors would take one for each group."""


class Penalised(Protocol):
    """H + ρI of a scaled Hessian, to be solved with."""

    def solve(self, target: Floats) -> Floats:
        """``target @ (H + ρI)⁻¹``, (groups, rows, columns)."""


class Scaled:
    """A damped Hessian scaled to unit diagonal; float32 above FLOAT32_COLUMNS columns.

    Attributes:
        scale: square root of the Hessian's diagonal, (groups, 1, columns).
        hessian: scaled H, (groups, columns, columns).
    """

    def __init__(self, hessian: Array):
        dtype = np.float32 if hessian.shape[-1] > FLOAT32_COLUMNS else np.float64
        scale = np.sqrt(np.einsum("gii->gi", hessian))[:, None, :]
        self.hessian: Floats = (hessian / scale / scale.transpose(0, 2, 1)).astype(dtype)
        self.scale: Floats = scale.astype(dtype)

    def penalised(self, rho: float) -> Penalised:
        """H + ρI.

        Raises:
            FactorizationError: it is not positive definite.
        """
        raise NotImplementedError


class Eigenbasis(Scaled):
    """A new ρ costs nothing: two matrix products a step."""

    def __init__(self, hessian: Array):
        super().__init__(hessian)
        values, self._vectors = np.linalg.eigh(self.hessian)
        floor = np.finfo(values.dtype).eps * values[:, -1:]
        self._values = np.maximum(values, floor)[:, None, :]

    def penalised(self, rho: float) -> Penalised:
        """H + ρI."""
        return _ByEigenvectors(self._vectors, self._values + rho)


class Factored(Scaled):
    """A new ρ costs a Cholesky factor: less than an eigendecomposition where steps are few."""

    def penalised(self, rho: float) -> Penalised:
        """H + ρI."""
        shift = rho * np.eye(self.hessian.shape[-1], dtype=self.hessian.dtype)
        return _ByFactors([_factor(hessian + shift) for hessian in self.hessian])


class Inverted(Scaled):
    """A new ρ costs an inverse: a step is one product, in four fifths of the time of two triangular solutions."""

    def penalised(self, rho: float) -> Penalised:
        """H + ρI."""
        shift = rho * np.eye(self.hessian.shape[-1], dtype=self.hessian.dtype)
        return _ByInverse(inverse(self.hessian + shift))


@dataclasses.dataclass(frozen=True)
class _ByEigenvectors:
    vectors: Floats
    values: Floats

    def solve(self, target: Floats) -> Floats:
        return np.asarray(((target @ self.vectors) / self.values) @ self.vectors.transpose(0, 2, 1))


@dataclasses.dataclass(frozen=True)
class _ByFactors:
    factors: list[Floats]

    def solve(self, target: Floats) -> Floats:
        solved = [
            scipy.linalg.cho_solve((factor, True), rows.T, check_finite=False).T
            for factor, rows in zip(self.factors, target, strict=True)
        ]
        return np.stack(solved)


@dataclasses.dataclass(frozen=True)
class _ByInverse:
    inverse: Floats

    def solve(self, target: Floats) -> Floats:
        return np.asarray(target @ self.inverse)


def _factor(matrix: Floats) -> Floats:
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
