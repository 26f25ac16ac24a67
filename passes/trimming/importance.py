"""What it costs to lose a unit: after correction of its consumers, by its idleness, or by its magnitude.

Whatever the score, a lower one goes first, and `unit_selection.select_units` does the choosing.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from netsurgeon.passes.solvers import Array, Mask

Indices = npt.NDArray[np.int64]


class Reader(Protocol):
    """What reads units: `group_obs.Consumer`, which is corrected as they go, or `uncorrected.Uncorrected`."""

    @property
    def members(self) -> Indices:
        """Units whose removal changes it: those that it prices, and those that own rows of it."""
        ...

    @property
    def priced(self) -> Sequence[Indices]:
        """Units of each part of `prices`, ascending."""
        ...

    def prices(self) -> Iterator[tuple[Indices, Array]]:
        """Units and the price of removing each next, a part at a time: a unit's prices add."""
        ...

    def remove(self, units: Indices) -> Array:
        """Remove units in this order; what each costs after those before it, (units,)."""
        ...

    def restricted(self, units: Indices) -> Reader:
        """A copy that knows only some units, in as many parts."""
        ...


class Importance(Protocol):
    """Prices of units, and how they change as units go."""

    def prices(self, units: Indices | None = None) -> Array:
        """Price of removing each of some units next, (units,); None = of all, without meaning for those that are gone.

        None is negative.
        """
        ...

    def renewed(self) -> Indices:
        """Renew the prices that removals have changed; which units they are of, ascending."""
        ...

    def remove(self, units: Indices) -> Array:
        """Remove units in this order; the price of each at its turn."""
        ...

    def restricted(self, units: Indices) -> Importance:
        """A copy to try removals of these units on; it prices no others."""
        ...


class ObsImportance:
    """Group OBS: a unit costs what all its consumers lose after correction.

    A removal changes only what reads the unit, so only that is priced anew: a network has as many readers as layers.

    Args:
        consumers: what reads units; changed as units go.
        units: how many units there are.
        extra: prices that do not change, for what a unit costs elsewhere, (units,).
    """

    def __init__(self, consumers: Sequence[Reader], units: int, extra: Array | None = None):
        self._readers = list(consumers)
        self._extra = np.zeros(units) if extra is None else extra
        self._members = [reader.members for reader in consumers]
        self._readers_of = _ByUnit.of(self._members, units)
        self._prices = self._extra.copy()
        # An entry is the price of a unit in one part of one reader; those of a unit lie side by side, in their order.
        priced = [reader.priced for reader in consumers]
        self._entries = _ByUnit.of([part for parts in priced for part in parts], units)
        places = iter(self._entries.places)
        self._parts = [[(part, next(places)) for part in parts] for parts in priced]
        self._entry_prices = np.zeros(len(self._entries.of_units))
        self._stale = set(range(len(self._readers)))
        self._inside: Mask | None = None
        self._borrowed: set[int] = set()

    def prices(self, units: Indices | None = None) -> Array:
        """Sums over the consumers, (units,)."""
        self.renewed()
        return self._prices.copy() if units is None else self._prices[units]

    def renewed(self) -> Indices:
        """Price anew what is read by readers that removals have changed."""
        changed = [np.zeros(0, np.int64)]
        for reader in self._stale:
            parts = zip(self._readers[reader].prices(), self._parts[reader], strict=True)
            for (units, prices), (priced_units, entries) in parts:
                self._entry_prices[entries[np.searchsorted(priced_units, units)]] = prices
                changed.append(units)
        self._stale.clear()
        units = np.unique(np.concatenate(changed))
        entries, counts = self._entries.span(units)
        # added one after the other, so that a sum has the same bits however few units are renewed
        self._prices[units] = self._extra[units]
        np.add.at(self._prices, np.repeat(units, counts), self._entry_prices[entries])
        return units

    def remove(self, units: Indices) -> Array:
        """Remove units from what reads them and correct it; what each costs after those before it.

        Raises:
            FactorizationError: an inverse Hessian is no longer positive definite.
        """
        prices = self._extra[units]
        places, counts = self._readers_of.span(units)
        readers, turns = self._readers_of.of_units[places], np.repeat(np.arange(len(units)), counts)
        order = np.argsort(readers, kind="stable")
        touched, starts = np.unique(readers[order], return_index=True)
        for reader, some in zip(touched.tolist(), np.split(turns[order], starts[1:]), strict=False):
            prices[some] += self._own(reader).remove(units[some])
            self._stale.add(reader)
        return prices

    def restricted(self, units: Indices) -> ObsImportance:
        """A copy in which a consumer is copied, with these units alone, once a removal changes it."""
        self.renewed()
        result = copy.copy(self)
        result._readers, result._stale = list(self._readers), set()
        result._prices, result._entry_prices = self._prices.copy(), self._entry_prices.copy()
        result._inside = np.zeros(len(self._extra), bool)
        result._inside[units] = True
        result._borrowed = set(range(len(self._readers)))
        return result

    def _own(self, reader: int) -> Reader:
        """A reader that may be changed."""
        if reader in self._borrowed and self._inside is not None:
            members = self._members[reader]
            self._readers[reader] = self._readers[reader].restricted(members[self._inside[members]])
            self._borrowed.remove(reader)
        return self._readers[reader]


@dataclasses.dataclass(frozen=True)
class _ByUnit:
    """Sets of units, turned round: which sets each unit is in, one unit after the other.

    Attributes:
        of_units: numbers of the sets of unit 0, of unit 1 and so on, ascending for each, (members,).
        starts: where those of each unit start, (units + 1,).
        places: for each set: where its number stands for each of its units, (units of the set,).
    """

    of_units: Indices
    starts: Indices
    places: Sequence[Indices]

    @classmethod
    def of(cls, sets: Sequence[Indices], units: int) -> _ByUnit:
        """Turn sets of so many units round."""
        sizes = [len(members) for members in sets]
        members = np.concatenate([np.zeros(0, np.int64), *sets])
        order = np.argsort(members, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        starts = np.concatenate([[0], np.cumsum(np.bincount(members, minlength=units))])
        of_units = np.repeat(np.arange(len(sets)), sizes)[order]
        return cls(of_units, starts, np.split(place, np.cumsum(sizes)[:-1]) if sets else [])

    def span(self, units: Indices) -> tuple[Indices, Indices]:
        """Where the sets of some units stand, one unit after the other, and how many each has, (units,)."""
        counts = self.starts[units + 1] - self.starts[units]
        before = np.cumsum(counts) - counts
        return np.arange(counts.sum()) + np.repeat(self.starts[units] - before, counts), counts


class FixedImportance:
    """Scores that do not change as other units go (units,)."""

    def __init__(self, scores: Array):
        self._scores = scores

    def prices(self, units: Indices | None = None) -> Array:
        """The scores."""
        return self._scores if units is None else np.asarray(self._scores[units])

    def renewed(self) -> Indices:
        """None."""
        return np.zeros(0, np.int64)

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
