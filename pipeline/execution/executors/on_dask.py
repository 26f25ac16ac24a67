"""Tasks on the workers of a Dask cluster, which runs what a lost worker had again by itself."""

from __future__ import annotations

import contextlib
import itertools
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from netsurgeon.pipeline.errors import ClusterError, InputError
from netsurgeon.pipeline.execution.executors.array_store import ArrayStore
from netsurgeon.pipeline.execution.executors.executor import Executor, Pending, kind_of
from netsurgeon.pipeline.execution.executors.lost_workers import WorkerWatch, listener
from netsurgeon.pipeline.execution.executors.on_worker import (
    LIBRARIES,
    Origin,
    UnfitWorkerError,
    blas_threads,
    cores_here,
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
NO_WORKER = ("NoWorkerError", "NoValidWorkerError")
"""Names of what a scheduler with the same setting fails a task with that has waited for too long.

The last argument of either is the scheduler's limit in seconds.
"""


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
        self._cores: dict[str, tuple[str, frozenset[int]]] = {}
        self._workers: list[str] = []
        self._log = TaskLog()
        self._watch = WorkerWatch(client, self._log, token)
        client.subscribe_topic(self._origin.topic, listener(self._take))

    def submit(
        self, function: Callable[..., Result], *arguments: Any, about: str = "", peers: str = ""
    ) -> Pending[Result]:
        """Send a task to the cluster; see `submit_all`."""
        return self.submit_all(function, [arguments], about=about, peers=peers)[0]

    def submit_all(
        self,
        function: Callable[..., Result],
        calls: Iterable[Sequence[Any]],
        *,
        about: str = "",
        peers: str = "",
        places: Sequence[int] | None = None,
    ) -> list[Pending[Result]]:
        """Send tasks to the cluster; `Pending` arguments stay where they are, or travel between workers.

        Dask takes several milliseconds for a message, and a fraction of one for each further task in it. Tasks without
        peers go first: there are few, and those with peers often wait for them.

        Raises:
            InputError: an argument cannot be pickled, or the store cannot hold it.
            ClusterError: the scheduler is gone.
        """
        lists = [list(arguments) for arguments in calls]
        if not lists:
            return []
        kind, packed = kind_of(function), _Packing(self._store)
        names = [next(self._names).format(kind) for _ in lists]
        for name, arguments in zip(names, lists, strict=True):
            needs = (str(entry.future.key) for entry in arguments if isinstance(entry, _Remote))
            self._log.sent(name, SentTask(kind, about, peers, tuple(needs)))
        calls = [(self._origin, function, *map(packed.of, arguments)) for arguments in lists]
        try:
            with warnings.catch_warnings(), self._places(places, names):
                warnings.simplefilter("ignore")  # that an argument is large: it is sent once
                columns, more = zip(*calls, strict=True), {"priority": 0 if peers else 1}
                futures = self._client.map(run_as_there, *columns, key=names, pure=False, **more)
        except Exception as error:
            if (refusal := _refusal(error)) is not None:
                raise refusal from None
            for number, entry in ((at, entry) for arguments in lists for at, entry in enumerate(arguments, start=1)):
                if not isinstance(entry, _Remote):
                    check_sendable(f"argument {number} of a task", entry)
            raise self._lost(error) from error
        return [_Remote(future, self._watch, self._lost) for future in futures]

    @property
    def cores(self) -> list[int]:
        """Of the workers that are there now.

        Raises:
            ClusterError: the scheduler is gone.
        """
        try:
            workers = list(self._client.nthreads())
            if new := [worker for worker in workers if worker not in self._cores]:
                there = self._client.run(cores_here, workers=new, on_error="ignore")  # of one that has gone since
                self._cores.update(there)
        except Exception as error:
            raise self._lost(error) from error
        return [len(cores) for _, cores in {self._cores[worker] for worker in workers if worker in self._cores}]

    @property
    def facts(self) -> ClusterFacts:
        """What its tasks took, and which workers were lost."""
        return ClusterFacts(scheduler=self._address, tasks=self._log.kinds, lost=self._watch.lost)

    def close(self) -> None:
        """Let go of the client, and of workers that were started for it; a client of somebody else's stays open."""
        self._watch.close()
        self._sent.clear()  # what a client that stays open would have on workers from now on
        self._remembered.clear()
        for let_go in (lambda: self._client.unsubscribe_topic(self._origin.topic), self._resources.close):
            with contextlib.suppress(Exception):  # of a scheduler that is gone
                let_go()

    def _places(self, places: Sequence[int] | None, names: Sequence[str]) -> contextlib.AbstractContextManager[Any]:
        """Let tasks go to the workers of their numbers, in one message; others may take them from there.

        What was made for a number is where it is needed next: a worker keeps its numbers as long as it is there, and
        one that comes takes those of one that has gone, which any worker may have until then. Numbers are dealt anew
        when there are more workers than ever before.
        """
        import dask

        if places is None or not (there := self._client.nthreads()):
            return contextlib.nullcontext()
        new = iter(sorted({*there} - {*self._workers}))
        self._workers = [worker if worker in there else next(new, worker) for worker in self._workers]
        self._workers += new
        workers = {name: self._workers[place % len(self._workers)] for name, place in zip(names, places, strict=True)}
        at_places: contextlib.AbstractContextManager[Any]
        at_places = dask.annotate(workers=workers.__getitem__, allow_other_workers=True)
        return at_places

    def _take(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """A worker tells of a task."""
        what = event[1]
        self._log.take(what)
        if what["state"] == "unfit":
            self._watch.tell(UnfitWorkerError(what["worker"], what["name"], what["why"], what["of_any_task"]))

    def _lost(self, error: BaseException) -> ClusterError:
        if type(error).__name__ in NO_WORKER:
            return self._watch.absence.error(float(error.args[-1]))
        if type(error).__name__ == "KilledWorker":
            return ClusterError(
                f"several workers of the cluster at {self._address} died one after the other in the same task: give "
                "them more memory, or look into their logs"
            )
        return ClusterError(
            f"the scheduler at {self._address} is gone ({type(error).__name__}): start it anew and give the same "
            "command again; with a work folder it goes on from what is kept there"
        )


def _refusal(error: BaseException) -> InputError | None:
    """What our own pickling has raised, which Dask raises something else from."""
    reason: BaseException | None = error
    while reason is not None and not isinstance(reason, InputError):
        reason = reason.__cause__
    return reason


class _Packing:
    """Arguments of tasks that are sent together: what several of them have is one parcel."""

    def __init__(self, store: ArrayStore | None):
        self._store, self._parcels = store, dict[int, Parcel]()

    def of(self, argument: Any) -> Any:
        """An argument as it travels."""
        if isinstance(argument, _Remote):
            return argument.future
        return self._parcels.setdefault(id(argument), Parcel(argument, store=self._store))


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
                if self.future.status == "error" and type(error).__name__ not in ("KilledWorker", *NO_WORKER):
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
