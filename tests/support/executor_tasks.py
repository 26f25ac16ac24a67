"""What every executor does, and tasks that processes of workers can import."""

from __future__ import annotations

import errno
import operator
import os
import pickle
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from netsurgeon.pipeline.execution.executors.executor import Executor, fold, kind_of
from netsurgeon.pipeline.execution.executors.in_process import InProcess


def check_executor(executor: Executor) -> None:
    """What every executor does."""
    paths = [f"folder/{number}" for number in range(5)]
    assert list(executor.map(os.path.basename, paths)) == [str(number) for number in range(5)]
    floats = np.random.default_rng(0).standard_normal(37) * 10.0 ** np.arange(37)
    parts = (executor.submit(np.float64, value) for value in floats)
    assert executor.tree_reduce(operator.add, parts).result() == fold(operator.add, map(np.float64, floats))
    numbers = executor.submit_all(operator.add, [(1, executor.submit(int, "2")), (3, 4)])
    assert [number.result() for number in numbers] == [3, 7]
    assert executor.submit_all(operator.add, []) == []
    kept = executor.submit(np.ones, 3)
    assert executor.submit(np.sum, kept).result() == 3.0
    with pytest.raises(FileNotFoundError, match="nowhere"):
        executor.submit(Path.stat, Path("nowhere")).result()


class Elsewhere(InProcess):
    """An executor whose tasks see nothing but what was pickled."""

    is_here = False

    def __init__(self) -> None:
        super().__init__()
        self.kinds: set[str] = set()

    def submit(self, function: Any, *arguments: Any, about: str = "", peers: str = "") -> Any:
        self.kinds.add(kind_of(function))
        return super().submit(_pickled, function, *arguments)


def _pickled(function: Any, *arguments: Any) -> Any:
    return pickle.loads(pickle.dumps(function(*pickle.loads(pickle.dumps(arguments)))))


def process_of(number: int) -> int:
    """Which process runs a task that takes a while."""
    del number
    time.sleep(0.05)
    return os.getpid()


def slow_sum(seed: int) -> float:
    """A sum that takes a while."""
    time.sleep(0.05)
    return float(np.sum(np.random.default_rng(seed).random(1000)))


def product_with_transposed(values: dict[str, Any], y: NDArray[Any]) -> NDArray[Any]:
    """A product that BLAS makes only of arrays that are aligned."""
    return np.asarray(values["x"] @ y.T)


def fails_once(marker: Path, how: str) -> int:
    """Which process runs a task whose first worker has a full disk, dies, or takes until "<marker>.over" is there."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return os.getpid()
    if how == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    deadline = time.monotonic() + 300.0
    while not marker.with_name(f"{marker.name}.over").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return -1


def needs_too_much() -> None:
    """A task that is too large for any worker."""
    raise MemoryError
