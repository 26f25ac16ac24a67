"""Group OBS: what a layer loses when whole sets of its columns go, and the exact downdates as they go.

All rows of a layer share H. With S the columns of a unit, the best correction of the others, what it costs, and the
inverse Hessian of the survivors are (ALGORITHMS §2; ZipLM, arXiv 2302.04089)

    W −= W_S ([H⁻¹]_SS)⁻¹ [H⁻¹]_S,:        tr(W_S ([H⁻¹]_SS)⁻¹ W_Sᵀ)        H⁻¹ −= [H⁻¹]_:,S ([H⁻¹]_SS)⁻¹ [H⁻¹]_S,:

All three, restricted to any set of columns that holds S, need W and H⁻¹ on that set alone. So columns that never go
are left out from the start, and removals can be tried on a few columns before they are done on all.
The downdate is one step of a block Cholesky factorisation of H⁻¹ and as stable: it needs no refreshing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import scipy.linalg

from netsurgeon.passes.solvers import linalg
from netsurgeon.passes.solvers.linalg import Array, FactorizationError, Mask
from netsurgeon.passes.solvers.problem import Problem

Indices = npt.NDArray[np.int64]
FIXED = -1
"""Owner of a row or column that no unit takes along."""
GONE = -2
INDEFINITE = "the inverse Hessian of the columns to remove is not positive definite"
COMPACT = 0.85
"""Columns that went are dropped from memory once fewer than this share is left: copying costs more than a downdate."""


class Consumer:
    """A layer that reads units: their prices, and its weight and H⁻¹ as they go.

    Every unit that owns columns has a price; rows that a unit owns go with it and count in no price of its own. Prices
    are in units of the layer's error times `scale`.
    """

    def __init__(self, blocks: Sequence[_Block], scale: float):
        self._blocks = tuple(blocks)
        self.scale = scale

    @classmethod
    def of(
        cls, problem: Problem, column_units: Indices, row_units: Indices | None = None, *, scale: float = 1.0
    ) -> Consumer:
        """A layer from which nothing is removed yet.

        Args:
            problem: the layer's weight W₀ (groups, rows, columns) and damped H (groups, columns, columns).
            column_units: unit that each column belongs to, FIXED where it stays, (groups, columns).
            row_units: unit that each row belongs to, FIXED where it stays, (groups, rows); None = all stay.
            scale: what one unit of the layer's error weighs: sensitivity / output energy makes prices comparable.

        Raises:
            FactorizationError: a damped Hessian has no Cholesky factor.
        """
        if row_units is None:
            row_units = np.full(problem.weight.shape[:2], FIXED)
        blocks = []
        for g, (columns, rows) in enumerate(zip(column_units, row_units, strict=True)):
            removable = np.flatnonzero(columns != FIXED)
            if len(removable) == 0 or _goes_as_a_whole(columns, rows):
                continue
            inverse = linalg.inverse(problem.hessian[g : g + 1])[0]
            if len(removable) < len(columns):
                inverse = _square(inverse, removable)
            weight = problem.weight[g].T[removable]
            blocks.append(_Block(weight, inverse, columns[removable], rows))
        return cls(blocks, scale)

    @property
    def error(self) -> float:
        """What all removals so far cost the rows that are left, times `scale`."""
        return self.scale * sum(float(block.losses.sum()) for block in self._blocks)

    @property
    def members(self) -> Indices:
        """Units that own columns or rows, ascending."""
        members = set().union(*(block.members for block in self._blocks))
        return np.array(sorted(unit for unit in members if unit >= 0), np.int64)

    @property
    def priced(self) -> list[Indices]:
        """Units that own columns of each group, ascending."""
        return [np.unique(block.owners[block.owners >= 0]) for block in self._blocks]

    def prices(self) -> Iterator[tuple[Indices, Array]]:
        """Units and the price of removing each next, group by group: a unit's prices add.

        Raises:
            FactorizationError: H⁻¹ is no longer positive definite.
        """
        for block in self._blocks:
            units, prices = block.prices()
            yield units, self.scale * prices

    def remove(self, units: Indices) -> Array:
        """Remove units and correct what is left.

        Returns:
            What each costs after those before it, (units,); the rows of all of them go first.

        Raises:
            FactorizationError: H⁻¹ is no longer positive definite.
        """
        prices = np.zeros(len(units))
        members = set(units.tolist())
        for block in self._blocks:
            if not block.members.isdisjoint(members):
                prices += block.remove(units)
        return self.scale * prices

    def restricted(self, units: Indices) -> Consumer:
        """A copy that knows only the columns of some units: prices and removals of these are the same."""
        return Consumer([block.restricted(units) for block in self._blocks], self.scale)


def _goes_as_a_whole(columns: Indices, rows: Indices) -> bool:
    """Whether one unit owns all of a group, as in a depthwise convolution: nobody is left to pay a price."""
    return bool((columns == columns[0]).all() and (rows == columns[0]).all())


class _Block:
    """One group's removable columns: Wᵀ (columns, rows), H⁻¹ and who owns columns and rows."""

    def __init__(self, weight: Array, inverse: Array, owners: Indices, row_owners: Indices):
        self.weight = weight
        self.inverse = inverse
        self.owners = owners.copy()
        self.row_owners = row_owners
        self.losses = np.zeros(len(row_owners))
        self.members = set(owners.tolist()) | set(row_owners.tolist())
        self._priced: tuple[Indices, Array] | None = None

    def prices(self) -> tuple[Indices, Array]:
        """Units left, ascending, and the price of each."""
        if self._priced is None:
            order = np.argsort(self.owners, kind="stable")[np.count_nonzero(self.owners == GONE) :]
            units, starts, sizes = np.unique(self.owners[order], return_index=True, return_counts=True)
            prices = np.empty(len(units))
            for size in np.unique(sizes):
                some = np.flatnonzero(sizes == size)
                prices[some] = self._price(units[some], order[starts[some, None] + np.arange(size)])
            self._priced = units, prices
        return self._priced

    def _price(self, units: Indices, columns: Indices) -> Array:
        """Prices of units (units,) with as many columns each, (units, size)."""
        weight = self.weight[columns]
        inverse = self.inverse[columns[:, :, None], columns[:, None, :]]
        try:
            factor = np.linalg.cholesky(inverse)
        except np.linalg.LinAlgError as error:
            raise FactorizationError(INDEFINITE) from error
        # stacked products are faster than stacked solves with as many right-hand sides
        shares = np.linalg.inv(factor) @ weight
        squares = np.einsum("usr,usr->ur", shares, shares)
        squares[units[:, None] == self.row_owners] = 0.0
        return np.asarray(squares.sum(axis=1))

    def remove(self, units: Indices) -> Array:
        """Drop rows, then columns of `units` in their order; what each of them costs."""
        self._priced = None
        self._drop_rows(~np.isin(self.row_owners, units))
        columns = np.flatnonzero(np.isin(self.owners, units))
        turn = _positions(units, self.owners[columns])
        by_turn = np.argsort(turn, kind="stable")
        columns, turn = columns[by_turn], turn[by_turn]
        self.members -= set(units.tolist())
        if len(columns) == 0:
            return np.zeros(len(units))
        losses = self._eliminate(columns)
        self.losses += losses.sum(axis=0)
        self.owners[columns] = GONE
        self._compact()
        return np.asarray(np.bincount(turn, losses.sum(axis=1), minlength=len(units)), np.float64)

    def _eliminate(self, columns: Indices) -> Array:
        """Correct W and downdate H⁻¹; what each column costs each row after those before it, (columns, rows)."""
        pivots = self.inverse[columns]
        factor, failed = scipy.linalg.lapack.dpotrf(pivots[:, columns], lower=1)
        if failed != 0:
            raise FactorizationError(INDEFINITE)
        pivots = scipy.linalg.solve_triangular(factor, pivots, lower=True, check_finite=False)
        shares = scipy.linalg.solve_triangular(factor, self.weight[columns], lower=True, check_finite=False)
        self.weight = self.weight - pivots.T @ shares
        # in place: a temporary of this size would cost more than the product
        scipy.linalg.blas.dgemm(-1.0, pivots, pivots, beta=1.0, c=self.inverse.T, trans_a=1, overwrite_c=1)
        return np.asarray(shares * shares)

    def _drop_rows(self, kept: Mask) -> None:
        if not kept.all():
            self.weight, self.losses = self.weight[:, kept], self.losses[kept]
            self.row_owners = self.row_owners[kept]

    def _compact(self) -> None:
        left = np.flatnonzero(self.owners != GONE)
        if len(left) < COMPACT * len(self.owners):
            self.weight, self.owners = self.weight[left], self.owners[left]
            self.inverse = _square(self.inverse, left)

    def restricted(self, units: Indices) -> _Block:
        columns = np.flatnonzero(np.isin(self.owners, units))
        return _Block(self.weight[columns], _square(self.inverse, columns), self.owners[columns], self.row_owners)


def _positions(units: Indices, values: Indices) -> Indices:
    """Where in `units` each of `values` is."""
    order = np.argsort(units)
    return np.asarray(order[np.searchsorted(units, values, sorter=order)])


def _square(matrix: Array, selected: Indices) -> Array:
    return matrix.take(selected, axis=0).take(selected, axis=1)


def owned(owners: Indices, removed: Mask) -> Mask:
    """Which rows or columns go with the units `removed` (units,); shape of `owners`."""
    return np.asarray((owners >= 0) & removed[owners]) if removed.size else np.zeros(owners.shape, bool)
