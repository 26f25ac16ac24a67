"""One layer's least-squares problem: its weight, its Hessian and its target."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from netsurgeon.passes.solvers import linalg
from netsurgeon.passes.solvers.linalg import Array
from netsurgeon.passes.solvers.statistics import Statistics


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
        solved = statistics.cross is statistics.gram and statistics.residual_cross is None
        if solved and (statistics.ridge is None or not statistics.dead.any()):
            exact = np.where(statistics.dead[:, None, :], 0.0, weight) if statistics.dead.any() else weight
        else:
            exact = linalg.solve(target, hessian)
        return cls(
            target=target, hessian=hessian, weight=exact, damping=damping, absolute=absolute, ridge=statistics.ridge
        )

    def error(self, weight: Array) -> float:
        """‖weight − W₀‖²_H, the damped δE."""
        return float(np.sum(self.row_errors(weight)))

    def row_errors(self, weight: Array) -> Array:
        """The same of each row, over all groups, (rows,)."""
        errors = np.empty(weight.shape[1])
        for rows in linalg.row_parts(weight.shape[1]):
            difference = weight[:, rows] - self.weight[:, rows]
            errors[rows] = np.einsum("grc,grc->r", linalg.product(difference, self.hessian), difference)
        return errors

    @property
    def energy(self) -> float:
        """Energy of the layer's output W₀ X, per sample: ‖W₀‖²_H without the damping; 0 where the rest is rounding."""
        damped = self.damped_energy
        residual = damped - float(np.sum(self._damped(self.weight)))
        return residual if residual > math.sqrt(np.finfo(self.hessian.dtype).eps) * damped else 0.0

    @property
    def damped_energy(self) -> float:
        """‖W₀‖²_H, with the damping."""
        parts = linalg.row_parts(self.weight.shape[1])
        return float(sum(np.sum(self.target[:, rows] * self.weight[:, rows]) for rows in parts))

    def relative(self, error: float) -> float:
        """An error in units of the output's energy; 0 where that has none, for then nothing is seen of any error."""
        energy = self.energy
        return error / energy if energy else 0.0

    def excess(self, weight: Array) -> float:
        """δE of another weight, per sample: its error without the damping; at least 0."""
        return max(float(np.sum(self.row_excess(weight))), 0.0)

    def row_excess(self, weight: Array) -> Array:
        """The same of each row, over all groups, (rows,); what is 0 may be rounded below it."""
        excess = self.row_errors(weight)
        for rows in linalg.row_parts(weight.shape[1]):
            excess[rows] -= self._damped(weight[:, rows] - self.weight[:, rows])
        return excess

    def _damped(self, difference: Array) -> Array:
        """The part of ‖difference‖²_H that is damping, of each row, (rows,)."""
        ridged = difference if self.ridge is None else difference @ self.ridge
        return np.asarray(np.einsum("g,grc,grc->r", self.absolute, ridged, difference))

    def rows(self, selected: npt.NDArray[np.int64]) -> Problem:
        """The same problem for some of the rows."""
        return dataclasses.replace(self, target=self.target[:, selected], weight=self.weight[:, selected])


def damped(weight: Array, statistics: Statistics, damping: float) -> tuple[Array, Array, Array]:
    """Damped Ĥ, target W C + λWR + D and the absolute λ of each group.

    Dead inputs get an identity row and target 0, so that their weight is 0.
    """
    hessian = statistics.gram.copy()
    diagonal = np.einsum("gii->gi", hessian)
    absolute = damping * diagonal.mean(axis=1)
    absolute = np.where(absolute > 0.0, absolute, 1.0)
    dead = statistics.dead
    target = target_moments(weight, statistics)
    if statistics.ridge is None:
        for rows in linalg.row_parts(weight.shape[1]):
            target[:, rows] += absolute[:, None, None] * weight[:, rows]
        diagonal += absolute[:, None]
    else:
        added = absolute[:, None, None] * statistics.ridge
        target += weight @ added
        hessian += added
    for g in np.flatnonzero(dead.any(axis=1)):
        hessian[g, dead[g]] = 0.0
        hessian[g][:, dead[g]] = 0.0
        hessian[g, dead[g], dead[g]] = absolute[g]
        target[g][:, dead[g]] = 0.0
    return hessian, target, absolute


def target_moments(weight: Array, statistics: Statistics) -> Array:
    """Cross moments (groups, rows, columns) of the wanted outputs with the inputs, lost shortcuts included."""
    target = linalg.product(weight, statistics.cross)
    if statistics.residual_cross is not None:
        target += statistics.residual_cross
    return target


def energy(weight: Array, statistics: Statistics) -> float:
    """Energy of a layer's output, per sample; never 0."""
    return max(float(np.sum((weight @ statistics.gram) * weight)), np.finfo(float).tiny)
