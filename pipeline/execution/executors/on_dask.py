"""Tasks on the workers of a Dask cluster, which runs what a lost worker had again by itself."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import threadpoolctl

from netsurgeon.pipeline.errors import ClusterError, InputError
from netsurgeon.pipeline.execution.executors.executor import Executor, Pending
from netsurgeon.pipeline.execution.executors.parcel import Parcel, check_sendable

if TYPE_CHECKING:
    import distributed

Result = TypeVar("Result")

LIBRARIES = ("netsurgeon", "numpy", "onnxruntime")
"""Whose versions decide the bytes of a result; the first one is loaded before ONNX Runtime, whose telemetry it ends."""


class DaskExecutor(Executor):
    """Runs tasks through a client of `distributed`, with as many BLAS threads as this process has.

    Sums of floats depend on the number of threads, which Dask sets to one on the workers that it starts.
    """

    def __init__(self, client: distributed.Client, resources: contextlib.ExitStack):
        """Take a client.

        Args:
            client: connected, with at least one worker.
            resources: what ends together with the executor.

        Raises:
            InputError: a worker has other versions of what decides the bytes of a result.
        """
        self._client, self._resources = client, resources
        self._address = str(client.scheduler.address)
        self._versions, self._threads = versions_here(), blas_threads()
        for worker, versions in client.run(_worker_versions(), LIBRARIES).items():
            check_versions(str(worker), versions, self._versions)

    def submit(self, function: Callable[..., Result], *arguments: Any) -> Pending[Result]:
        """Send a task to the cluster; `Pending` arguments stay where they are, or travel between workers.

        Raises:
            InputError: an argument cannot be pickled.
            ClusterError: the scheduler is gone.
        """
        values = [entry.future if isinstance(entry, _Remote) else Parcel(entry) for entry in arguments]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that an argument is large: it is sent once
                future = self._client.submit(run_as_there, self._versions, self._threads, function, *values, pure=False)
        except Exception as error:
            for number, entry in enumerate(arguments, start=1):
                if not isinstance(entry, _Remote):
                    check_sendable(f"argument {number} of a task", entry)
            raise self._lost(error) from error
        return _Remote(future, self._lost)

    def close(self) -> None:
        """Let go of the client, and of workers that were started for it."""
        with contextlib.suppress(Exception):  # of a scheduler that is gone
            self._resources.close()

    def _lost(self, error: BaseException) -> ClusterError:
        if type(error).__name__ == "KilledWorker":
            return ClusterError(
                f"several workers of the cluster at {self._address} died one after the other in the same task: give "
                "them more memory, or look into their logs"
            )
        return ClusterError(
            f"the scheduler at {self._address} is gone ({type(error).__name__}): start it anew and give the same "
            "command again; with a work folder it goes on from what is kept there"
        )


class _Remote(Generic[Result]):
    """The result of a task on a cluster."""

    def __init__(self, future: distributed.Future, lost: Callable[[BaseException], ClusterError]):
        self.future, self._lost = future, lost

    def result(self) -> Result:
        try:
            value: Result = self.future.result().value
        except Exception as error:
            if self.future.status == "error" and type(error).__name__ != "KilledWorker":
                raise  # the task's own
            raise self._lost(error) from error
        return value


def run_as_there(versions: Mapping[str, str], threads: int, function: Callable[..., Any], *arguments: Parcel) -> Parcel:
    """Run a task on a worker as it would run in the process that has sent it.

    Args:
        versions: of the libraries there: the worker may be one that came later.
        threads: of BLAS there.
        function: what to run.
        *arguments: of the function.

    Raises:
        InputError: the worker has other versions.
    """
    check_versions(f"{os.uname().nodename}, process {os.getpid()}", versions_here(), versions)
    with threadpoolctl.threadpool_limits(threads, "blas"):
        return Parcel(function(*(argument.value for argument in arguments)))


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
    return _worker_versions()(LIBRARIES)


def _worker_versions() -> Callable[[tuple[str, ...]], dict[str, str]]:
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
