"""One step of `cluster.py` in a process of its own: ``python _cluster_runs.py task.json result.json``."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import math
import os
import random
import resource
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _cluster_replay
import _decoder
import _models
import _transformer_runs
import numpy as np
import onnx
import psutil
import threadpoolctl
from _recorded_tasks import SUMMED, Recorder
from _runs import BATCH, Facts, Task, labelled, write_facts
from _task_graphs import TaskGraph

import netsurgeon
from netsurgeon.passes.layers import Layer
from netsurgeon.pipeline.calibration import shards, sweep
from netsurgeon.pipeline.calibration.row_moments import BUFFERED_ROWS, Drawing, ShardMoments, shard_moments
from netsurgeon.pipeline.execution import InProcess, open_executor
from netsurgeon.pipeline.run import calibrating

CALIBRATING: Any = calibrating
"""Where a run gets its executor and its calibration from."""
SWEEP: Any = sweep
"""Where it gets the sums of shards from."""
TESTED = 8
"""Inputs of the final measurement, which is no part of what is recorded."""
SEAM_TASKS = 20_000
STARTED = 2.0
"""Seconds after which a process is a worker that may be killed."""


def main(task_path: str, result_path: str) -> None:
    """Run a step and write its facts."""
    write_facts({"record": record, "compress": compress, "replay": replay, "costs": costs}, task_path, result_path)


def compress(task: Task) -> Facts:
    """Compress a model, on a cluster or alone, while workers are killed or not."""
    small, report = Path(task["folder"]) / "small.onnx", Path(task["folder"]) / "report.json"
    inputs = _pictures(task) if task["model"] == "resnet50" else _inputs(task)
    options = {"threads": 1, **inputs, **task["options"], "cluster": task["cluster"]}
    if "timings" in options:
        options["timings"] = Path(options["timings"])
    limits = contextlib.nullcontext() if not task.get("confined") else _confined()
    with limits, _Killer(task.get("kills", 0), task.get("within", 0.0)) as killer:
        started, before = time.perf_counter(), _processor()
        netsurgeon.compress(**options, output=small, report=report)
        seconds, after = time.perf_counter() - started, _processor()
    if task.get("keep"):
        shutil.copyfile(report, task["keep"])
    main_seconds, worker_seconds = (round(end - begin, 1) for begin, end in zip(before, after, strict=True))
    return {
        "sha256": hashlib.sha256(small.read_bytes()).hexdigest(),
        "seconds": round(seconds, 1),
        "main": main_seconds,
        "workers": worker_seconds,
        "killed": killer.killed,
    }


def replay(task: Task) -> Facts:
    """Let the tasks of a graph sleep on so many workers."""
    graph = TaskGraph.read(Path(task["graph"]))
    with open_executor(f"local:{task['workers']}") as executor:
        list(executor.map(_cluster_replay.doze_nothing, range(20 * task["workers"])))
        return {"seconds": round(_cluster_replay.replay(graph, executor), 2)}


def costs(task: Task) -> Facts:
    """What Dask takes for a task and a byte, and what the seam takes for a task in this process."""
    del task
    dask, slowed = _cluster_replay.measure_costs()
    before = time.process_time()
    with InProcess() as executor:
        for _ in executor.map(_cluster_replay.doze_nothing, range(SEAM_TASKS)):
            pass
    return {
        "dask": dataclasses.asdict(dask),
        "slowed": round(slowed, 2),
        "seam": (time.process_time() - before) / SEAM_TASKS,
    }


@contextlib.contextmanager
def _confined() -> Iterator[None]:
    """Let this process and each of its workers have one core: what a task of a worker calls has threads of its own."""
    cores = sorted(os.sched_getaffinity(0))
    is_over = threading.Event()

    def move_workers() -> None:
        while not is_over.wait(0.5):
            for number, worker in enumerate(sorted(_workers()), start=1):
                with contextlib.suppress(psutil.NoSuchProcess):
                    psutil.Process(worker).cpu_affinity([cores[number % len(cores)]])

    mover = threading.Thread(target=move_workers)
    os.sched_setaffinity(0, cores[:1])  # workers begin here, and have as many threads as there are cores then
    with threadpoolctl.threadpool_limits(1):
        mover.start()
        try:
            yield
        finally:
            is_over.set()
            mover.join()


class _Killer:
    """Kills random workers of this process, at random moments of a run, each when there is one to be killed."""

    def __init__(self, count: int, within: float):
        rng = random.Random(0)
        self._moments = sorted(rng.uniform(0.02, 0.9) * within for _ in range(count))
        self._rng, self._over, self.killed = rng, threading.Event(), 0
        self._thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        started = time.monotonic()
        for moment in self._moments:
            self._over.wait(max(0.0, started + moment - time.monotonic()))
            while not self._over.is_set() and not (workers := _workers()):
                self._over.wait(0.05)
            if self._over.is_set():
                return
            os.kill(self._rng.choice(workers), signal.SIGKILL)
            self.killed += 1

    def __enter__(self) -> _Killer:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()


def _workers() -> list[int]:
    """Processes that Dask has started, once they have begun to work."""
    return [child.pid for child in psutil.Process().children() if _has_begun(child)]


def _has_begun(process: psutil.Process) -> bool:
    """Whether it is a worker that a scheduler knows: one that ends before then lets no cluster start."""
    if "spawn_main" not in " ".join(process.cmdline()) or time.time() - process.create_time() < STARTED:
        return False
    return sum(connection.status == psutil.CONN_ESTABLISHED for connection in process.net_connections("tcp")) > 1


def _processor() -> tuple[float, float]:
    """Seconds of a core that this process and its children have taken, once they have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time(), children.ru_utime + children.ru_stime


