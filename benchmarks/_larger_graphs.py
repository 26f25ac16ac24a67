"""The graph of a run on more inputs than were recorded."""

from __future__ import annotations

import collections
import dataclasses
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from _task_graphs import JOINED, GraphBuilder, Step, Task, TaskGraph

from netsurgeon.pipeline.execution.executors.executor import fold


def with_more_shards(graph: TaskGraph, count: int, *, larger: float = 1.0) -> TaskGraph:
    """The same run on more of the same inputs: every task of a shard is there for `count` shards.

    Tasks that do the same with all shards are a group. Its new members take the seconds and bytes of the measured ones
    in turn; the sums of a group are joined in the tree of that many shards, of which the first levels may only lay rows
    together (`Task.waits`): what summing them takes stays with the leaves. Sweeps over fewer inputs stay as they are:
    they are over a part whose size is fixed. What the main process does between two members of a group (it reads
    inputs) grows with their number, and nothing else that it does: it solves the same layers.

    Args:
        graph: of a run on few shards, two at least.
        count: of shards.
        larger: how many times as many inputs a shard has; seconds and bytes of its tasks grow with them, sums do not.
    """
    return _Growth(graph, count, larger).grown()


Group = tuple[int, str, int]
"""The sweep, the function, and how many groups of it there were before."""


