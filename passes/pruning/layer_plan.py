"""What pruning is told of a layer, and what it answers."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from netsurgeon.passes.pruning.patterns import LayerPattern
from netsurgeon.passes.solvers import Array, Effort, IntegerGrid


@dataclasses.dataclass(frozen=True)
class LayerPlan:
    """What is to happen to one layer.

    Attributes:
        keep: weights that may stay nonzero; where it is fewer than all, no more than are nonzero now do.
        method: one of `solvers.METHODS`, or `solvers.FAST_METHOD`.
        damping: λ relative to the mean diagonal of H; None = chosen on held-out samples.
        pattern: that the weights which stay keep to.
        values: "codebook" = at most 255 distinct values, fewer where that costs little, times a power of two for each
            row (see `has_scaled_rows`); anything else leaves them free.
        removed_slices: columns and rows that are trimmed; they are not in `keep`.
        keep_zeros: the support is what is not zero now, and neither `keep` nor `method` choose it.
        effort: how long the method may take.
        price: error, relative to the energy of the layer's output, that one weight less is worth; None = not known.
        grid: integers that the weight lies on, and stays on; None where it is free.
        keeps_bias: its bias does not make up for anything: not all layers that share the weight have one.
    """

    keep: int
    method: str = "auto"
    damping: float | None = None
    pattern: LayerPattern | None = None
    values: str = "float32"
    removed_slices: RemovedSlices | None = dataclasses.field(default=None, compare=False)
    keep_zeros: bool = False
    effort: Effort = "full"
    price: float | None = None
    grid: IntegerGrid | None = dataclasses.field(default=None, compare=False)
    keeps_bias: bool = False

    def live(self, size: int) -> int:
        """Weights of a layer of that size which trimming leaves."""
        return self.removed_slices.live if self.removed_slices else size


@dataclasses.dataclass(frozen=True)
class RemovedSlices:
    """What a layer loses because units are trimmed.

    Attributes:
        columns: True = nobody makes this input any more: its weights are zero, (groups x blocks, columns / blocks).
        rows: True = nobody reads this output any more: its other weights stay as they are, (groups x blocks, rows).
    """

    columns: npt.NDArray[np.bool_] = dataclasses.field(repr=False)
    rows: npt.NDArray[np.bool_] = dataclasses.field(repr=False)

    @property
    def live(self) -> int:
        """Weights that are left."""
        return int(((~self.rows).sum(axis=1) * (~self.columns).sum(axis=1)).sum())

    def without_rows(self, weight: Array) -> Array:
        """A weight (groups x blocks, rows, columns / blocks) whose lost rows are zero."""
        return np.where(self.rows[:, :, None], 0.0, weight)

    def restored(self, pruned: Array, weight: Array) -> Array:
        """`pruned` with the lost rows of `weight`."""
        return np.where(self.rows[:, :, None], np.where(self.columns[:, None, :], 0.0, weight), pruned)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was done to one layer.

    Attributes:
        damping: λ that was used, relative to the mean diagonal of the Hessian.
        samples: rows its statistics were taken from.
        varied: whether they differed.
        seconds: time the solver took; where rows were solved in tasks, for what they share.
        measured: whether there were statistics; a layer whose inputs overflow is left as it is.
        slots: that the steps of a sparse kernel have for the layer's weights, in tiles; None = they lie in none.
    """

    damping: float
    samples: int
    varied: bool
    seconds: float
    measured: bool = True
    slots: int | None = None


@dataclasses.dataclass(frozen=True)
class Solution:
    """What a layer's problem has come to, to be written into the layer.

    Attributes:
        weight: of the shape of `Layer.matrix()`, and of the layer's own type where that is exact.
        shift: of the bias, (groups x rows,); None where the bias stays.
        outcome: how it came about.
    """

    weight: npt.NDArray[np.floating] = dataclasses.field(repr=False)
    shift: Array | None = dataclasses.field(repr=False)
    outcome: Outcome
