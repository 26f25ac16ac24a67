"""Tasks on the workers of a Dask cluster, which runs what a lost worker had again by itself."""

from __future__ import annotations

import contextlib
import functools
import itertools
import uuid
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from netsurgeon.pipeline.errors import ClusterError, InputError
from netsurgeon.pipeline.execution.executors.array_store import ArrayStore
from netsurgeon.pipeline.execution.executors.executor import Executor, Pending, kind_of
from netsurgeon.pipeline.execution.executors.lost_workers import WorkerWatch
from netsurgeon.pipeline.execution.executors.on_worker import (
    LIBRARIES,
    Origin,
    UnfitWorkerError,
    blas_threads,
    other_version,
    read_probe,
    run_as_there,
    versions_here,
    versions_reader,
)
from netsurgeon.pipeline.execution.executors.parcel import Parcel, check_sendable
from netsurgeon.pipeline.execution.executors.task_log import ClusterFacts, SentTask, TaskLog

if TYPE_CHECKING:
    import distributed

Result = TypeVar("Result")


class DaskExecutor(Executor):
    """Runs tasks through a client of `distributed`, with as many BLAS threads as this process has.

    Sums of floats depend on the number of threads, which Dask sets to one on the workers that it starts.
    """

    def __init__(self, client: distributed.Client, resources: contextlib.ExitStack, store: ArrayStore | None = None):
        """Take a client.

        Args:
            client: connected, with at least one worker.
            resources: what ends together with the executor.
            store: what large arrays travel through; None = the scheduler.

        Raises:
            InputError: a worker has other versions of what decides the bytes of a result, or does not see the store.
        """
        super().__init__()
        self._client, self._resources, self._store = client, resources, store
        self._address = str(client.scheduler.address)
        token = uuid.uuid4().hex
        self._origin = Origin(versions_here(), blas_threads(), f"netsurgeon-{token}")
        for worker, versions in client.run(versions_reader(), LIBRARIES).items():
            if difference := other_version(versions, self._origin.versions):
                raise InputError(f"the worker {worker} {difference}")
        for why in () if store is None else client.run(read_probe, store.probe).values():
            if why:
                raise InputError(why)
        # Tasks are called after what they do: Dask expects those that are called alike to take as long.
        self._names = (f"{{}}-0{token}-{number}" for number in itertools.count())
        self._log = TaskLog()
        self._watch = WorkerWatch(client, self._log, token)
        client.subscribe_topic(self._origin.topic, lambda event: self._take(event[1]))

    def submit(
        self, function: Callable[..., Result], *arguments: Any, about: str = "", peers: str = ""
    ) -> Pending[Result]:
        """Send a task to the cluster; `Pending` arguments stay where they are, or travel between workers.

        Raises:
            InputError: an argument cannot be pickled.
            ClusterError: the scheduler is gone.
        """
        packed = functools.partial(Parcel, store=self._store)
        values = [entry.future if isinstance(entry, _Remote) else packed(entry) for entry in arguments]
        needs = [str(entry.future.key) for entry in arguments if isinstance(entry, _Remote)]
        kind = kind_of(function)
        name = next(self._names).format(kind)
        self._log.sent(name, SentTask(kind, about, peers, tuple(needs)))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that an argument is large: it is sent once
                future = self._client.submit(run_as_there, self._origin, function, *values, key=name)
        except InputError:
            raise
        except Exception as error:
            for number, entry in enumerate(arguments, start=1):
                if not isinstance(entry, _Remote):
                    check_sendable(f"argument {number} of a task", entry)
            raise self._lost(error) from error
        return _Remote(future, self._watch, self._lost)

    @property
    def facts(self) -> ClusterFacts:
        """What its tasks took, and which workers were lost."""
        return ClusterFacts(scheduler=self._address, tasks=self._log.kinds, lost=self._watch.lost)

    def close(self) -> None:
        """Let go of the client, and of workers that were started for it; a client of somebody else's stays open."""
        self._watch.close()
        for let_go in (lambda: self._client.unsubscribe_topic(self._origin.topic), self._resources.close):
            with contextlib.suppress(Exception):  # of a scheduler that is gone
                let_go()

    def _take(self, event: Mapping[str, Any]) -> None:
        """A worker tells of a task."""
        self._log.take(event)
        if event["state"] == "unfit":
            self._watch.tell(UnfitWorkerError(event["worker"], event["name"], event["why"], event["of_any_task"]))

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

    def __init__(self, future: distributed.Future, watch: WorkerWatch, lost: Callable[[BaseException], ClusterError]):
        self.future, self._watch, self._lost = future, watch, lost

    def result(self) -> Result:
        while True:
            try:
                parcel: Parcel = self.future.result()
                break
            except Exception as error:
                if self._is_begun_again(error):
                    continue
                if self.future.status == "error" and type(error).__name__ != "KilledWorker":
                    raise  # the task's own
                raise self._lost(error) from error
        value: Result = parcel.value
        return value

    def _is_begun_again(self, error: Exception) -> bool:
        try:
            return self._watch.try_again(str(self.future.key), error)
        except ClusterError:
            raise
        except Exception as failure:  # the scheduler has gone since
            raise self._lost(failure) from error