class _Growth:
    """One use of `with_more_shards`."""

    def __init__(self, graph: TaskGraph, count: int, larger: float):
        self._graph, self._count, self._larger = graph, count, larger
        self._few = graph.shards
        self._members: dict[Group, list[int]] = self._groups()
        self._group_of = {task: key for key, members in self._members.items() for task in members}
        self._leaves = self._trees()
        self._inner = {need for task in graph.tasks if task.label == JOINED for need in task.needs}
        self._builder = GraphBuilder()
        self._new: dict[int, list[int]] = {}
        """The new tasks for each old one that has been sent: those of all its group, or one."""
        self._done: set[tuple[str, Any]] = set()

    def grown(self) -> TaskGraph:
        before: Step | None = None
        for step, following in zip(self._graph.steps, (*self._graph.steps[1:], None), strict=True):
            if step.kind == "compute":
                self._builder.compute(step.seconds * self._more(before, following))
                continue
            before = step
            if step.kind == "submit":
                self._submit(step.task)
            elif (target := self._target(step.task)) is not None and (step.kind, target) not in self._done:
                self._done.add((step.kind, target))
                for task in self._new[step.task]:
                    self._builder.steps.append(Step(step.kind, task))
        return self._builder.built()

    def _groups(self) -> dict[Group, list[int]]:
        """Tasks that are there once for each shard."""
        seen: dict[tuple[int, str, int], int] = collections.Counter()
        groups: dict[Group, list[int]] = collections.defaultdict(list)
        for number, task in enumerate(self._graph.tasks):
            if task.shard is not None:
                key = (task.sweep, task.label, task.shard)
                groups[task.sweep, task.label, seen[key]].append(number)
                seen[key] += 1
        return {group: members for group, members in groups.items() if len(members) == self._few}

    def _trees(self) -> dict[int, Group]:
        """Of each sum of shards the group whose tasks it joins; none of those that stay as they are."""
        groups: dict[int, Group] = {}
        for number, task in enumerate(self._graph.tasks):
            if task.label == JOINED and (group := groups.get(task.needs[0], self._group_of.get(task.needs[0]))):
                groups[number] = group
        return groups

    def _target(self, task: int) -> Any:
        """What a task has become: a group, the sum of one, or a task; None for a sum inside a tree."""
        if task in self._leaves:
            return None if task in self._inner else ("sum", self._leaves[task])
        return self._group_of.get(task, task)

    def _more(self, before: Step | None, following: Step | None) -> float:
        """How many times as long the main process works between two steps."""
        sides = [
            self._leaves.get(step.task) or self._group_of.get(step.task)
            for step in (before, following)
            if step is not None and step.kind == "submit"
        ]
        is_between = len(sides) == 2 and sides[0] is not None and sides[0] == sides[1]
        return self._larger * (self._count - 1) / max(self._few - 1, 1) if is_between else 1.0

    def _submit(self, number: int) -> None:
        if number in self._new or number in self._leaves:
            return
        task = self._graph.tasks[number]
        if number not in self._group_of:
            needs = tuple(self._needs_of_one(task.needs))
            self._new[number] = [self._builder.submit(dataclasses.replace(task, needs=needs))]
            return
        members = self._members[self._group_of[number]]
        group = len(self._builder.tasks)
        created = list(self._copies(members, group))
        self._new |= dict.fromkeys(members, created)

    def _needs_of_one(self, needs: Sequence[int]) -> Iterator[int]:
        """What a task outside of all groups needs: all of a group that it needs more than one of, or the first."""
        counts = collections.Counter(self._group_of[need] for need in needs if need in self._group_of)
        for need in dict.fromkeys(needs):
            group = self._group_of.get(need)
            if group is None or counts[group] == 1:
                yield self._new[need][0]
            elif need == self._members[group][0]:
                yield from self._new[need]

    def _copies(self, members: Sequence[int], group: int) -> Iterator[int]:
        """Send the members of a group, and the sums of them as soon as they can be."""
        old = [self._graph.tasks[number] for number in members]
        setup = _setup(old)
        sums = [task for task in self._graph.tasks if task.label == JOINED and set(task.needs) & {*members}]
        created: list[int] = []

        def leaves() -> Iterator[int]:
            for shard in range(self._count):
                task = old[shard % len(old)]
                seconds = task.seconds - (setup if shard % len(old) == 0 else 0.0)
                needs = tuple(self._need(need, shard) for need in task.needs)
                grows = self._larger if not sums else 1.0
                created.append(
                    self._builder.submit(
                        dataclasses.replace(
                            task, needs=needs, shard=shard, place=shard, setup=setup, group=group,
                            seconds=seconds * self._larger, result_bytes=round(task.result_bytes * grows),
                            sent=round(task.sent * (self._larger if not task.needs else 1.0)),
                        )
                    )
                )  # fmt: skip
                yield created[-1]

        def leaves_of_sums() -> Iterator[tuple[int, int]]:
            for leaf in leaves():
                size = rows_bytes(self._builder.tasks[leaf].result_bytes, 0)
                self._builder.tasks[leaf] = dataclasses.replace(self._builder.tasks[leaf], result_bytes=size)
                yield leaf, 0

        def rows_bytes(size: int, level: int) -> int:
            """Of what is there at a level of the tree: rows take half of the room of the sums that they make."""
            return size if level >= waits else size >> (waits - level)

        def joined(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
            level = max(one[1], other[1]) + 1
            seconds = join.seconds if level > waits else 0.0
            size = rows_bytes(join.result_bytes, level)
            needs = (one[0], other[0])
            task = dataclasses.replace(join, needs=needs, seconds=seconds, result_bytes=size)
            return self._builder.submit(task), level

        if not sums:
            yield from leaves()
            return
        join, waits = _typical(sums), old[0].waits
        root, _ = fold(joined, leaves_of_sums())
        key = self._group_of[members[0]]
        self._new |= {number: [root] for number, of in self._leaves.items() if of == key}
        yield from created

    def _need(self, old: int, shard: int) -> int:
        new = self._new[old]
        return new[shard] if len(new) > 1 else new[0]


def _setup(members: Sequence[Task]) -> float:
    """What the first of a group has taken longer than the others, which have found things set up."""
    if len(members) < 2:
        return 0.0
    return max(0.0, members[0].seconds - statistics.median(task.seconds for task in members[1:]))


def _typical(tasks: Sequence[Task]) -> Task:
    """One with their median seconds and bytes."""
    seconds, result_bytes = (
        statistics.median(values) for values in zip(*((task.seconds, task.result_bytes) for task in tasks), strict=True)
    )
    return dataclasses.replace(tasks[0], seconds=seconds, result_bytes=round(result_bytes))
