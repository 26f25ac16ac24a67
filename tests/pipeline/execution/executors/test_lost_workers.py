"""What becomes of workers that are not fit for a task, and of tasks that no worker can do."""

import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("distributed")

from netsurgeon.pipeline.errors import ClusterError
from netsurgeon.pipeline.execution.executors.lost_workers import MOST_TRIES, WorkerWatch
from netsurgeon.pipeline.execution.executors.on_dask import _Remote
from netsurgeon.pipeline.execution.executors.on_worker import UnfitWorkerError
from netsurgeon.pipeline.execution.executors.task_log import LostWorker, TaskLog


class Cluster:
    """A client of a scheduler that does what it is told."""

    scheduler = types.SimpleNamespace(address="tcp://scheduler:8786")

    def __init__(self) -> None:
        self.removed: list[str] = []
        self.handlers: dict[str, Callable[[tuple[float, Any]], None]] = {}

    def subscribe_topic(self, topic: str, handler: Callable[[tuple[float, Any]], None]) -> None:
        self.handlers[topic] = handler

    def unsubscribe_topic(self, topic: str) -> None:
        del self.handlers[topic]

    def nthreads(self) -> dict[str, int]:
        return {"tcp://b": 1}

    def run_on_scheduler(self, _: Any, address: str, task: str, is_expected: bool) -> bool:
        assert task
        assert is_expected
        self.removed.append(address)
        return True


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def watch(cluster: Cluster) -> Iterator[WorkerWatch]:
    client: Any = cluster
    watch = WorkerWatch(client, TaskLog(), "ours")
    yield watch
    watch.close()


def removal(worker: str, *tasks: str) -> tuple[float, Any]:
    return 0.0, {"action": "remove-worker", "worker": worker, "processing-tasks": tasks, "expected": True}


def test_other_versions_of_any_number_of_workers_leave_the_task_to_the_next(
    cluster: Cluster, watch: WorkerWatch
) -> None:
    workers = [f"tcp://{number}" for number in range(2 * MOST_TRIES)]
    for worker in workers:
        assert watch.try_again("task", UnfitWorkerError(worker, "task", "has 1.0 numpy", of_any_task=True))
    assert cluster.removed == workers


def test_a_task_that_several_workers_had_no_room_for_ends_before_the_next_is_removed(
    cluster: Cluster, watch: WorkerWatch
) -> None:
    for number in range(MOST_TRIES):
        for _ in range(2):  # its worker tells of it, too
            assert watch.try_again("task", UnfitWorkerError(f"tcp://{number}", "task", "had too little memory for it"))
    with pytest.raises(ClusterError, match="no worker of the cluster can do a task: tcp://last, the last one that was"):
        watch.try_again("task", UnfitWorkerError("tcp://last", "task", "had too little memory for it"))
    assert "tcp://last" not in cluster.removed


def test_the_task_that_a_worker_was_not_fit_for_counts_among_those_that_others_did(
    cluster: Cluster, watch: WorkerWatch
) -> None:
    unfit = UnfitWorkerError("tcp://a", "ours-1", "had too little memory for it")
    watch.tell(unfit)
    watch.try_again("ours-1", unfit)
    cluster.handlers["all"](removal("tcp://a", "ours-2", "another's"))
    assert watch.lost == (LostWorker(worker="tcp://a", why="had too little memory for it", tasks=2),)


def test_what_others_log_is_passed_over(cluster: Cluster, watch: WorkerWatch) -> None:
    cluster.handlers["all"]((0.0, "a text"))
    cluster.handlers["all"](removal("tcp://a", "another's"))
    assert watch.lost == ()


def test_a_scheduler_that_ends_before_a_task_is_begun_again_is_told(watch: WorkerWatch) -> None:
    class Future:
        key, status = "task", "error"

        def result(self) -> None:
            raise UnfitWorkerError("tcp://a", "task", "had too little memory for it")

    def refuse(*_: Any) -> bool:
        raise OSError("Stream is closed")

    watch.try_again = refuse  # type: ignore[method-assign,assignment]
    future: Any = Future()
    with pytest.raises(ClusterError, match="gone: Stream is closed"):
        _Remote[None](future, watch, lambda error: ClusterError(f"gone: {error}")).result()
