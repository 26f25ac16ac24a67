"""What a model's tensors weigh, and what each unit saves while others go."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from netsurgeon.passes.solvers import Array, Mask

Indices = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Term:
    """A cost that is the product of extents: the parameters of a weight, or the multiply-adds of an operator.

    Attributes:
        factor: what one element costs.
        owners: for each axis that units shorten, the unit that owns each index, negative where it stays, (extent,).
    """

    factor: float
    owners: tuple[Indices, ...] = dataclasses.field(repr=False)


class UnitCosts:
    """The sum of some terms, as a function of the units that remain.

    A convolution's weight has one term: kh·kw times the owners of its outputs and of one group's inputs. A unit that
    owns indices of two axes of one tensor is counted once where they cross.
    """

    def __init__(self, terms: Sequence[Term], units: int):
        self.units = units
        self._factors = np.array([term.factor for term in terms], np.float64)
        depth = max((len(term.owners) for term in terms), default=0)
        self._fixed = np.ones((len(terms), depth))
        owners, shares = [np.zeros((2, 0), np.int64)], [np.zeros((0, depth))]
        for t, term in enumerate(terms):
            # of a term's own units only: a row for each unit of the model would make it terms x units
            members = np.unique(np.concatenate([np.zeros(0, np.int64), *term.owners]))
            members = members[members >= 0]
            counts = np.zeros((len(members), depth))
            for axis, owner in enumerate(term.owners):
                places = np.searchsorted(members, owner[owner >= 0])
                counts[:, axis] = np.bincount(places, minlength=len(members))
                self._fixed[t, axis] = np.count_nonzero(owner < 0)
            owners.append(np.stack([np.full(len(members), t), members]))
            shares.append(counts)
        self._terms, self._members = np.concatenate(owners, axis=1)
        self._shares = np.concatenate(shares)

    def total(self, remaining: Mask) -> float:
        """Cost of what is left when the units `remaining` (units,) are."""
        return float(self._factors @ self._extents(remaining).prod(axis=1))

    def savings(self, remaining: Mask) -> Array:
        """What removing each single unit would save next, (units,); 0 for those that are gone."""
        extents = self._extents(remaining)
        without = (extents[self._terms] - self._shares).prod(axis=1)
        saved = self._factors[self._terms] * (extents.prod(axis=1)[self._terms] - without)
        saved *= remaining[self._members]
        return np.asarray(np.bincount(self._members, saved, minlength=self.units), np.float64)

    def _extents(self, remaining: Mask) -> Array:
        """Extents left of every term's axes, (terms, axes)."""
        extents = self._fixed.copy()
        np.add.at(extents, self._terms, self._shares * remaining[self._members, None])
        return extents
