"""A cluster that has lost all of its workers: it is said, and after too long what waits fails."""

import asyncio
import logging
import types
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("distributed")

import dask
import distributed.scheduler

from netsurgeon.pipeline.errors import InputError, NoWorkersError
from netsurgeon.pipeline.execution.executors import no_workers
from netsurgeon.pipeline.execution.executors.on_dask import DaskExecutor, _Remote


class State:
    """Of the result of a task."""

    def __init__(self, status: str):
        self.status, self.error = status, None

    def set_error(self, error: Any, traceback: Any) -> None:
        assert traceback is None
        self.status, self.error = "error", error


class Client:
    """Of a scheduler whose workers come and go."""

    scheduler = types.SimpleNamespace(address="tcp://scheduler:8786")

    def __init__(self) -> None:
        self.workers = {"tcp://a": 1}
        self.futures = {
            "run-ours-1": State("pending"), "run-ours-2": State("finished"), "run-another's-1": State("pending")
        }  # fmt: skip

    def nthreads(self) -> dict[str, int]:
        return self.workers

    def sync(self, function: Callable[[], Any]) -> None:
        asyncio.run(function())


def absence_of(client: Any) -> no_workers.Absence:
    return no_workers.Absence(client, "ours")


def test_it_is_said_once_within_a_minute_and_told_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    client = Client()
    absence = absence_of(client)
    client.workers = {}
    for now in range(1000, 1060, 2):
        absence.look(float(now))
    (said,) = caplog.messages
    assert said.startswith("the cluster at tcp://scheduler:8786 has no workers any more: tasks wait for the next one")
    assert said.endswith("within 30 minutes")
    client.workers = {"tcp://b": 1}
    absence.look(1060.0)
    client.workers = {}
    absence.look(1000.0 + no_workers.PATIENCE)  # counts anew
    assert caplog.messages[1:] == ["the cluster at tcp://scheduler:8786 has workers again"]
    assert client.futures["run-ours-1"].status == "pending"


def test_workers_that_are_replaced_at_once_are_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    client = Client()
    absence = absence_of(client)
    with caplog.at_level(logging.INFO):
        for now, workers in ((0.0, {}), (no_workers.SAID_AFTER - 1.0, {}), (no_workers.SAID_AFTER, {"tcp://b": 1})):
            client.workers = workers
            absence.look(now)
    assert not caplog.messages


def test_what_waits_for_too_long_fails_and_nothing_else() -> None:
    client = Client()
    with dask.config.set({no_workers.SETTING: "90 s"}):
        absence = absence_of(client)
    client.workers = {}
    absence.look(10.0)
    absence.look(99.0)
    assert client.futures["run-ours-1"].status == "pending"
    absence.look(100.0)
    error: Any = client.futures["run-ours-1"].error
    assert isinstance(error, NoWorkersError)
    assert error.exit_code == 2
    assert str(error).startswith(
        "the cluster at tcp://scheduler:8786 has had no workers for 90 seconds: start some and"
    )
    assert [state.status for state in client.futures.values()] == ["error", "finished", "pending"]


def test_a_result_that_has_gone_with_its_worker_waits_too() -> None:
    client = Client()
    absence = absence_of(client)
    client.workers, client.futures["run-ours-2"].status = {}, "lost"
    absence.look(0.0)
    absence.look(no_workers.PATIENCE)
    assert client.futures["run-ours-2"].status == "error"


def test_time_counts_from_when_a_task_waits(caplog: pytest.LogCaptureFixture) -> None:
    """A cluster may be without workers for long where nothing is to be done: the next task has its time."""
    client = Client()
    absence = absence_of(client)
    client.workers, client.futures["run-ours-1"].status = {}, "finished"
    for now in (0.0, no_workers.PATIENCE, 2.0 * no_workers.PATIENCE):
        absence.look(now)
    assert not caplog.messages
    client.futures["run-ours-3"] = State("pending")
    begin = 2.0 * no_workers.PATIENCE + 1.0
    for now in (begin, begin + no_workers.SAID_AFTER - 1.0):
        absence.look(now)
    assert not caplog.messages
    absence.look(begin + no_workers.PATIENCE - 1.0)
    assert len(caplog.messages) == 1
    assert client.futures["run-ours-3"].status == "pending"
    client.futures["run-ours-4"] = State("pending")
    for now in (begin + no_workers.PATIENCE - 1.0, begin + no_workers.PATIENCE):
        absence.look(now)
    assert [client.futures[name].status for name in ("run-ours-3", "run-ours-4")] == ["error", "pending"]


def test_a_setting_that_is_no_time_is_told() -> None:
    with (
        dask.config.set({no_workers.SETTING: "soon"}),
        pytest.raises(InputError, match=f"{no_workers.SETTING} is 'soon', expected a time, such as '2 hours'"),
    ):
        absence_of(Client())


@pytest.mark.parametrize(
    "reason",
    [
        distributed.scheduler.NoWorkerError("task", 90.0),
        distributed.scheduler.NoValidWorkerError("task", set(), set(), {}, 90.0),
    ],
    ids=lambda reason: type(reason).__name__,
)
def test_a_scheduler_that_fails_them_first_is_told_in_the_same_words_with_its_own_limit(reason: Exception) -> None:
    class Future:
        key, status = "task", "error"

        def result(self) -> None:
            raise reason

    class Watch:
        absence = absence_of(Client())

        def try_again(self, *_: Any) -> bool:
            return False

    executor, future, watch = DaskExecutor.__new__(DaskExecutor), Future(), Watch()
    executor._watch = watch  # type: ignore[assignment]
    with pytest.raises(NoWorkersError, match="has had no workers for 90 seconds"):
        _Remote[None](future, watch, executor._lost).result()  # type: ignore[arg-type]
