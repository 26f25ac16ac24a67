"""ADMM for the support of a sparse layer (ALPS, arXiv 2406.07831), worked in the Hessian's eigenbasis.

    W = (W₀H − V + ρD)(H + ρI)⁻¹,   D = top-k(W + V/ρ),   V += ρ(W − D)

with columns scaled to unit diagonal of H. A new ρ costs nothing in the eigenbasis: two matrix products a step.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from netsurgeon.passes._linalg import Array, Mask
from netsurgeon.passes._masks import Pattern, choose


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How the penalty grows.

    Attributes:
        start: first penalty, as a multiple of the mean eigenvalue (which is 1 after scaling).
        growth: every third step the penalty grows by the second number where more than the first share of the
            support changed.
        steps: most steps.
    """

    start: float
    growth: tuple[tuple[float, float], ...]
    steps: int


PAPER = Schedule(0.1, ((0.1, 1.3), (0.005, 1.2), (0.0, 1.1)), 300)
SLOW = Schedule(0.03, ((0.1, 1.1), (0.005, 1.07), (0.0, 1.05)), 300)
"""Three times the steps of the paper's schedule for 3 to 20 % less error on trained layers."""
FLOAT32_COLUMNS = 448


@dataclasses.dataclass(frozen=True)
class Eigenbasis:
    """H scaled to unit diagonal and its eigendecomposition; float32 above FLOAT32_COLUMNS columns.

    Attributes:
        scale: square root of H's diagonal, (groups, 1, columns).
        hessian: scaled H, (groups, columns, columns).
        values: eigenvalues, (groups, 1, columns).
        vectors: eigenvectors as columns, (groups, columns, columns).
    """

    scale: npt.NDArray[np.floating] = dataclasses.field(repr=False)
    hessian: npt.NDArray[np.floating] = dataclasses.field(repr=False)
    values: npt.NDArray[np.floating] = dataclasses.field(repr=False)
    vectors: npt.NDArray[np.floating] = dataclasses.field(repr=False)

    @classmethod
    def of(cls, hessian: Array) -> Eigenbasis:
        """Scale and decompose a damped Hessian (groups, columns, columns)."""
        dtype = np.float32 if hessian.shape[-1] > FLOAT32_COLUMNS else np.float64
        scale = np.sqrt(np.einsum("gii->gi", hessian))[:, None, :]
        scaled = (hessian / scale / scale.transpose(0, 2, 1)).astype(dtype)
        values, vectors = np.linalg.eigh(scaled)
        floor = np.finfo(dtype).eps * values[:, -1:]
        return cls(scale.astype(dtype), scaled, np.maximum(values, floor)[:, None, :], vectors)


def support(
    weight: Array, basis: Eigenbasis, keep: int, pattern: Pattern | None = None, schedule: Schedule = SLOW
) -> Mask:
    """Mask (groups, rows, columns) that keeps `keep` weights over the layer, or what `pattern` allows."""
    scaled = (weight * basis.scale).astype(basis.hessian.dtype)
    rotated = (scaled @ basis.hessian) @ basis.vectors
    back = basis.vectors.transpose(0, 2, 1)
    rho, dual = schedule.start, np.zeros_like(scaled)
    mask = choose(np.abs(scaled), keep, pattern)
    sparse = scaled * mask
    settled = mask
    for step in range(1, schedule.steps + 1):
        dense = ((rotated + (rho * sparse - dual) @ basis.vectors) / (basis.values + rho)) @ back
        shifted = dense + dual / rho
        mask = choose(np.abs(shifted), keep, pattern)
        sparse = shifted * mask
        dual += rho * (dense - sparse)
        if step % 3 == 0:
            changed = np.count_nonzero(mask != settled) / (2.0 * max(int(mask.sum()), 1))
            if changed == 0.0:
                break
            settled = mask
            rho *= next(factor for share, factor in schedule.growth if changed > share)
    return mask
