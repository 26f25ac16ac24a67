"""Tasks on Dask: the same results, the worker's own errors, other versions refused, and what is lost."""

import contextlib
import copy
import dataclasses
import errno
import functools
import gc
import json
import logging
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from executor_tasks import check_executor, fails_once, needs_too_much, process_of, product_with_transposed, slow_sum

from netsurgeon.pipeline.errors import ClusterError, InputError
from netsurgeon.pipeline.execution.executors import (
    Executor,
    array_store,
    lost_workers,
    on_dask,
    on_worker,
    open_executor,
    opening,
    task_log,
)

dask: Any = pytest.importorskip("dask")
distributed: Any = pytest.importorskip("distributed")
pytestmark = pytest.mark.usefixtures("quick_workers")


@pytest.fixture(scope="module")
def two_workers(quick_workers: None) -> Iterator[Executor]:
    with open_executor("local:2") as executor:
        yield executor


def test_two_workers_give_what_this_process_does(two_workers: Executor) -> None:
    check_executor(two_workers)
    assert len(set(two_workers.map(process_of, range(20)))) == 2
    assert os.getpid() not in set(two_workers.map(process_of, range(4)))


def test_tasks_have_the_threads_of_this_process(two_workers: Executor) -> None:
    assert two_workers.submit(on_worker.blas_threads).result() == on_worker.blas_threads()


def test_arrays_arrive_aligned_so_that_sums_are_the_same(two_workers: Executor) -> None:
    rng = np.random.default_rng(0)
    for size in range(1, 40):
        x, y = rng.standard_normal((size, 128)), rng.standard_normal((128, 10)).T.copy()
        there = two_workers.submit(product_with_transposed, {"x": x, "a": "b" * size}, y)
        assert np.array_equal(there.result(), product_with_transposed({"x": x}, y))
    kept = two_workers.submit(copy.copy, {"x": x})
    assert np.array_equal(two_workers.submit(product_with_transposed, kept, y).result(), x @ y.T)


def test_a_worker_that_dies_is_replaced_and_its_tasks_run_again(two_workers: Executor) -> None:
    expected = [slow_sum(seed) for seed in range(40)]
    processes = set(two_workers.map(process_of, range(20)))
    timer = threading.Timer(0.3, os.kill, (min(processes), signal.SIGKILL))
    timer.start()
    assert list(two_workers.map(slow_sum, range(40))) == expected
    timer.join()
    assert min(processes) not in set(two_workers.map(process_of, range(20)))


def test_what_cannot_be_sent_is_no_loss_of_the_cluster(two_workers: Executor) -> None:
    with pytest.raises(InputError, match="argument 1 of a task is a lock that cannot be sent to a worker"):
        two_workers.submit(len, threading.Lock())
    assert two_workers.submit(len, "abc").result() == 3


