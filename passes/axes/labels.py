"""Labels of indices: which indices of which axes vanish together (union-find over whole arrays).

Each index of each axis has a label, an integer. An axis is the array of its labels; operators join axes, freeze them,
or split them into factors. What cannot vanish (an axis of space, of a graph input) carries one frozen label for all of
its indices, so it costs nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

from netsurgeon.passes.axes.balance import combine

Axis = npt.NDArray[np.int64]
"""The labels of an axis, one an index."""

UNREPORTED = -1
"""The reason of what nobody would expect to vanish, such as the axes of a kernel: it is not reported."""

MOST_ENUMERATED = 12


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """An axis whose indices run over all combinations of the indices of its factors, the last one fastest."""

    flat: Axis
    factors: tuple[Axis, ...]
    reason: int
    groups: int = 1
    """Where above 1: the first factor are groups, and of the second any index may go, if every group loses as many."""


@dataclasses.dataclass(frozen=True, eq=False)
class Contest:
    """Factors that exclude each other, such as heads and width inside heads, of which some have units.

    Attributes:
        number: the same whichever of the factors have units.
        winners: the variables that have them: blocked, they leave them to the others.
        labels: of their axes.
    """

    number: int
    winners: frozenset[int]
    labels: Axis = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, eq=False)
class Classes:
    """Labels that vanish together.

    Attributes:
        of: the class of each label, (labels,).
        reason: of each class, why it must stay, (classes,): an index of the list of reasons, `SILENT`, or
            `Classes.FREE` where it may vanish.
        contests: where other factors could have had the units.
    """

    of: npt.NDArray[np.int64]
    reason: npt.NDArray[np.int64]
    contests: tuple[Contest, ...] = ()

    FREE = -2

    def free(self, axis: Axis) -> npt.NDArray[np.bool_]:
        """Which indices of an axis may vanish."""
        return np.asarray(self.reason[self.of[axis]] == Classes.FREE)


class Labels:
    """Collects joins, freezes and splits; `classes` solves them."""

    def __init__(self) -> None:
        self.count = 0
        self._joins: list[tuple[Axis, Axis]] = []
        self._frozen: list[tuple[Axis, int]] = []
        self._splits: list[Split] = []
        self._factors: dict[tuple[int, ...], tuple[Axis, ...]] = {}
        self._weights: list[tuple[Axis, float]] = []

    def fresh(self, extent: int, weight: float = 0.0) -> Axis:
        """A new axis; `weight` is what an index of it is worth."""
        axis = np.arange(self.count, self.count + extent, dtype=np.int64)
        self.count += extent
        if weight:
            self._weights.append((axis, weight))
        return axis

    def fixed(self, extent: int, reason: int = UNREPORTED) -> Axis:
        """A new axis none of whose indices may vanish."""
        label = self.fresh(1)
        self._frozen.append((label, reason))
        return np.broadcast_to(label, (extent,))

    def join(self, one: Axis, other: Axis) -> None:
        """Let equal indices vanish together."""
        if one is not other:
            repeated = one.strides == other.strides == (0,)
            self._joins.append((one[:1], other[:1]) if repeated else (one, other))

    def freeze(self, axis: Axis, reason: int) -> None:
        """Keep all indices of an axis."""
        self._frozen.append((axis[:1] if axis.strides == (0,) else axis, reason))

    def weigh(self, axis: Axis, weight: float) -> None:
        """Say what an index of an axis is worth, besides what it is worth already."""
        self._weights.append((axis, weight))

    def group(self, flat: Axis, group: Axis, inner: Axis, reason: int) -> None:
        """Say that `flat` runs over groups: whole groups may go, or equally many indices of each.

        `inner` only marks which of the two it is: its labels are free where groups lose indices.
        """
        if len(group) == 1 or len(inner) == 1:
            self.split(flat, (group, inner), reason)
        else:
            self._splits.append(Split(flat, (group, inner), reason, len(group)))

    def split(self, flat: Axis, factors: Sequence[Axis], reason: int) -> None:
        """Say that `flat` runs over the combinations of `factors`: at most one of them can have units.

        Where it was said before of the same axis, its factors of then and now are the same.
        """
        wide = tuple(factor for factor in factors if len(factor) > 1)
        if len(wide) == 1:
            self.join(flat, wide[0])
        elif wide:
            factors_before = self._factors.setdefault((id(flat), *map(len, wide)), wide)
            for before, now in zip(factors_before, wide, strict=True):
                self.join(before, now)
            self._splits.append(Split(flat, wide, reason))  # which keeps the axis, and with it its id

    @property
    def splits(self) -> list[Split]:
        """What was said of axes that run over combinations of others."""
        return self._splits

    def joined(self) -> Classes:
        """Labels that are joined, whatever splits say."""
        return self._solve([], [])

    def classes(self, blocked: Iterable[int] = ()) -> Classes:
        """Solve: each split gets the factor that lets the most vanish, or none.

        Args:
            blocked: variables that get nothing, winners of contests of an earlier solution.
        """
        base = self._solve([], [])
        weights = np.zeros(self.count)
        for axis, weight in self._weights:
            weights[axis] += weight
        closed = set(blocked)
        choice = _Choice(self._splits, base, weights)
        while True:
            live = choice.best(closed)
            joins, frozen = choice.applied(live)
            result = self._solve(joins, frozen)
            grouped = choice.grouped(live)
            if grouped:
                merged, unbalanced = balanced([(split.flat, split.groups, split.reason) for split in grouped], result)
                result = self._solve([*joins, *merged], [*frozen, *unbalanced])
            lost = {split for split in live if not result.free(choice.labels_of(split)).any()} - closed
            if not lost:
                return dataclasses.replace(result, contests=tuple(choice.contests(live)))
            closed |= lost

    def _solve(self, joins: list[tuple[Axis, Axis]], frozen: list[tuple[Axis, int]]) -> Classes:
        pairs = [*self._joins, *joins]
        one, other = (np.concatenate([pair[i] for pair in pairs] or [np.zeros(0, np.int64)]) for i in (0, 1))
        matrix = sparse.coo_array((np.ones(len(one), np.int8), (one, other)), shape=(self.count, self.count))
        count, of = csgraph.connected_components(matrix, directed=False)
        reason = np.full(count, np.iinfo(np.int64).max)
        unreported = np.zeros(count, bool)
        for axis, why in [*self._frozen, *frozen]:
            if why == UNREPORTED:
                unreported[of[axis]] = True
            else:
                np.minimum.at(reason, of[axis], why)
        reason[reason == np.iinfo(np.int64).max] = Classes.FREE
        reason[unreported & (reason == Classes.FREE)] = UNREPORTED
        return Classes(of.astype(np.int64), reason)


def balanced(
    constraints: Sequence[tuple[Axis, int, int]], classes: Classes
) -> tuple[list[tuple[Axis, Axis]], list[tuple[Axis, int]]]:
    """Joins that leave every group of every axis equally long, and what must stay because nothing balances it.

    Args:
        constraints: an axis, the number of its groups, and the reason for what cannot be balanced.
        classes: as they are without.
    """
    reason = np.full(len(classes.reason), -1)
    rows, columns, counts, offset = [], [], [], 0
    for flat, groups, why in constraints:
        free = np.flatnonzero(classes.free(flat))
        of, group = classes.of[flat[free]], free // (len(flat) // groups)
        rows += [of, np.repeat(np.unique(of), groups)]
        columns += [offset + group, np.tile(offset + np.arange(groups), len(np.unique(of)))]
        shares = np.bincount(of, minlength=len(classes.reason))[np.unique(of)]
        counts += [np.full(len(of), groups), np.repeat(-shares, groups)]
        reason[of] = why
        offset += groups
    members = np.flatnonzero(reason >= 0)
    place = np.full(len(classes.reason), -1)
    place[members] = np.arange(len(members))
    table = np.zeros((len(members), offset), np.int64)
    np.add.at(table, (place[np.concatenate(rows)], np.concatenate(columns)), np.concatenate(counts))
    label_of = np.zeros(len(classes.reason), np.int64)
    label_of[classes.of] = np.arange(len(classes.of))
    sets, left = combine(table)
    joins = [
        (label_of[members[joined_set[:-1]]], label_of[members[joined_set[1:]]])
        for joined_set in sets
        if len(joined_set) > 1
    ]
    return joins, [(label_of[members[[member]]], int(reason[members[member]])) for member in left]


class _Choice:
    """Which factor of each split may have units.

    Factors that share a label are one variable: two splits that meet in an axis (channel shuffle, attention) choose
    together. Two variables that meet in a split exclude each other.
    """

    def __init__(self, splits: Sequence[Split], base: Classes, weights: npt.NDArray[np.float64]):
        self._splits, self._base = splits, base
        self._axes = [factor for split in splits for factor in split.factors]
        variables = self._variables()
        self._axes_of: dict[int, list[Axis]] = {}
        for axis, variable in zip(self._axes, variables, strict=True):
            self._axes_of.setdefault(variable, []).append(axis)
        of = iter(variables)
        self._members = [[next(of) for _ in split.factors] for split in splits]
        worth = np.asarray(np.bincount(base.of, weights, minlength=len(base.reason)), np.float64)
        self._gain, self._blocked, self._conflicts = self._rate(worth)

    def _variables(self) -> list[int]:
        """The variable of each factor axis."""
        if not self._axes:
            return []
        rows = np.repeat(np.arange(len(self._axes)), [len(axis) for axis in self._axes])
        columns = self._base.of[np.concatenate(self._axes)]
        open_ = self._base.reason[columns] == Classes.FREE
        size = len(self._axes) + len(self._base.reason)
        ones = np.ones(int(open_.sum()), np.int8)
        matrix = sparse.coo_array((ones, (rows[open_], len(self._axes) + columns[open_])), shape=(size, size))
        return [
            int(component) for component in csgraph.connected_components(matrix, directed=False)[1][: len(self._axes)]
        ]

    def _rate(self, worth: npt.NDArray[np.float64]) -> tuple[dict[int, float], set[int], dict[int, set[int]]]:
        gain: dict[int, float] = {}
        blocked: set[int] = set()
        conflicts: dict[int, set[int]] = {}
        for split, members in zip(self._splits, self._members, strict=True):
            flat_free = self._base.free(split.flat)
            value = 1.0 + worth[np.unique(self._base.of[split.flat[flat_free]])].sum()
            for member, factor in zip(members, split.factors, strict=True):
                free = len(np.unique(self._base.of[factor[self._base.free(factor)]]))
                gain[member] = gain.get(member, 0.0) + value * max(free - 1, 0) / len(factor)
                conflicts.setdefault(member, set()).update(other for other in members if other != member)
                if not free or not flat_free.any() or members.count(member) > 1:
                    blocked.add(member)
        return gain, blocked, conflicts

    def labels_of(self, variable: int) -> Axis:
        """All labels of a variable's axes."""
        return np.concatenate(self._axes_of[variable])

    def best(self, blocked: set[int]) -> set[int]:
        """The variables of most worth of which no two exclude each other."""
        return {variable for cluster in self._clusters(blocked) for variable in self._best_of(cluster)}

    def contests(self, live: set[int]) -> Iterator[Contest]:
        """The clusters in which some variables have units and others could have."""
        for cluster in self._clusters(set()):
            winners = live & set(cluster)
            if winners and len(cluster) > len(winners):
                labels = np.concatenate([self.labels_of(winner) for winner in sorted(winners)])
                yield Contest(cluster[0], frozenset(winners), labels)

    def _clusters(self, blocked: set[int]) -> Iterator[list[int]]:
        """The variables that are open, those that exclude each other together."""
        open_ = {split for split in self._gain if split not in blocked and split not in self._blocked}
        while open_:
            cluster, stack = set(), [min(open_)]
            while stack:
                split = stack.pop()
                if split not in cluster:
                    cluster.add(split)
                    stack.extend(self._conflicts[split] & open_)
            open_ -= cluster
            yield sorted(cluster)

    def _best_of(self, cluster: list[int]) -> set[int]:
        if len(cluster) > MOST_ENUMERATED:
            kept_apart: set[int] = set()
            for split in sorted(cluster, key=lambda v: -self._gain[v]):
                if not self._conflicts[split] & kept_apart:
                    kept_apart.add(split)
            return kept_apart
        subsets = itertools.chain.from_iterable(
            itertools.combinations(cluster, size) for size in range(1, len(cluster) + 1)
        )
        allowed = (set(s) for s in subsets if not any(self._conflicts[split] & set(s) for split in s))
        return max(allowed, key=lambda subset: math.fsum(self._gain[split] for split in subset))

    def grouped(self, live: set[int]) -> list[Split]:
        """The splits into groups each of which loses as many indices."""
        splits = zip(self._splits, self._members, strict=True)
        return [split for split, members in splits if split.groups > 1 and members[1] in live]

    def applied(self, live: set[int]) -> tuple[list[tuple[Axis, Axis]], list[tuple[Axis, int]]]:
        """The joins and freezes that follow from a choice."""
        joins: list[tuple[Axis, Axis]] = []
        frozen: list[tuple[Axis, int]] = []
        for split, members in zip(self._splits, self._members, strict=True):
            digits = np.unravel_index(np.arange(len(split.flat)), tuple(len(factor) for factor in split.factors))
            if not live & set(members):
                frozen.append((split.flat, split.reason))
            for member, factor, digit in zip(members, split.factors, digits, strict=True):
                if member in live and split.groups > 1 and factor is split.factors[1]:
                    continue
                if member in live:
                    joins.append((split.flat, factor[digit]))
                else:
                    frozen.append((factor, split.reason))
        return joins, frozen
