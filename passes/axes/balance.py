"""Combine classes of indices so that what is removed is spread evenly over groups."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import optimize, sparse
from scipy.sparse import csgraph

Ints = npt.NDArray[np.int64]

MOST_NODES = 2000
"""Of the search for one set: it ends with the best one found, the same on every machine."""


def combine(table: Ints) -> tuple[list[Ints], list[int]]:
    """Small sets of rows that sum to zero, and the rows that no set was found for.

    The smallest set goes first (an integer program over the distinct rows). Rows of zeros need no others.

    Args:
        table: how far each class is from an even spread over each group, (classes, groups).
    """
    sets: list[Ints] = [np.array([row]) for row in np.flatnonzero(~table.any(axis=1))]
    left: list[int] = []
    uneven = np.flatnonzero(table.any(axis=1))
    incidence = sparse.coo_array(table[uneven] != 0)
    bipartite = sparse.block_array([[None, incidence], [incidence.T, None]]) if len(uneven) else None
    part = csgraph.connected_components(bipartite, directed=False)[1] if bipartite is not None else np.zeros(0)
    for component in np.unique(part[: len(uneven)]):
        combined, rest = _combine_connected(uneven[part[: len(uneven)] == component], table)
        sets += combined
        left += rest
    return sets, left


def _combine_connected(rows: Ints, table: Ints) -> tuple[list[Ints], list[int]]:
    columns = np.unique(table[rows], axis=1)  # many groups see the same; the search would not end with all of them
    kinds, kind_of = np.unique(columns, axis=0, return_inverse=True)
    queues = [rows[kind_of == kind].tolist()[::-1] for kind in range(len(kinds))]
    sets: list[Ints] = []
    while True:
        remaining = np.array([len(queue) for queue in queues])
        if not remaining.any():
            return sets, []
        # One smallest balanced set at a time, repeated as often as it fits, until no set can be formed of what is left.
        taken = _fewest(kinds, remaining)
        if taken is None:
            return sets, [row for queue in queues for row in queue]
        for _ in range(int((remaining[taken > 0] // taken[taken > 0]).min())):
            sets.append(np.array([queues[kind].pop() for kind in np.repeat(np.arange(len(kinds)), taken)]))


def _fewest(kinds: Ints, remaining: Ints) -> Ints | None:
    """How many rows of each kind make the smallest set that sums to zero; None where there is none.

    Where the search takes too long, all that remain are one set, if they sum to zero.
    """
    result = optimize.milp(
        np.ones(len(kinds)),
        integrality=np.ones(len(kinds), np.int64),
        bounds=optimize.Bounds(0, remaining),
        constraints=[
            optimize.LinearConstraint(kinds.T, 0, 0),
            optimize.LinearConstraint(np.ones((1, len(kinds))), 1, np.inf),
        ],
        options={"node_limit": MOST_NODES},
    )
    if result.x is not None:
        taken = np.rint(result.x).astype(np.int64)
        if taken.any() and not (taken @ kinds).any():
            return np.asarray(taken)
    return None if (remaining @ kinds).any() else remaining
