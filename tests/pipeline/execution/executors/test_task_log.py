"""Which tasks take too long, by those that do the same to other shards."""

import pytest

from netsurgeon.pipeline.execution.executors import task_log
from netsurgeon.pipeline.execution.executors.task_log import SentTask, TaskLog


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_log, "STALLED_SECONDS", -1.0)


def log_of(peers: str, ended: int) -> TaskLog:
    log = TaskLog()
    for number in range(ended + 1):
        log.sent(f"t{number}", SentTask("run_segment", "conv", peers, ()))
        log.take({"name": f"t{number}", "worker": "slow", "state": "begun"})
    for number in range(ended):
        end = {"name": f"t{number}", "worker": "slow", "state": "ended"}
        log.take({**end, "seconds": 1e-9, "bytes_in": 1, "bytes_out": 2})
    return log


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("peers", "ended", "stalled"), [("a sweep", 3, 1), ("a sweep", 2, 0), ("", 3, 0)])
def test_a_task_is_overdue_by_the_median_of_enough_peers(peers: str, ended: int, stalled: int) -> None:
    assert len(log_of(peers, ended).overdue()) == stalled


@pytest.mark.usefixtures("impatient")
def test_what_has_failed_or_lost_its_worker_is_not_under_way() -> None:
    failed, lost = log_of("a sweep", 3), log_of("a sweep", 3)
    failed.take({"name": "t3", "worker": "slow", "state": "failed"})
    lost.forget("slow")
    assert failed.overdue() == lost.overdue() == []
    (kind,) = failed.kinds
    assert (kind.tasks, kind.bytes_in, kind.bytes_out) == (3, 3, 6)
