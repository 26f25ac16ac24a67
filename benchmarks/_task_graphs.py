"""What a run on a cluster does, as it was measured: its tasks, and what the main process does between them."""

from __future__ import annotations

import collections
import dataclasses
import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from netsurgeon.pipeline.execution.executors.executor import fold

Kind = Literal["compute", "submit", "wait", "release"]
JOINED = "joined"
"""What a sum of two shards is called."""


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """A task of a run.

    Attributes:
        label: the function that it calls.
        needs: numbers of the tasks whose results it takes.
        sent: bytes of its other arguments, which come from the main process.
        seconds: of a core.
        made: bytes of its result.
        shard: of the inputs, that it is about; None = of none.
        sweep: over the inputs, that it belongs to.
        setup: more seconds for the first task of its group on each worker, as for a session of ONNX Runtime.
        group: tasks that do the same with other shards, and share what is set up; -1 = it has none.
    """

    label: str
    needs: tuple[int, ...]
    sent: int
    seconds: float
    made: int
    shard: int | None = None
    sweep: int = 0
    setup: float = 0.0
    group: int = -1


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A step of the main process.

    Attributes:
        kind: it works by itself, sends a task, waits for the result of one and fetches it, or needs it no more.
        task: its number; -1 where it works by itself.
        seconds: of a core, that it works by itself.
    """

    kind: Kind
    task: int = -1
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class TaskGraph:
    """Tasks in the order in which they are sent, and the steps of the main process, which sends them."""

    tasks: tuple[Task, ...]
    steps: tuple[Step, ...]

    @property
    def main_seconds(self) -> float:
        """What the main process works by itself."""
        return sum(step.seconds for step in self.steps)

    @property
    def task_seconds(self) -> float:
        """What all tasks take, one after the other, on one worker."""
        groups = {task.group: task.setup for task in self.tasks if task.group >= 0}
        return sum(task.seconds for task in self.tasks) + sum(groups.values())

    @property
    def shards(self) -> int:
        """Of the inputs, in the largest sweep."""
        return max((task.shard + 1 for task in self.tasks if task.shard is not None), default=0)

    def seconds_by_label(self) -> dict[str, float]:
        """What the tasks of each function take together."""
        seconds: dict[str, float] = collections.defaultdict(float)
        for task in self.tasks:
            seconds[task.label] += task.seconds
        return dict(seconds)

    def main_seconds_by_sweep(self) -> list[tuple[float, float]]:
        """What the main process works by itself before each sweep, and in it until the next one begins to be opened.

        What it does behind the last wait of a sweep that another one follows is before that one.
        """
        last_waits = {self.tasks[step.task].sweep: at for at, step in enumerate(self.steps) if step.kind == "wait"}
        ends = [at + 1 for at in last_waits.values()]
        starts = [0, *ends[:-1]]
        seconds: list[tuple[float, float]] = []
        for number, (start, end) in enumerate(zip(starts, [*ends[:-1], len(self.steps)], strict=True)):
            part = self.steps[start:end]
            opened = next(
                at for at, step in enumerate(part) if step.kind == "submit" and self.tasks[step.task].sweep == number
            )
            before, inside = part[:opened], part[opened:]
            seconds.append((sum(step.seconds for step in before), sum(step.seconds for step in inside)))
        return seconds

    def write(self, path: Path) -> None:
        """Keep it, a line a task or step."""
        tasks = ",\n".join(json.dumps(dataclasses.astuple(task)) for task in self.tasks)
        steps = ",\n".join(json.dumps(dataclasses.astuple(step)) for step in self.steps)
        path.write_text(f'{{"tasks": [\n{tasks}\n],\n"steps": [\n{steps}\n]}}\n', "utf-8")

    @classmethod
    def read(cls, path: Path) -> TaskGraph:
        """What `write` has kept."""
        kept: dict[str, list[list[Any]]] = json.loads(path.read_text("utf-8"))
        tasks = [Task(label, tuple(needs), *rest) for label, needs, *rest in kept["tasks"]]
        return cls(tuple(tasks), tuple(Step(*fields) for fields in kept["steps"]))


def excerpt(graph: TaskGraph, count: int) -> TaskGraph:
    """The first so many tasks, and what the main process does until then."""
    end = next((at for at, step in enumerate(graph.steps) if step.kind == "submit" and step.task >= count), None)
    return TaskGraph(graph.tasks[:count], graph.steps[:end])


def scaled(graph: TaskGraph, seconds: float, size: float) -> TaskGraph:
    """The same with so many times the seconds and the bytes."""
    tasks = (
        dataclasses.replace(
            task,
            seconds=seconds * task.seconds,
            setup=seconds * task.setup,
            sent=round(size * task.sent),
            made=round(size * task.made),
        )
        for task in graph.tasks
    )
    return TaskGraph(
        tuple(tasks), tuple(dataclasses.replace(step, seconds=seconds * step.seconds) for step in graph.steps)
    )


class GraphBuilder:
    """Collects tasks and steps."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.steps: list[Step] = []

    def compute(self, seconds: float) -> None:
        """Let the main process work by itself."""
        if seconds > 0.0:
            self.steps.append(Step("compute", seconds=seconds))

    def submit(self, task: Task) -> int:
        """Send a task; its number."""
        self.tasks.append(task)
        self.steps.append(Step("submit", len(self.tasks) - 1))
        return len(self.tasks) - 1

    def wait(self, task: int) -> None:
        """Fetch the result of a task."""
        self.steps.append(Step("wait", task))

    def release(self, task: int) -> None:
        """Need the result of a task no more."""
        self.steps.append(Step("release", task))

    def built(self) -> TaskGraph:
        """All of it."""
        return TaskGraph(tuple(self.tasks), tuple(self.steps))


def with_more_shards(graph: TaskGraph, count: int, *, larger: float = 1.0) -> TaskGraph:
    """The same run on more of the same inputs: every task of a shard is there for `count` shards.

    Tasks that do the same with all shards are a group. Its new members take the seconds and bytes of the measured ones
    in turn; the sums of a group are joined in the tree of that many shards. Sweeps over fewer inputs stay as they are:
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
            needs = tuple(need for old in task.needs for need in self._of_first(old))
            self._new[number] = [self._builder.submit(dataclasses.replace(task, needs=needs))]
            return
        members = self._members[self._group_of[number]]
        group = len(self._builder.tasks)
        created = list(self._copies(members, group))
        self._new |= dict.fromkeys(members, created)

    def _of_first(self, old: int) -> list[int]:
        """What stands for a task that one outside of all groups needs: of a group the member of the first shard."""
        return self._new[old][:1]

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
                            task, needs=needs, shard=shard, setup=setup, group=group,
                            seconds=seconds * self._larger, made=round(task.made * grows),
                            sent=round(task.sent * (self._larger if not task.needs else 1.0)),
                        )
                    )
                )  # fmt: skip
                yield created[-1]

        if not sums:
            yield from leaves()
            return
        join = _typical(sums)
        root = fold(lambda one, other: self._builder.submit(dataclasses.replace(join, needs=(one, other))), leaves())
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
    seconds, made = (
        statistics.median(values) for values in zip(*((task.seconds, task.made) for task in tasks), strict=True)
    )
    return dataclasses.replace(tasks[0], seconds=seconds, made=round(made))
