"""What calibration hands to passes: streamed moments of a layer's inputs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

from netsurgeon.passes.solvers.linalg import Array

Rows = npt.NDArray[np.float32]
DOUBLE_LIMIT = 2048
"""Wider Hessians are accumulated in float32: half the memory, and damping is far above the rounding."""
ROUNDING = 1e-12
"""An input whose variance is no more than this share of its squared mean is constant."""
LARGE, SMALL = 1e14, 1e-14
"""Float32 holds sums of 10^10 squares of numbers between them; where a batch's largest is none, float64 takes over."""
ROWS_AT_ONCE = 32
"""Of sums that are moved to another origin."""
FEWEST_TO_TELL = 32
"""With fewer samples no input is called dead: one that fires in one sample out of ten is easily missed."""


@dataclasses.dataclass(frozen=True)
class Means:
    """Means of one layer's inputs, see `Statistics`: what its bias makes up for.

    Attributes:
        dense: of X, (groups, columns).
        current: of X̂, (groups, columns).
        residual: of L, (groups, rows); None where nothing can be missed.
    """

    dense: Array = dataclasses.field(repr=False)
    current: Array = dataclasses.field(repr=False)
    residual: Array | None = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Second moments of one layer's inputs, per group; X dense inputs, X̂ inputs in the current model, N samples.

    The layer can make up for a part of what its output misses without any fault of its own, L: S − Ŝ where another
    branch S of the network is added to it. Where X̂ stands for X too, because `cross` would be more work, L holds
    W (X − X̂) as well: both ways W X X̂ᵀ + (S − Ŝ) X̂ᵀ = W `cross` + `residual_cross`.

    Attributes:
        count: N.
        centred: whether the means were subtracted, because the layer's bias can take them up.
        dense_mean: mean of X, (groups, columns).
        current_mean: mean of X̂, (groups, columns).
        gram: X̂ X̂ᵀ / N, (groups, columns, columns), undamped.
        cross: X X̂ᵀ / N, (groups, columns, columns); the same array as `gram` where X̂ is X.
        residual_cross: L X̂ᵀ / N, (groups, rows, columns); None where nothing can be missed.
        residual_mean: mean of L, (groups, rows); None where nothing can be missed.
        varies: whether any input differs between samples; one sample, or many that are alike, tell of none.
        removed_inputs: inputs that nobody makes any more, (groups, columns); None = all are made.
        ridge: what damping multiplies, (groups, columns, columns), of mean diagonal 1; None = the identity.
    """

    count: int
    centred: bool
    dense_mean: Array = dataclasses.field(repr=False)
    current_mean: Array = dataclasses.field(repr=False)
    gram: Array = dataclasses.field(repr=False)
    cross: Array = dataclasses.field(repr=False)
    residual_cross: Array | None = dataclasses.field(default=None, repr=False)
    residual_mean: Array | None = dataclasses.field(default=None, repr=False)
    varies: bool = True
    removed_inputs: npt.NDArray[np.bool_] | None = dataclasses.field(default=None, repr=False)
    ridge: Array | None = dataclasses.field(default=None, repr=False)

    @property
    def means(self) -> Means:
        """Without the second moments."""
        return Means(self.dense_mean, self.current_mean, self.residual_mean)

    @property
    def is_finite(self) -> bool:
        """Whether the layer can be measured: where numbers have overflowed nothing is known of it."""
        moments = (self.gram, self.cross, self.residual_cross, self.dense_mean, self.current_mean, self.residual_mean)
        return all(bool(np.isfinite(moment).all()) for moment in moments if moment is not None)

    @property
    def dead(self) -> npt.NDArray[np.bool_]:
        """Inputs that are gone or never vary (never fire, where not centred), (groups, columns).

        Weights of those that never vary are removed for nothing, so none is where the samples cannot tell: they are
        few, or all alike.
        """
        removed_inputs = np.zeros(self.gram.shape[:2], bool) if self.removed_inputs is None else self.removed_inputs
        if self.count < FEWEST_TO_TELL or not self.varies:
            return removed_inputs
        energy = np.einsum("gii->gi", self.gram)
        scale = energy.max(axis=1, keepdims=True)
        return np.asarray(removed_inputs | (energy <= 1e-10 * scale))

    def without(self, columns: npt.NDArray[np.bool_], rows: npt.NDArray[np.bool_] | None = None) -> Statistics:
        """The same statistics where some of the current inputs are gone: dead from now on.

        Args:
            columns: True = gone, (groups, columns).
            rows: outputs that nobody reads any more: they miss nothing, (groups, rows).
        """

        def zeroed(moment: Array) -> Array:
            return np.where(columns[:, None, :], 0.0, moment)

        gram = np.where(columns[:, :, None], 0.0, zeroed(self.gram))
        residual = None if self.residual_cross is None else zeroed(self.residual_cross)
        if residual is not None and rows is not None:
            residual[rows] = 0.0
        return dataclasses.replace(
            self, gram=gram, cross=zeroed(self.cross), residual_cross=residual, removed_inputs=columns
        )

    def rows(self, selected: npt.NDArray[np.int64]) -> Statistics:
        """The same statistics for some of the layer's rows."""
        if self.residual_cross is None or self.residual_mean is None:
            return self
        return dataclasses.replace(
            self, residual_cross=self.residual_cross[:, selected], residual_mean=self.residual_mean[:, selected]
        )


