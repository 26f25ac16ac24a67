"""What a worker does with a task: it runs it as the process that has sent it would, and tells that process of it."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import importlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import threadpoolctl

from netsurgeon.pipeline.errors import InputError, UnseenStoreError
from netsurgeon.pipeline.execution.executors.array_store import StoredArray, read
from netsurgeon.pipeline.execution.executors.executor import kind_of
from netsurgeon.pipeline.execution.executors.parcel import Parcel

LIBRARIES = ("netsurgeon", "numpy", "onnxruntime")
"""Whose versions decide the bytes of a result; the first one is loaded before ONNX Runtime, whose telemetry it ends."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


class UnfitWorkerError(Exception):
    """A task ended because of the worker that it ran on: it may end well on another.

    Attributes:
        worker: its address.
        task: name of the task.
        why: in words, after the worker's name.
        of_any_task: whether it would be so with any other task.
    """

    def __init__(self, worker: str, task: str, why: str, of_any_task: bool = False):
        super().__init__(worker, task, why, of_any_task)
        self.worker, self.task, self.why, self.of_any_task = worker, task, why, of_any_task


@dataclasses.dataclass(frozen=True)
class Origin:
    """The process that sends tasks.

    Attributes:
        versions: of `LIBRARIES` there.
        threads: of BLAS there.
        topic: under which it is told what becomes of its tasks.
    """

    versions: Mapping[str, str]
    threads: int
    topic: str

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Arrive on a worker, before all else of a task.

        The package is imported here, whole, by the thread that reads messages: where that thread imported one part of
        it for a message while the thread of a task imported another for its arguments, each met modules that the other
        had half initialised, and the worker ended.
        """
        package = importlib.import_module(__name__.partition(".")[0])
        for name in package.__all__:  # each is imported when it is asked for
            getattr(package, name)
        self.__dict__.update(state)


def run_as_there(origin: Origin, function: Callable[..., Any], *arguments: Parcel) -> Parcel:
    """Run a task on a worker as it would run in the process that has sent it.

    Args:
        origin: that process.
        function: what to run.
        *arguments: of the function.

    Raises:
        UnfitWorkerError: the worker has other versions, such as one that came later, a full disk or too little memory.
    """
    import distributed

    worker = distributed.get_worker()
    task = str(worker.get_current_task())
    about = {"name": task, "worker": worker.address}
    try:
        if difference := other_version(versions_here(), origin.versions):
            raise UnfitWorkerError(worker.address, task, difference, of_any_task=True)
        worker.log_event(origin.topic, {**about, "state": "begun"})
        started = time.perf_counter()
        with _unfit_where_it_fails(worker.address, task):
            values = [argument.value for argument in arguments]  # loads what the function needs, BLAS among it
            with _blas_limited(origin.threads):
                value = function(*values)
        seconds = round(time.perf_counter() - started, 6)
    except UnfitWorkerError as error:
        worker.log_event(origin.topic, {**about, "state": "unfit", "why": error.why, "of_any_task": error.of_any_task})
        raise
    except BaseException:
        worker.log_event(origin.topic, {**about, "state": "failed"})
        raise
    result = Parcel(value, name=f"the result of {kind_of(function)}")
    sizes = {"bytes_in": sum(map(sys.getsizeof, arguments)), "bytes_out": sys.getsizeof(result)}
    worker.log_event(origin.topic, {**about, "state": "ended", "seconds": seconds, **sizes})
    return result


def _blas_limited(threads: int) -> contextlib.AbstractContextManager[Any]:
    """As many BLAS threads, in the libraries that have been loaded."""
    controller = _controller(len(sys.modules))
    limited: contextlib.AbstractContextManager[Any] = controller.limit(limits=threads, user_api="blas")
    return limited


@functools.lru_cache(1)
def _controller(modules: int) -> threadpoolctl.ThreadpoolController:
    """Of the libraries that are there with so many modules: to look for them takes longer than a small task."""
    del modules
    return threadpoolctl.ThreadpoolController()


@contextlib.contextmanager
def _unfit_where_it_fails(worker: str, task: str) -> Iterator[None]:
    """Tell errors that are a worker's from those of a task, which would be the same anywhere."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, UnseenStoreError):
                raise UnfitWorkerError(worker, task, f"is not fit for any: {cause}", of_any_task=True) from error
            if isinstance(cause, MemoryError):
                raise UnfitWorkerError(worker, task, "had too little memory for it") from error
            if isinstance(cause, OSError) and cause.errno in _FULL:
                raise UnfitWorkerError(worker, task, f"had no room on its disk for it ({cause.strerror})") from error
            cause = cause.__cause__
        raise


def other_version(versions: Mapping[str, str], expected: Mapping[str, str]) -> str | None:
    """What differs on a worker whose results would not have the same bytes: "has 1.0 numpy, and …"."""
    for name in LIBRARIES:
        if versions[name] != expected[name]:
            return (
                f"has {versions[name] or 'no'} {name}, and this process {expected[name]}: install the same versions on "
                "all workers"
            )
    return None


@functools.cache
def versions_here() -> dict[str, str]:
    """Versions of `LIBRARIES` in this process."""
    return versions_reader()(LIBRARIES)


def versions_reader() -> Callable[[tuple[str, ...]], dict[str, str]]:
    """A function that travels as code, so that a worker without netsurgeon can say so."""

    def installed(names: tuple[str, ...]) -> dict[str, str]:
        versions = {}
        for name in names:
            try:
                versions[name] = str(importlib.import_module(name).__version__)
            except ImportError:
                versions[name] = ""
        return versions

    return installed


def blas_threads() -> int:
    """Threads that BLAS has in this process."""
    pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    return max(pools, default=1)


def cores_here() -> tuple[str, frozenset[int]]:
    """Name of the machine, and which of its cores this process may use."""
    is_known = hasattr(os, "sched_getaffinity")
    return socket.gethostname(), frozenset(os.sched_getaffinity(0) if is_known else range(os.cpu_count() or 1))


def read_probe(probe: StoredArray) -> str:
    """Why this process cannot read what is sent to it through a store; empty if it can."""
    try:
        read(*probe)
    except InputError as error:
        return str(error)
    return ""
