"""What units cost in a sum that nobody corrects: the energy of the terms that go.

Unit u adds a term t_u to the sum. With Q_uv = E⟨t_u, t_v⟩, removing a set S of units costs E‖Σ_S t_u‖² = Σ_uv∈S Q_uv
(ALGORITHMS §7), and after some units have gone, one more costs Q_uu + 2 Σ_v Q_uv over those that have.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from netsurgeon.passes.solvers import Array

Indices = npt.NDArray[np.int64]


class Uncorrected:
    """A sum over units: their prices, and how they change as units go.

    Args:
        units: that add to the sum, (units,), ascending.
        energy: E⟨t_u, t_v⟩ of each pair, relative to the energy of the sum, (units, units).
        shared: 2 Σ_v E⟨t_u, t_v⟩ over units v that are gone, (units,); None = none is.
    """

    def __init__(self, units: Indices, energy: Array, shared: Array | None = None):
        self._units, self._energy = units, energy
        self._shared = np.zeros(len(units)) if shared is None else shared

    @property
    def members(self) -> Indices:
        """Units that add to the sum."""
        return self._units

    @property
    def priced(self) -> list[Indices]:
        """The same: the sum is one part."""
        return [self._units]

    def prices(self) -> Iterator[tuple[Indices, Array]]:
        """Units and the price of removing each next; terms that make up for others cost nothing."""
        yield self._units, np.maximum(np.diag(self._energy) + self._shared, 0.0)

    def remove(self, units: Indices) -> Array:
        """Remove units; what each costs after those before it, (units,)."""
        prices = np.zeros(len(units))
        places = {int(unit): place for place, unit in enumerate(self._units)}
        for turn, unit in enumerate(units.tolist()):
            place = places.get(unit)
            if place is not None:
                prices[turn] = self._energy[place, place] + self._shared[place]
                self._shared = self._shared + 2.0 * self._energy[place]
        return prices

    def restricted(self, units: Indices) -> Uncorrected:
        """A copy that knows only some units: prices and removals of these are the same."""
        inside = np.flatnonzero(np.isin(self._units, units))
        return Uncorrected(self._units[inside], self._energy[np.ix_(inside, inside)], self._shared[inside])


def by_unit(energy: Array, owners: Indices) -> tuple[Indices, Array]:
    """Energies of pairs of indices (indices, indices), summed up by the units that own them; negative = stays."""
    owned = np.flatnonzero(owners >= 0)
    units, place = np.unique(owners[owned], return_inverse=True)
    rows = np.zeros((len(units), len(owned)))
    np.add.at(rows, place, energy[np.ix_(owned, owned)])
    result = np.zeros((len(units), len(units)))
    np.add.at(result.T, place, rows.T)
    return units, result