def _pictures(task: Task) -> dict[str, Any]:
    """ResNet-50's shape and random pictures, with a few more to test on."""
    path, rng = Path(task["folder"]) / "model.onnx", np.random.default_rng(0)
    model = _models.he_model(_models.light_resnet50(), seed=0, free_batch=True)
    onnx.save(model, path)
    pictures = rng.standard_normal((task["pictures"] + TESTED, 3, 224, 224), np.float32)
    name = model.graph.input[0].name
    return {"model": path, "data": {name: pictures[TESTED:]}, "test": {name: pictures[:TESTED]}}


def _inputs(task: Task) -> dict[str, Any]:
    """A model and its inputs: the digits of the repository, a model of the shared folder, or a sentence encoder."""
    model = Path(task["path"])
    if task["model"] == "digits":
        return {"model": model, "data": model.parent / "calibration.npz", "test": model.parent / "test.npz"}
    if task["model"] in ("l3", "l6"):
        data, test = (
            (_transformer_runs.load(model.parent / f"{split}.npz"), np.load(model.parent / f"{split}_scores.npy"))
            for split in ("train", "test")
        )
        return {"model": model, "data": data, "test": test}
    calibration, test, more = labelled(model.parent.parent, model, {"data": "cifar10", "limit": None, **task})
    return {"model": model, "data": calibration, "test": test, "batch_size": BATCH["cifar10"], **more}


def record(task: Task) -> Facts:
    """Compress a model on two shards of its inputs, with all tasks in this process, and keep their graph.

    The sums of moments are of as many rows as two shards of `whole` inputs have among `inputs`, as far as they are
    there; what the main process solves is not. Each shard's rows are summed: in a larger run they might wait for those
    of others first.
    """
    share = 2 * task["whole"] / task["inputs"]
    count = 2 * task["shard"]
    inputs = _pictures({**task, "pictures": count}) if "shape" not in task else _sequences({**task, "sequences": count})
    shards.SHARD_BYTES = sum(map(shards.feed_size, [inputs["data"]])) // 2
    columns, waits = dict[str, int](), dict[str, int]()
    SWEEP.shard_moments = _summed_at_once(columns)
    recorder = Recorder(functools.partial(_as_in_large_run, columns, waits, share), waits)
    CALIBRATING.open_executor = lambda *_: recorder
    CALIBRATING.Calibration = _with_population(task["inputs"])
    before = time.process_time()
    netsurgeon.compress(**inputs, cluster="local:1", threads=1, batch_size=task["batch"], **task["options"])
    graph = recorder.graph()
    graph.write(Path(task["graph"]))
    return {
        "processor": round(time.process_time() - before, 2),
        "main": round(graph.main_seconds, 2),
        "tasks": round(graph.task_seconds, 2),
        "by_label": {label: round(seconds, 3) for label, seconds in graph.seconds_by_label().items()},
    }


def _summed_at_once(columns: dict[str, int]) -> Callable[..., Any]:
    """`shard_moments` whose rows do not wait; it keeps the columns of each layer by its name."""

    @functools.wraps(shard_moments)
    def summed(layer: Layer, *more: Any) -> ShardMoments:
        moments = shard_moments(layer, *more)
        for rows in moments.models:
            rows.ended()
        columns[layer.name] = layer.columns // layer.blocks
        return moments

    return summed


def _as_in_large_run(
    columns: dict[str, int], waits: dict[str, int], share: float, label: str, values: tuple[Any, ...]
) -> tuple[Any, ...]:
    """The arguments of a sum over a shard which draws as few rows as if there were more inputs.

    Args:
        columns: of each layer.
        waits: of each layer, the levels of the tree for which its rows would wait; filled in.
        share: of all inputs that two shards of the larger run have.
        label: what the task does.
        values: its arguments, the name of the layer first.
    """
    drawing = next((value for value in values if isinstance(value, Drawing)), None)
    if label != SUMMED or drawing is None:
        return values
    fewer, name = dataclasses.replace(drawing, most=max(1, round(share * drawing.most))), values[0]
    waits[name] = max(0, math.ceil(math.log2(max(BUFFERED_ROWS, columns[name]) / (fewer.most / 2))))
    return tuple(fewer if value is drawing else value for value in values)


def _with_population(inputs: int) -> Callable[..., Any]:
    """Calibrations which know that there are so many inputs."""
    calibration_class = CALIBRATING.Calibration

    def make(*arguments: Any, **options: Any) -> Any:
        return calibration_class(*arguments, **{**options, "population_size": inputs})

    return make


def _sequences(task: Task) -> dict[str, Any]:
    """A decoder with random weights and random tokens, with a few more sequences to test on."""
    path, shape = Path(task["folder"]) / "model.onnx", _decoder.Shape(**task["shape"])
    _decoder.build(path, shape)
    count = task["sequences"] + TESTED
    tokens = (np.random.default_rng(0).zipf(1.3, (count, _decoder.TOKENS)) % shape.vocabulary).astype(np.int64)
    return {"model": path, "data": {"tokens": tokens[TESTED:]}, "test": {"tokens": tokens[:TESTED]}}


if __name__ == "__main__":
    main(*sys.argv[1:])