def test_a_store_that_is_full_is_no_loss_of_the_cluster(
    two_workers: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with open_executor(two_workers.facts.scheduler, tmp_path) as executor:  # type: ignore[union-attr]
        monkeypatch.setattr(array_store, "_write", refuse)
        with pytest.raises(InputError, match=f"{tmp_path} cannot hold what is sent to workers .No space left"):
            executor.submit(np.sum, np.ones(1 << 18))


def test_a_file_that_has_changed_is_no_fault_of_the_workers(two_workers: Executor, tmp_path: Path) -> None:
    array, address = np.random.default_rng(1).random(1 << 18), f"file://{tmp_path}"
    file = tmp_path / array_store.ArrayStore(address).keep(array).digest
    changed = bytearray(file.read_bytes())
    changed[17] ^= 1
    file.write_bytes(changed)
    with open_executor(two_workers.facts.scheduler, address) as executor:  # type: ignore[union-attr]
        with pytest.raises(InputError, match=f"reads something else from {address}/{file.name} than what was sent"):
            executor.submit(np.sum, array).result()
        assert not executor.facts.lost  # type: ignore[union-attr]


def test_tasks_have_their_places_whoever_has_what_they_need(two_workers: Executor) -> None:
    needed = two_workers.submit(int, "1")
    first, second = (
        [task.result() for task in two_workers.submit_all(process_of, [(needed,)] * len(places), places=places)]
        for places in ([4, 7, 8, 9], [3, 6])
    )
    one, other, *again = first
    assert one != other
    assert again == [one, other]
    assert second == [other, one], "also in later calls"


def test_workers_keep_their_numbers_while_others_go_and_come(
    two_workers: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor: Any = two_workers
    monkeypatch.setattr(executor, "_workers", [])
    numbered = []
    for there in ("ABC", "BC", "BCD", "BCDE"):
        monkeypatch.setattr(executor._client, "nthreads", lambda there=there: dict.fromkeys(there, 1))
        with executor._places(range(4), "0123"):
            numbered.append("".join(map(dask.get_annotations()["workers"], "0123")))
    assert numbered == ["ABCA", "ABCA", "DBCD", "DBCE"], "D takes the numbers of A, and E makes them anew"


def test_workers_that_share_cores_have_them_once(two_workers: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert two_workers.cores == [len(on_worker.cores_here()[1])]
    first, second = two_workers._cores  # type: ignore[attr-defined]
    machines = {first: ("one", frozenset({0, 1})), second: ("other", frozenset({0}))}
    monkeypatch.setattr(two_workers, "_cores", {**machines, "one that is gone": ("third", frozenset({0, 1, 2}))})
    assert sorted(two_workers.cores) == [1, 2]


def test_a_client_that_stays_open_keeps_nothing_of_an_executor_that_was_closed(two_workers: Executor) -> None:
    with distributed.Client(two_workers.facts.scheduler, set_as_default=False) as client:  # type: ignore[union-attr]
        executor = on_dask.DaskExecutor(client, contextlib.ExitStack())
        kept = [executor.send("a model", "its key"), executor.remember([1], functools.partial(executor.submit, str, 1))]
        assert [pending.result() for pending in kept] == ["a model", "1"]
        del kept
        executor.close()
        wait_until(lambda: not client.futures)
        reference = weakref.ref(executor)
        del executor
        gc.collect()
        assert reference() is None


def test_each_task_is_told_of_with_what_it_took(two_workers: Executor, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, task_log.__name__):
        ones = two_workers.submit(np.ones, 1000, about="a vector")
        assert two_workers.submit(functools.partial(np.sum), ones).result() == 1000.0
    made, summed = (json.loads(record.message) for record in caplog.records)
    assert (made["kind"], made["about"], made["needs"], summed["kind"]) == ("ones", "a vector", [], "sum")
    assert summed["needs"] == [made["name"]]
    assert made["bytes_in"] < 200 < 8000 <= made["bytes_out"] < 8200
    assert summed["bytes_in"] >= 8000
    assert made["worker"].startswith("tcp://")
    assert 0.0 <= summed["seconds"] < 10.0


def test_a_result_that_cannot_be_sent_is_told_as_that(two_workers: Executor) -> None:
    with pytest.raises(InputError, match="the result of allocate_lock is a lock that cannot be sent from a worker"):
        two_workers.submit(threading.Lock).result()


def wait_until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 240.0
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_one_worker_cannot_do_is_done_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_ALLOWED_DEATHS", 0)
    monkeypatch.setattr(lost_workers, "POLLING_SECONDS", 0.1)
    monkeypatch.setattr(task_log, "STALLED_SECONDS", 0.0)
    stalled: list[tuple[str, str]] = []  # what the watch removes: this test decides when a worker has stalled
    overdue = task_log.TaskLog.overdue
    monkeypatch.setattr(task_log.TaskLog, "overdue", lambda _: [stalled.pop() for _ in range(len(stalled))])

    def remove_the_stalled(executor: Executor, peers: list[Any]) -> None:
        wait_until(lambda: sum(peer.future.done() for peer in peers) >= task_log.FEWEST_PEERS)
        log = executor._log  # type: ignore[attr-defined]

        def is_removed() -> bool:
            if not stalled:  # again, where it was one that has come to its end since
                stalled.extend(overdue(log)[:1])
            return len(executor.facts.lost) == 2  # type: ignore[union-attr]

        wait_until(is_removed)
        (tmp_path / "stalls.over").touch()

    with open_executor("local:3") as executor:
        list(executor.map(process_of, range(9)))
        for how in ("full", "stalls", "dies"):
            peers: list[Any] = [
                executor.submit(fails_once, tmp_path / how, how, about=how, peers=how) for _ in range(6)
            ]
            if how == "stalls":
                remove_the_stalled(executor, peers)
            assert all(peer.result() > 0 for peer in peers), "a late result changes nothing"
        full, slow, died = (lost.why for lost in executor.facts.lost)  # type: ignore[union-attr]
        assert died == "its process ended, or its connection was lost"
        assert full == "had no room on its disk for it (No space left on device)"
        assert slow.startswith("it had stalled: fails_once took ")
        with pytest.raises(
            ClusterError, match=r"no worker .* can do a task: tcp://\S+, .* had too little memory for it"
        ):
            executor.submit(needs_too_much).result()


def test_a_worker_with_another_version_that_comes_later_is_not_used() -> None:
    with open_executor("local:2") as executor:
        other = {**on_worker.versions_here(), "numpy": "0.1"}
        executor._origin = dataclasses.replace(executor._origin, versions=other)  # type: ignore[attr-defined]
        with pytest.raises(ClusterError, match=r"the last one that was tried, has \S+ numpy, and this process 0\.1"):
            executor.submit(process_of, 1).result()
        (lost,) = executor.facts.lost  # type: ignore[union-attr]
        assert lost.why.startswith("has ")


def test_a_task_is_begun_again_before_its_result_is_asked_for(tmp_path: Path) -> None:
    with open_executor("local:2") as executor:
        pending: Any = executor.submit(fails_once, tmp_path / "marker", "full")
        needs_it: Any = executor.submit(process_of, pending)
        wait_until(lambda: needs_it.future.status == pending.future.status == "finished")
        (lost,) = executor.facts.lost  # type: ignore[union-attr]
        assert (lost.tasks, lost.why[:26]) == (1, "had no room on its disk fo")


def test_other_versions_are_refused_by_name(two_workers: Executor) -> None:
    here = on_worker.versions_here()
    sentence = on_worker.other_version({**here, "numpy": "1.0"}, here)
    assert sentence == f"has 1.0 numpy, and this process {here['numpy']}: install the same versions on all workers"
    assert (on_worker.other_version({**here, "netsurgeon": ""}, here) or "").startswith("has no netsurgeon")
    assert on_worker.other_version(here, here) is None


def test_a_worker_with_another_version_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {**on_worker.versions_here(), "numpy": "0"}
    monkeypatch.setattr(on_dask, "versions_here", lambda: here)
    with pytest.raises(InputError, match=r"the worker tcp://\S+ has \S+ numpy, and this process 0"):
        open_executor("local:1")


def test_a_cluster_that_ends_is_a_sentence() -> None:
    with distributed.LocalCluster(n_workers=1, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster:
        executor = open_executor(cluster.scheduler_address)
        pending = executor.submit(time.sleep, 60)
    with pytest.raises(ClusterError, match=r"the scheduler at tcp://\S+ is gone .*: start it anew and give the same"):
        pending.result()
    executor.close()


def test_a_client_of_ones_own_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_small_site.py").write_text(
        "import distributed\nCLIENT = None\n\ndef client():\n    global CLIENT\n"
        "    CLIENT = distributed.Client(distributed.LocalCluster(n_workers=1, dashboard_address='127.0.0.1:0', "
        "silence_logs=50), set_as_default=False)\n    return CLIENT\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with open_executor("my_small_site:client") as executor:
        assert executor.submit(len, "abc").result() == 3
    client = sys.modules["my_small_site"].CLIENT
    with client.cluster, client:
        assert client.submit(len, "abcd").result() == 4, "what the user has opened is still open"
