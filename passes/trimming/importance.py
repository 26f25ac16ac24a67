"""What it costs to lose a unit: after correction of its consumers, by its idleness, or by its magnitude.

Whatever the score, a lower one goes first, and `_select_units.select_units` does the choosing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from netsurgeon.passes.solvers import Array, Mask

Indices = npt.NDArray[np.int64]


class Reader(Protocol):
    """What reads units: `_group_obs.Consumer`, which is corrected as they go, or `_uncorrected.Uncorrected`."""

    def prices(self) -> Iterator[tuple[Indices, Array]]:
        """Units and the price of removing each next, a part at a time: a unit's prices add."""
        ...

    def remove(self, units: Indices) -> Array:
        """Remove units in this order; what each costs after those before it, (units,)."""
        ...

    def restricted(self, units: Indices) -> Reader:
        """A copy that knows only some units."""
        ...


class Importance(Protocol):
    """Prices of units, and how they change as units go."""

    def prices(self) -> Array:
        """Price of removing each unit next, (units,); not negative, and without meaning for units that are gone."""
        ...

    def remove(self, units: Indices) -> Array:
        """Remove units in this order; the price of each at its turn."""
        ...

    def restricted(self, units: Indices) -> Importance:
        """A copy to try removals of these units on; it prices no others."""
        ...


class ObsImportance:
    """Group OBS: a unit costs what all its consumers lose after correction.

    Args:
        consumers: what reads units; changed as units go.
        units: how many units there are.
        extra: prices that do not change, for what a unit costs elsewhere, (units,).
    """

    def __init__(self, consumers: Sequence[Reader], units: int, extra: Array | None = None):
        self.consumers = tuple(consumers)
        self._extra = np.zeros(units) if extra is None else extra

    def prices(self) -> Array:
        """Sum over the consumers, (units,)."""
        result = self._extra.copy()
        for consumer in self.consumers:
            for units, prices in consumer.prices():
                result[units] += prices
        return result

    def remove(self, units: Indices) -> Array:
        """Remove units from every consumer and correct it; what each costs after those before it.

        Raises:
            FactorizationError: an inverse Hessian is no longer positive definite.
        """
        prices = self._extra[units]
        for consumer in self.consumers:
            prices = prices + consumer.remove(units)
        return prices

    def restricted(self, units: Indices) -> ObsImportance:
        """Copies of the consumers that know only these units."""
        consumers = [consumer.restricted(units) for consumer in self.consumers]
        return ObsImportance(consumers, len(self._extra), self._extra)


class FixedImportance:
    """Scores that do not change as other units go (units,)."""

    def __init__(self, scores: Array):
        self._scores = scores

    def prices(self) -> Array:
        """The scores."""
        return self._scores

    def remove(self, units: Indices) -> Array:
        """The scores of `units`."""
        return np.asarray(self._scores[units])

    def restricted(self, units: Indices) -> FixedImportance:
        """The same scores."""
        return self


def idle(apoz: Array, axis: Indices, deviations: float = 1.0) -> Mask:
    """The paper's choice: units whose APoZ is above their layer's mean + one standard deviation, (units,).

    Args:
        apoz: share of zeros of each unit, (units,).
        axis: layer of each unit, (units,).
        deviations: standard deviations above the mean.
    """
    counts = np.maximum(np.bincount(axis), 1)
    mean = np.bincount(axis, apoz) / counts
    # around the mean: E[x²] − E[x]² would find idle units among equal ones
    deviation = np.sqrt(np.bincount(axis, (apoz - mean[axis]) ** 2) / counts)
    return np.asarray(apoz > mean[axis] + deviations * deviation[axis] + 1e-12)
