"""The second moments that the correction of one layer needs."""

from __future__ import annotations

import dataclasses

import numpy as np

from netsurgeon.passes import solvers
from netsurgeon.passes.pruning.layer_plan import RemovedSlices
from netsurgeon.passes.solvers import Array, Moments, Statistics


@dataclasses.dataclass(frozen=True)
class LayerMoments:
    """A layer's streamed moments, a part of the samples held out to choose the damping.

    Attributes:
        fit: most of the rows.
        held_out: the others.
        positions: rows the layer has seen in all, most of which may not have been drawn; each costs its weights'
            number of multiply-adds.
        ridge: what damping multiplies, see `Statistics`.
    """

    fit: Moments
    held_out: Moments
    positions: int = 0
    ridge: Array | None = dataclasses.field(default=None, repr=False)

    @property
    def varies(self) -> bool:
        """Whether the input differs from sample to sample; where not, centring would leave nothing to go by."""
        return self.fit.varies or self.held_out.varies

    def pooled(self, other: LayerMoments) -> LayerMoments:
        """Those of both, for layers that share a weight."""
        return LayerMoments(
            fit=self.fit.pooled(other.fit),
            held_out=self.held_out.pooled(other.held_out),
            positions=self.positions + other.positions,
        )

    def statistics(self, removed_slices: RemovedSlices | None = None, *, centred: bool) -> Statistics:
        """Of all samples."""
        return self._statistics(self.fit.pooled(self.held_out), removed_slices, centred)

    def choose_damping(
        self, weight: Array, removed_slices: RemovedSlices | None, keep: int, rng: np.random.Generator, *, centred: bool
    ) -> float:
        """λ for `weight` (groups, rows, columns) with `keep` weights left; the largest where nothing is held out."""
        if self.held_out.count == 0:
            return max(solvers.DAMPINGS)
        fit, held_out = (self._statistics(part, removed_slices, centred) for part in (self.fit, self.held_out))
        return solvers.choose_damping(weight, fit, held_out, keep, rng)

    def _statistics(self, moments: Moments, removed_slices: RemovedSlices | None, centred: bool) -> Statistics:
        statistics = dataclasses.replace(moments.statistics(centred=centred), ridge=self.ridge)
        return statistics if removed_slices is None else statistics.without(removed_slices.columns, removed_slices.rows)
