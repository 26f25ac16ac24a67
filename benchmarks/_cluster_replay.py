"""Real schedulers and workers of Dask for `cluster.py`: what they cost, and graphs whose tasks sleep on them.

A task that sleeps takes as long whatever else the machine does. So a graph that is replayed in this way shows, on a
busy machine too, whether the model of `_simulated_cluster.py` places tasks, waits and travels as Dask does; it does not
show how fast anything is computed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import operator
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
from _simulated_cluster import Costs
from _task_graphs import Step, TaskGraph

from netsurgeon.pipeline.execution import Executor, Pending, open_executor

COSTED_TASKS, COSTED_MESSAGES = 100, 4
"""Tasks in a message, about as many as there are shards, and messages."""
COSTED_BYTES = 40 << 20
COSTED_TIMES = 10


@dataclasses.dataclass(frozen=True)
class Doze:
    """A task that sleeps, under the name of one that works: Dask learns how long tasks of a name take.

    Attributes:
        __name__: of what it stands for.
    """

    __name__: str

    def __call__(self, seconds: float, result_bytes: int, *needs: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Take a while; so many bytes."""
        time.sleep(seconds)
        return np.zeros(result_bytes + 0 * len(needs), np.uint8)


def replay(graph: TaskGraph, executor: Executor) -> float:
    """Do what a graph says, with sleep in the place of work; seconds."""
    results: dict[int, Pending[npt.NDArray[np.uint8]]] = {}
    started = time.perf_counter()
    for steps in messages(graph):
        step = steps[0]
        if step.kind == "compute":
            time.sleep(step.seconds)
        elif step.kind == "submit":
            tasks = [graph.tasks[step.task] for step in steps]
            calls = [
                (
                    task.seconds,
                    task.result_bytes,
                    np.zeros(task.sent, np.uint8),
                    *(results[need] for need in task.needs),
                )
                for task in tasks
            ]
            peers = "" if tasks[0].shard is None else "a sweep"
            places = None if tasks[0].place < 0 else [task.place for task in tasks]
            pending = executor.submit_all(Doze(tasks[0].label), calls, peers=peers, places=places)
            results |= zip((step.task for step in steps), pending, strict=True)
        elif step.kind == "wait":
            results[step.task].result()
        else:
            del results[step.task]
    return time.perf_counter() - started


def messages(graph: TaskGraph) -> Iterator[list[Step]]:
    """The steps, of which tasks that do the same and do not need each other go out together, as in a run."""
    waiting, releases = list[Step](), list[Step]()
    for step in (*graph.steps, None):
        if step is not None and step.kind == "release":
            releases.append(step)
        elif step is not None and waiting and _goes_with(graph, waiting, step):
            waiting.append(step)
        else:
            yield from ([waiting] if waiting else [])
            yield from ([release] for release in releases)
            waiting, releases = [step] if step is not None else [], []


def _goes_with(graph: TaskGraph, waiting: list[Step], step: Step) -> bool:
    if step.kind != "submit" or waiting[0].kind != "submit":
        return False
    first, task = graph.tasks[waiting[0].task], graph.tasks[step.task]
    alike = [(other.label, len(other.needs), other.shard is None, other.place < 0) for other in (first, task)]
    return alike[0] == alike[1] and not {*task.needs} & {before.task for before in waiting}


def measure_costs() -> tuple[Costs, float]:
    """What Dask takes for tasks and bytes, in seconds of a core; and how many times as long it took here and now."""
    with _processes() as (executor, scheduler, worker):
        _do_nothing(executor)  # imports, and first connections
        marks = [(time.perf_counter(), *_seconds(scheduler, worker))]
        for _ in range(COSTED_MESSAGES):
            _do_nothing(executor)
        marks.append((time.perf_counter(), *_seconds(scheduler, worker)))
        for _ in range(COSTED_TIMES):
            executor.submit(len, np.zeros(COSTED_BYTES, np.uint8)).result()
        marks.append((time.perf_counter(), *_seconds(scheduler, worker)))
    of_tasks, of_bytes = np.diff(np.array(marks), axis=0)
    tasks, sizes = (
        of_tasks[1:] / (COSTED_MESSAGES * (2 * COSTED_TASKS - 1)),
        of_bytes[1:] / (COSTED_BYTES * COSTED_TIMES),
    )
    slowed = (of_tasks[0] + of_bytes[0]) / (of_tasks[1:].sum() + of_bytes[1:].sum())
    return Costs(*map(float, (*tasks, *sizes))), float(slowed)


def _do_nothing(executor: Executor) -> None:
    """Send tasks that take no time as those of all shards are sent, and the sum of what they give."""
    parts = executor.submit_all(doze_nothing, ([number] for number in range(COSTED_TASKS)), peers="costs")
    executor.tree_reduce(operator.add, parts).result()


def doze_nothing(number: int) -> int:
    """A task that takes no time."""
    return number


@contextlib.contextmanager
def _processes() -> Iterator[tuple[Executor, psutil.Process, psutil.Process]]:
    """An executor, and the processes of a scheduler and of a worker apart from this one."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        file = Path(folder) / "scheduler.json"

        def start(module: str, *options: str) -> psutil.Process:
            command = [sys.executable, "-m", f"distributed.cli.{module}", "--scheduler-file", str(file), *options]
            quiet = subprocess.DEVNULL
            process = subprocess.Popen(command, stdout=quiet, stderr=quiet, cwd=Path(__file__).parent)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return psutil.Process(process.pid)

        scheduler = start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        while not file.exists():
            time.sleep(0.1)
        worker = start("dask_worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", folder)
        yield stack.enter_context(open_executor(_address(file))), scheduler, worker


def _address(file: Path) -> str:
    address: str = json.loads(file.read_text("utf-8"))["address"]
    return address


def _seconds(*processes: psutil.Process) -> list[float]:
    """Of a core that this process and others have taken so far."""
    times = [process.cpu_times() for process in processes]
    return [time.process_time(), *(entry.user + entry.system for entry in times)]
