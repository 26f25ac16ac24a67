"""Workers that are lost in a run, or not used any more: what they had is done again elsewhere, and told."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from netsurgeon.pipeline.errors import ClusterError
from netsurgeon.pipeline.execution.executors.no_workers import Absence
from netsurgeon.pipeline.execution.executors.on_worker import UnfitWorkerError
from netsurgeon.pipeline.execution.executors.task_log import LostWorker, TaskLog

if TYPE_CHECKING:
    import distributed

POLLING_SECONDS = 2.0
"""Between two looks at how long tasks take."""
MOST_TRIES = 4
"""Times that a task is begun again whose worker lacked memory or disk, or died; Dask has tried the latter before."""
DIED = "its process ended, or its connection was lost"


class WorkerWatch:
    """Looks after the workers of one executor, as long as it is open.

    A worker whose task takes many times longer than the same task on other shards is removed from the cluster, and so
    is one that is not fit for a task, as soon as it tells of it: it would fail one task after the other, quickly. The
    scheduler then gives what it had to others; it does not listen any more to whatever the removed one sends later.
    Where no worker is left, tasks wait for the next one, but not for ever.

    Attributes:
        absence: of all workers.
    """

    def __init__(self, client: distributed.Client, log: TaskLog, token: str):
        """Begin to look after them.

        Args:
            client: of the scheduler.
            log: of the tasks.
            token: that the names of tasks of this executor contain.

        Raises:
            InputError: what says how long tasks wait for a worker is no time.
        """
        self.absence = Absence(client, token)
        self._client, self._log, self._token = client, log, token
        self._lock, self._over = threading.Lock(), threading.Event()
        self._reasons: dict[str, str] = {}
        self._lost: list[LostWorker] = []
        self._deaths: dict[str, int] = {}
        self._tried: defaultdict[str, set[str]] = defaultdict(set)
        self._refused: defaultdict[str, set[str]] = defaultdict(set)
        self._told: queue.SimpleQueue[UnfitWorkerError | None] = queue.SimpleQueue()
        client.subscribe_topic("all", listener(self._take))
        self._thread = threading.Thread(target=self._watch, name="netsurgeon-watch", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> tuple[LostWorker, ...]:
        """Those that were lost so far, in order."""
        with self._lock:
            return tuple(self._lost)

    def close(self) -> None:
        """Look no more: workers that end from now on are no loss."""
        self._over.set()
        self._told.put(None)
        with contextlib.suppress(Exception):  # of a scheduler that is gone
            self._client.unsubscribe_topic("all")
        self._thread.join(POLLING_SECONDS)

    def tell(self, unfit: UnfitWorkerError) -> None:
        """A worker tells that it is not fit for a task; it waits for nothing, so that the client's thread may call."""
        with self._lock:
            self._refused[unfit.worker].add(unfit.task)
        self._told.put(unfit)

    def try_again(self, task: str, error: BaseException) -> bool:
        """Let a task that has failed run again, on another worker, where its worker was the reason.

        Args:
            task: its name.
            error: that it, or one that it needs, has ended with.

        Raises:
            ClusterError: no other worker is fit for it.
        """
        if isinstance(error, UnfitWorkerError):
            if not self._leave(error, task):
                raise ClusterError(
                    f"no worker of the cluster can do a task: {error.worker}, the last one that was tried, {error.why}"
                ) from error
            return True
        if type(error).__name__ != "KilledWorker":
            return False
        deaths = self._deaths[task] = self._deaths.get(task, 0) + 1
        if deaths > MOST_TRIES:
            return False
        self._client.futures[task].retry()  # before the scheduler tells of how it ends
        self._client.sync(self._client.scheduler.retry, keys=[task], client=self._client.id)
        return True

    def _watch(self) -> None:
        while not self._over.is_set():
            unfit = None
            with contextlib.suppress(queue.Empty):
                unfit = self._told.get(timeout=POLLING_SECONDS)
            with contextlib.suppress(Exception):  # of a scheduler that is gone: who waits for a result is told
                if unfit is not None:
                    self._leave(unfit, unfit.task)
                for worker, why in self._log.overdue():
                    self._remove(worker, why, is_expected=False)
                self.absence.look(time.monotonic())

    def _leave(self, unfit: UnfitWorkerError, task: str) -> bool:
        """Let others do a task, and one that needs it, and all that its worker had; whether they may be fit for it."""
        with self._lock:
            self._tried[unfit.task].add(unfit.worker)
            workers = len(self._tried[unfit.task])
        if workers > MOST_TRIES and not unfit.of_any_task:
            return False
        return self._remove(unfit.worker, unfit.why, task, is_expected=True)

    def _remove(self, worker: str, why: str, task: str = "", *, is_expected: bool) -> bool:
        """Remove a worker from the cluster, unless it is the last one; whether it is gone.

        Args:
            worker: its address.
            why: in words.
            task: that runs again if it has failed.
            is_expected: whether tasks that it had count as innocent: Dask gives up those of several that have died.
        """
        with self._lock:
            self._reasons.setdefault(worker, why)
        is_gone = bool(self._client.run_on_scheduler(_remover(), address=worker, task=task, is_expected=is_expected))
        if not is_gone:
            with self._lock:
                self._reasons.pop(worker, None)
        return is_gone

    def _take(self, event: tuple[float, Any]) -> None:
        """The scheduler tells that a worker is gone."""
        what = event[1]
        if not isinstance(what, Mapping) or what.get("action") != "remove-worker" or self._over.is_set():
            return  # anybody may log what is no mapping
        worker = str(what["worker"])
        tasks = {key for side in ("processing-tasks", "lost-computed-tasks") for key in map(str, what.get(side) or ())}
        ours = {task for task in tasks if self._token in task}
        self._log.forget(worker)
        with self._lock:
            reason = self._reasons.get(worker)
            if reason is not None or (ours and not what.get("expected")):
                ours |= self._refused.pop(worker, set())
                self._lost.append(LostWorker(worker=worker, why=reason or DIED, tasks=len(ours)))


def listener(method: Callable[[tuple[float, Any]], None]) -> Callable[[tuple[float, Any]], None]:
    """What calls a method with the events of a topic as long as the method's object is there.

    A client keeps what it has once subscribed with until it is closed, also after it has unsubscribed.
    """
    reference = weakref.WeakMethod(method)

    def listen(event: tuple[float, Any]) -> None:
        if (alive := reference()) is not None:
            alive(event)

    return listen


def _remover() -> Callable[..., Any]:
    """A function that travels as code: there may be no netsurgeon where the scheduler runs."""

    async def remove(address: str, task: str, is_expected: bool, dask_scheduler: Any = None) -> bool:
        if address in dask_scheduler.workers:
            if len(dask_scheduler.workers) == 1:
                return False
            await dask_scheduler.remove_worker(address, stimulus_id="netsurgeon-removes-worker", expected=is_expected)
        if task in dask_scheduler.tasks and dask_scheduler.tasks[task].state == "erred":
            dask_scheduler.stimulus_retry(keys=[task])
        return True

    return remove
