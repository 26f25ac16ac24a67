"""What a worker does with a task: it runs it as the process that has sent it would, and tells that process of it."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import threadpoolctl

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.execution.executors.parcel import Parcel

LIBRARIES = ("netsurgeon", "numpy", "onnxruntime")
"""Whose versions decide the bytes of a result; the first one is loaded before ONNX Runtime, whose telemetry it ends."""


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


def run_as_there(origin: Origin, function: Callable[..., Any], *arguments: Parcel) -> Parcel:
    """Run a task on a worker as it would run in the process that has sent it.

    Args:
        origin: that process.
        function: what to run.
        *arguments: of the function.

    Raises:
        InputError: the worker has other versions; it may be one that came later.
    """
    check_versions(f"{os.uname().nodename}, process {os.getpid()}", versions_here(), origin.versions)
    started = time.perf_counter()
    with threadpoolctl.threadpool_limits(origin.threads, "blas"):
        result = Parcel(function(*(argument.value for argument in arguments)))
    _tell(
        origin.topic,
        seconds=round(time.perf_counter() - started, 6),
        bytes_in=sum(map(sys.getsizeof, arguments)),
        bytes_out=sys.getsizeof(result),
    )
    return result


def _tell(topic: str, **event: Any) -> None:
    import distributed

    worker = distributed.get_worker()
    worker.log_event(topic, {"name": worker.get_current_task(), "worker": worker.address, **event})


def check_versions(worker: str, versions: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Refuse a worker whose results would not have the same bytes.

    Raises:
        InputError: a version differs, or a library is missing.
    """
    for name in LIBRARIES:
        if versions[name] != expected[name]:
            raise InputError(
                f"the worker {worker} has {versions[name] or 'no'} {name}, and this process {expected[name]}: install "
                "the same versions on all workers"
            )


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