class Moments:
    """Accumulates moments batch by batch; activations are never kept.

    Sums run around the first batch's mean, so that centring loses no digits.
    """

    def __init__(self, groups: int, columns: int, *, paired: bool):
        dtype = np.float64 if columns <= DOUBLE_LIMIT else np.float32
        self.count = 0
        self.paired = paired
        self._origin: tuple[Rows, Rows] | None = None
        self._sums = np.zeros((2, groups, columns))
        self._gram = np.zeros((groups, columns, columns), dtype)
        self._cross = np.zeros((groups, columns, columns), dtype) if paired else self._gram
        self._residual: tuple[Rows, Array] | None = None

    @property
    def varies(self) -> bool:
        """Whether any input (the current model's, where paired) differs between samples by more than rounding."""
        if self.count == 0 or self._origin is None:
            return False
        offsets = self._sums[1] / self.count
        energy = np.einsum("gii->gi", self._gram) / self.count - offsets**2
        return bool((energy > ROUNDING * (self._origin[1] + offsets) ** 2).any())

    def update(self, dense: Rows, current: Rows | None = None, residual: Rows | None = None) -> None:
        """Add a batch.

        Args:
            dense: dense inputs, (groups, samples, columns); where not paired, the only ones.
            current: where paired, the current ones, of the same shape.
            residual: what the output misses, see `Statistics`, (groups, samples, rows); in every batch or in none.
        """
        if dense.shape[1] == 0:
            return
        if any(side is not None and needs_float64(side) for side in (dense, current, residual)):
            dense, current, residual = (_widened(side) for side in (dense, current, residual))
            self._widen()
        now = dense if current is None else current
        if self._origin is None:
            self._origin = (dense.mean(axis=1), now.mean(axis=1))
        y = now - self._origin[1][:, None]
        self._gram += _products(y, y)
        self._sums[1] += _totals(y)
        if self.paired:
            x = dense - self._origin[0][:, None]
            self._cross += _products(x, y)
            self._sums[0] += _totals(x)
        else:
            self._sums[0] = self._sums[1]
        if residual is not None:
            self._residual = _added(self._residual, (_products(residual, y), _totals(residual)))
        self.count += dense.shape[1]

    def _widen(self) -> None:
        """Go on in float64, whatever the width."""
        self._gram = self._gram.astype(np.float64, copy=False)
        self._cross = self._cross.astype(np.float64, copy=False) if self.paired else self._gram

    def merged(self, other: Moments) -> Moments:
        """The moments of both sets of samples.

        Raises:
            ValueError: they do not share an origin (see `like`).
        """
        if self._origin is not None and other._origin is not None and self._origin is not other._origin:
            raise ValueError("moments around different origins cannot be merged: start one from the other's like()")
        result = Moments(1, 1, paired=self.paired)
        result.count = self.count + other.count
        result._origin = self._origin or other._origin
        result._sums = self._sums + other._sums
        result._gram = self._gram + other._gram
        result._cross = self._cross + other._cross if self.paired else result._gram
        result._residual = _added(self._residual, other._residual)
        return result

    def pooled(self, other: Moments) -> Moments:
        """The moments of both sets of samples, whatever they run around."""
        return self._with(other, np.dtype(np.float64))

    def joined(self, later: Moments) -> Moments:
        """The moments of both, summed in the type that these are summed in, or in float64 where either is.

        A sum around another origin would take float64 for what is as large as float32 allows.
        """
        return self._with(later, np.result_type(self._gram, later._gram))

    def _with(self, other: Moments, dtype: np.dtype[Any]) -> Moments:
        """The moments of both, of a type where they run around different origins."""
        if self._origin is None or other._origin is None or self._origin is other._origin:
            return self.merged(other)
        result = Moments(1, 1, paired=self.paired)
        result.count, result._origin = self.count + other.count, self._origin
        shifts = np.stack(other._origin).astype(np.float64) - np.stack(self._origin)
        result._sums = other._sums + other.count * shifts
        result._sums += self._sums
        y = shifts[[1, 1]], other._sums[[1, 1]]
        result._gram = _moved_sum(self._gram, other._gram, other.count, *y, dtype=dtype)
        result._cross = result._gram
        if self.paired:
            result._cross = _moved_sum(self._cross, other._cross, other.count, shifts, other._sums, dtype=dtype)
        residual = other._residual
        if residual is not None:
            residual = residual[0] + residual[1][:, :, None] * shifts[1][:, None, :], residual[1]
        result._residual = _added(self._residual, residual)
        return result

    def like(self) -> Moments:
        """Empty moments around the same origin, for another part of the same samples."""
        groups, columns = self._gram.shape[:2]
        result = Moments(groups, columns, paired=self.paired)
        result._origin = self._origin
        return result

    def statistics(self, *, centred: bool) -> Statistics:
        """The moments so far.

        Raises:
            ValueError: no samples were seen.
        """
        if self._origin is None or self.count == 0:
            raise ValueError("no samples were seen")
        origins = np.stack(self._origin).astype(np.float64)
        offsets = self._sums / self.count
        means = origins + offsets
        gram = self._moment(self._gram, (offsets[1], offsets[1]), (means[1], means[1]), centred)
        cross = gram
        if self.paired:
            cross = self._moment(self._cross, (offsets[0], offsets[1]), (means[0], means[1]), centred)
        residual_cross = residual_mean = None
        if self._residual is not None:
            residual_mean = self._residual[1] / self.count
            residual_cross = self._moment(
                self._residual[0], (residual_mean, offsets[1]), (residual_mean, means[1]), centred
            )
        return Statistics(
            count=self.count,
            centred=centred,
            dense_mean=means[0],
            current_mean=means[1],
            gram=gram,
            cross=cross,
            residual_cross=residual_cross,
            residual_mean=residual_mean,
            varies=self.varies,
        )

    def _moment(
        self, sums: npt.NDArray[np.floating], offsets: tuple[Array, Array], means: tuple[Array, Array], centred: bool
    ) -> Array:
        moment = sums / np.float64(self.count)
        for g in range(len(moment)):
            _add_outer(moment[g], -offsets[0][g], offsets[1][g])
            if not centred:
                _add_outer(moment[g], means[0][g], means[1][g])
        return moment


