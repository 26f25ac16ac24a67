"""Workers that are lost in a run, or not used any more: what they had is done again elsewhere, and told."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from netsurgeon.pipeline.errors import ClusterError
from netsurgeon.pipeline.execution.executors.on_worker import UnfitWorkerError
from netsurgeon.pipeline.execution.executors.task_log import LostWorker, TaskLog

if TYPE_CHECKING:
    import distributed

POLLING_SECONDS = 2.0
"""Between two looks at how long tasks take."""
MOST_TRIES = 4
"""Times that a task is begun again whose worker was not fit for it, or died; Dask has tried the latter before."""
DIED = "its process ended, or its connection was lost"


class WorkerWatch:
    """Looks after the workers of one executor, as long as it is open.

    A worker whose task takes many times longer than the same task on other shards is removed from the cluster, and so
    is one that is not fit for a task. The scheduler then gives what it had to others; it does not listen any more to
    whatever the removed one sends later.
    """

    def __init__(self, client: distributed.Client, log: TaskLog, token: str):
        """Begin to look after them.

        Args:
            client: of the scheduler.
            log: of the tasks.
            token: that the names of tasks of this executor contain.
        """
        self._client, self._log, self._token = client, log, token
        self._lock, self._over = threading.Lock(), threading.Event()
        self._reasons: dict[str, str] = {}
        self._lost: list[LostWorker] = []
        self._tries: dict[str, int] = {}
        client.subscribe_topic("all", self._take)
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
        with contextlib.suppress(Exception):  # of a scheduler that is gone
            self._client.unsubscribe_topic("all")
        self._thread.join(POLLING_SECONDS)

    def try_again(self, task: str, error: BaseException) -> bool:
        """Let a task that has failed run again, on another worker, where its worker was the reason.

        Args:
            task: its name.
            error: that it, or one that it needs, has ended with.

        Raises:
            ClusterError: no other worker is fit for it.
        """
        if not isinstance(error, UnfitWorkerError) and type(error).__name__ != "KilledWorker":
            return False
        tries = self._tries[task] = self._tries.get(task, 0) + 1
        if isinstance(error, UnfitWorkerError):
            is_removed = self._remove(error.worker, error.why)
            if tries > MOST_TRIES or not is_removed:
                raise ClusterError(
                    f"no worker of the cluster can do a task: {error.worker}, the last one that was tried, {error.why}"
                ) from error
        if tries > MOST_TRIES:
            return False
        self._client.futures[task].retry()  # before the scheduler tells of how it ends
        self._client.sync(self._client.scheduler.retry, keys=[task], client=self._client.id)
        return True

    def _watch(self) -> None:
        while not self._over.wait(POLLING_SECONDS):
            for worker, why in self._log.overdue():
                with contextlib.suppress(Exception):  # of a scheduler that is gone: who waits for a result is told
                    self._remove(worker, why)

    def _remove(self, worker: str, why: str) -> bool:
        """Remove a worker from the cluster, unless it is the last one; whether others are left."""
        with self._lock:
            self._reasons.setdefault(worker, why)
        left = bool(self._client.run_on_scheduler(_remover(), address=worker))
        if not left:
            with self._lock:
                self._reasons.pop(worker, None)
        return left

    def _take(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """The scheduler tells that a worker is gone."""
        what = event[1]
        if what.get("action") != "remove-worker" or self._over.is_set():
            return
        worker = str(what["worker"])
        tasks = {key for side in ("processing-tasks", "lost-computed-tasks") for key in map(str, what.get(side) or ())}
        ours = sum(self._token in task for task in tasks)
        self._log.forget(worker)
        with self._lock:
            reason = self._reasons.get(worker)
            if reason is not None or (ours and not what.get("expected")):
                self._lost.append(LostWorker(worker=worker, why=reason or DIED, tasks=ours))


def _remover() -> Callable[..., Any]:
    """A function that travels as code: there may be no netsurgeon where the scheduler runs."""

    async def remove(address: str, dask_scheduler: Any = None) -> bool:
        if address in dask_scheduler.workers:
            if len(dask_scheduler.workers) == 1:
                return False
            await dask_scheduler.remove_worker(address, stimulus_id="netsurgeon-removes-worker")
        return bool(dask_scheduler.workers)

    return remove
