"""Sums in a tree that the number of parts alone decides, and executors that give the same whoever runs them."""

import pytest
from executor_tasks import check_executor

from netsurgeon.pipeline.execution.executors.executor import fold
from netsurgeon.pipeline.execution.executors.in_process import InProcess


def pair(earlier: str, later: str) -> str:
    return f"({earlier}{later})"


@pytest.mark.parametrize(
    ("parts", "tree"),
    [("a", "a"), ("ab", "(ab)"), ("abc", "((ab)c)"), ("abcde", "(((ab)(cd))e)"), ("abcdefg", "(((ab)(cd))((ef)g))")],
)
def test_the_number_of_parts_decides_the_tree(parts: str, tree: str) -> None:
    assert fold(pair, parts) == tree
    executor = InProcess()
    assert executor.tree_reduce(pair, (executor.submit(str, part) for part in parts)).result() == tree


def test_no_parts_have_no_sum() -> None:
    with pytest.raises(ValueError, match="no parts"):
        fold(pair, ())


def test_few_sums_wait_at_a_time() -> None:
    alive, most = 0, 0

    def make(number: int) -> int:
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        return number

    def add(one: int, other: int) -> int:
        nonlocal alive
        alive -= 1
        return one + other

    executor = InProcess()
    whole = executor.tree_reduce(add, (executor.submit(make, number) for number in range(1000)))
    assert whole.result() == sum(range(1000))
    assert most <= 11  # log2(1000) + 1


def test_this_process_runs_a_task_once_and_when_it_is_asked() -> None:
    calls: list[str] = []
    with InProcess() as executor:
        check_executor(executor)
        pending = executor.submit(calls.append, "once")
        assert calls == []
        pending.result()
        pending.result()
    assert calls == ["once"]


def test_a_task_that_has_failed_fails_in_the_same_way_when_it_is_asked_again() -> None:
    pending = InProcess().submit(int, "none")
    for _ in range(2):
        with pytest.raises(ValueError, match="invalid literal"):
            pending.result()
