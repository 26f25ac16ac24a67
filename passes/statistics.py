"""What calibration hands to passes: streamed moments of a layer's inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Rows = Sequence[npt.NDArray[np.float32]]
DOUBLE_LIMIT = 2048
"""Wider Hessians are accumulated in float32: half the memory, and damping is far above the rounding."""


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Second moments of one layer's inputs, per group; X dense inputs, X̂ inputs in the current model, N samples.

    Attributes:
        count: N.
        centred: whether the means were subtracted, because the layer's bias can take them up.
        dense_mean: mean of X, (groups, columns).
        current_mean: mean of X̂, (groups, columns).
        gram: X̂ X̂ᵀ / N, (groups, columns, columns), undamped.
        cross: X X̂ᵀ / N, (groups, columns, columns); the same array as `gram` where X̂ is X.
    """

    count: int
    centred: bool
    dense_mean: Array = dataclasses.field(repr=False)
    current_mean: Array = dataclasses.field(repr=False)
    gram: Array = dataclasses.field(repr=False)
    cross: Array = dataclasses.field(repr=False)

    @property
    def dead(self) -> npt.NDArray[np.bool_]:
        """Inputs that never vary (never fire, where not centred), (groups, columns)."""
        energy = np.einsum("gii->gi", self.gram)
        scale = energy.max(axis=1, keepdims=True)
        return np.asarray(energy <= 1e-10 * scale)


class Moments:
    """Accumulates moments batch by batch; activations are never kept.

    Sums run around the first batch's mean, so that centring loses no digits.
    """

    def __init__(self, groups: int, columns: int, *, paired: bool):
        dtype = np.float64 if columns <= DOUBLE_LIMIT else np.float32
        self.count = 0
        self.paired = paired
        self._origin: tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]] | None = None
        self._sums = np.zeros((2, groups, columns))
        self._gram = np.zeros((groups, columns, columns), dtype)
        self._cross = np.zeros((groups, columns, columns), dtype) if paired else self._gram

    def update(self, dense: Rows, current: Rows | None = None) -> None:
        """Add a batch: one (samples, columns) array a group, dense inputs and, where paired, current ones."""
        now = dense if current is None else current
        if self._origin is None:
            self._origin = ([x.mean(axis=0) for x in dense], [x.mean(axis=0) for x in now])
        for g, (x, y) in enumerate(zip(dense, now, strict=True)):
            x_origin, y_origin = self._origin[0][g], self._origin[1][g]
            y = y - y_origin
            self._gram[g] += y.T @ y
            self._sums[1, g] += y.sum(axis=0, dtype=np.float64)
            if self.paired:
                x = x - x_origin
                self._cross[g] += x.T @ y
                self._sums[0, g] += x.sum(axis=0, dtype=np.float64)
        if not self.paired:
            self._sums[0] = self._sums[1]
        self.count += len(dense[0])

    def merged(self, other: Moments) -> Moments:
        """The moments of both sets of samples; both must share an origin (see `like`)."""
        result = Moments(1, 1, paired=self.paired)
        result.count = self.count + other.count
        result._origin = self._origin or other._origin
        result._sums = self._sums + other._sums
        result._gram = self._gram + other._gram
        result._cross = self._cross + other._cross if self.paired else result._gram
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
        origins = np.stack([np.stack(side) for side in self._origin]).astype(np.float64)
        offsets = self._sums / self.count
        means = origins + offsets
        gram = self._moment(self._gram, (offsets[1], offsets[1]), (means[1], means[1]), centred)
        cross = gram
        if self.paired:
            cross = self._moment(self._cross, (offsets[0], offsets[1]), (means[0], means[1]), centred)
        return Statistics(self.count, centred, means[0], means[1], gram, cross)

    def _moment(
        self, sums: npt.NDArray[np.floating], offsets: tuple[Array, Array], means: tuple[Array, Array], centred: bool
    ) -> Array:
        moment = sums.astype(np.float64)
        moment /= self.count
        for g in range(len(moment)):
            moment[g] -= np.outer(offsets[0][g], offsets[1][g])
            if not centred:
                moment[g] += np.outer(means[0][g], means[1][g])
        return moment
