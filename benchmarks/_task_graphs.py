"""What a run on a cluster does, as it was measured: its tasks, and what the main process does between them."""

from __future__ import annotations

import collections
import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

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
        result_bytes: bytes of its result.
        shard: of the inputs, that it is about; None = of none.
        sweep: number of the inputs that were cut into shards: all of them, or a part.
        setup: more seconds for the first task of its group on each worker, as for a session of ONNX Runtime.
        group: tasks that do the same with other shards, and share what is set up; -1 = it has none.
        serial: more seconds, on one core whatever its worker has.
        waits: levels of the tree of its sum in which rows are only laid together, until there are enough to be summed.
        place: number of the worker that it is for, modulo how many there are; -1 = whichever can begin first.
    """

    label: str
    needs: tuple[int, ...]
    sent: int
    seconds: float
    result_bytes: int
    shard: int | None = None
    sweep: int = 0
    setup: float = 0.0
    group: int = -1
    serial: float = 0.0
    place: int = -1
    waits: int = 0


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
        return sum(task.seconds + task.serial for task in self.tasks) + sum(groups.values())

    @property
    def shards(self) -> int:
        """Of the inputs, in the largest sweep."""
        return max((task.shard + 1 for task in self.tasks if task.shard is not None), default=0)

    def seconds_by_label(self) -> dict[str, float]:
        """What the tasks of each function take together."""
        seconds: dict[str, float] = collections.defaultdict(float)
        for task in self.tasks:
            seconds[task.label] += task.seconds + task.serial
        return dict(seconds)

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
    """The first so many tasks, what the main process does until then, and a wait for what is not done by then."""
    end = next((at for at, step in enumerate(graph.steps) if step.kind == "submit" and step.task >= count), None)
    tasks, steps = graph.tasks[:count], graph.steps[:end]
    over = {step.task for step in steps if step.kind in ("wait", "release")}
    needed = {need for task in tasks for need in task.needs}
    waits = (Step("wait", number) for number in range(len(tasks)) if number not in over | needed)
    return TaskGraph(tasks, (*steps, *waits))


def scaled(graph: TaskGraph, seconds: float, size: float) -> TaskGraph:
    """The same with so many times the seconds and the bytes."""
    tasks = (
        dataclasses.replace(
            task,
            seconds=seconds * task.seconds,
            setup=seconds * task.setup,
            serial=seconds * task.serial,
            sent=round(size * task.sent),
            result_bytes=round(size * task.result_bytes),
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