def _moved_sum(
    sums: npt.NDArray[np.floating],
    moved: npt.NDArray[np.floating],
    count: int,
    shifts: Array,
    totals: Array,
    *,
    dtype: np.dtype[Any],
) -> npt.NDArray[np.floating]:
    """``sums`` and sums of `count` products x yᵀ that are moved to their origin, added in float64, some rows at once.

    Args:
        sums: around their origin, (groups, columns, columns).
        moved: around another one.
        count: of the samples of `moved`.
        shifts: of x and y, (2, groups, columns).
        totals: sums of x and y over the samples of `moved`, (2, groups, columns).
        dtype: of the result.
    """
    result = np.empty(sums.shape, dtype)
    moved_totals = totals[0] + count * shifts[0]
    for start in range(0, sums.shape[1], ROWS_AT_ONCE):  # what is between stays in the cache
        rows = np.s_[:, start : start + ROWS_AT_ONCE]
        products = shifts[0][rows][:, :, None] * totals[1][:, None, :]
        products += moved_totals[rows][:, :, None] * shifts[1][:, None, :]
        products += moved[rows]
        products += sums[rows]
        result[rows] = products
    return result


def needs_float64(rows: npt.NDArray[np.floating]) -> bool:
    """Whether float32 cannot hold sums of the squares, because they are too large or vanish."""
    largest = float(max(rows.max(), -rows.min())) if rows.size else 0.0
    return largest > LARGE or 0.0 < largest < SMALL


def _widened(rows: Any) -> Any:
    return None if rows is None else rows.astype(np.float64)


def _add_outer(matrix: Array, x: Array, y: Array) -> None:
    """``matrix += x yᵀ`` in place, without a second matrix."""
    scipy.linalg.blas.dger(1.0, y, x, a=matrix.T, overwrite_a=1, overwrite_x=0, overwrite_y=0)


def _added(one: tuple[Rows, Array] | None, other: tuple[Rows, Array] | None) -> tuple[Rows, Array] | None:
    if one is None or other is None:
        return one or other
    return one[0] + other[0], one[1] + other[1]


def _totals(x: Rows) -> Array:
    """Sums over the samples, (groups, columns); a BLAS product, for numpy's own sum is slow on short rows."""
    ones = np.ones((len(x), x.shape[1], 1), x.dtype)
    return _products(ones, x)[:, 0].astype(np.float64)


def _products(x: Rows, y: Rows) -> Rows:
    """xᵀ y of each group; one symmetric BLAS product where x is y and there is one group."""
    if len(x) == 1:
        return np.asarray((x[0].T @ y[0])[None])
    return np.asarray(x.transpose(0, 2, 1) @ y)
