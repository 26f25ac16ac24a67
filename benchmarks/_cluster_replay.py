"""Real schedulers and workers of Dask for `cluster.py`: what they cost, and graphs whose tasks sleep on them.

A task that sleeps takes as long whatever else the machine does. So a graph that is replayed in this way shows, on a
busy machine too, whether the model of `_simulated_cluster.py` places tasks, waits and travels as Dask does; it does not
show how fast anything is computed.
"""

from __future__ import annotations

import contextlib
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
from _task_graphs import TaskGraph

from netsurgeon.pipeline.execution import Executor, Pending, open_executor

COSTED_TASKS, COSTED_MESSAGES = 100, 4
"""Tasks in a message, about as many as there are shards, and messages."""
COSTED_BYTES = 40 << 20
COSTED_TIMES = 10


def replay(graph: TaskGraph, executor: Executor) -> float:
    """Do what a graph says, with sleep in the place of work; seconds."""
    results: dict[int, Pending[npt.NDArray[np.uint8]]] = {}
    started = time.perf_counter()
    for step in graph.steps:
        if step.kind == "compute":
            time.sleep(step.seconds)
        elif step.kind == "submit":
            task = graph.tasks[step.task]
            needs = [results[need] for need in task.needs]
            results[step.task] = executor.submit(
                doze, task.seconds, task.result_bytes, np.zeros(task.sent, np.uint8), *needs
            )
        elif step.kind == "wait":
            results[step.task].result()
        else:
            del results[step.task]
    return time.perf_counter() - started


def doze(seconds: float, result_bytes: int, *needs: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Take a while; so many bytes."""
    time.sleep(seconds)
    return np.zeros(result_bytes + 0 * len(needs), np.uint8)


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
