"""A wide layer whose rows are solved in tasks: the same bits as in one, also where a worker dies with some of them."""

import dataclasses
import os
import signal
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from executor_tasks import Elsewhere
from wide_layers import COLUMNS, ROW_TASKS, ROWS, wide_moments, wide_problem

from netsurgeon.passes.pruning import (
    LayerMoments,
    LayerProblem,
    Solution,
    rounds_of,
    rows_of_tasks,
    solve_layer,
)
from netsurgeon.passes.solvers import FactorizationError, Moments, linalg
from netsurgeon.passes.solvers.admm import penalised
from netsurgeon.pipeline.execution import Executor, open_executor
from netsurgeon.pipeline.execution.executors import task_log
from netsurgeon.pipeline.pruning.row_blocks import begin_solving_rows, rows_apart


@pytest.fixture(scope="module")
def moments() -> LayerMoments:
    return wide_moments()


@pytest.fixture(scope="module")
def alone(moments: LayerMoments) -> Solution:
    return solve_layer(wide_problem(), moments, 0)


def same(one: Solution, other: Solution) -> bool:
    assert one.shift is not None
    assert other.shift is not None
    return one.weight.tobytes() == other.weight.tobytes() and one.shift.tobytes() == other.shift.tobytes()


def solved_in_rows(executor: Executor, problem: LayerProblem, moments: LayerMoments, cores: int = 1) -> Solution:
    parts = rows_of_tasks(problem, cores)
    return begin_solving_rows(executor, problem, parts, executor.send(moments), 0).result()


@pytest.mark.parametrize(
    ("plan", "cores"), [({"effort": "full", "damping": None}, 1), ({"values": "codebook", "price": 1e-9}, 3)]
)
def test_rows_in_tasks_have_the_bits_of_one_task(plan: dict[str, Any], cores: int, moments: LayerMoments) -> None:
    problem, executor = wide_problem(**plan), Elsewhere()
    solution = solved_in_rows(executor, problem, moments, cores)
    assert same(solution, solve_layer(problem, moments, 0))
    assert np.count_nonzero(solution.weight) == problem.plan.keep
    assert {"set_up_wide_layer", "steps_of_rows", "next_round", "refitted_rows", "joined_rows"} <= executor.kinds


def test_other_rows_are_other_bits(moments: LayerMoments, alone: Solution) -> None:
    """The negative control: a layer that keeps one weight less."""
    problem = wide_problem(keep=wide_problem().plan.keep - 1)
    assert not same(solved_in_rows(Elsewhere(), problem, moments), alone)


@pytest.mark.usefixtures("quick_workers")
@pytest.mark.parametrize("workers", [1, 4])
def test_the_number_of_workers_does_not_change_the_bits(workers: int, moments: LayerMoments, alone: Solution) -> None:
    pytest.importorskip("distributed")
    with open_executor(f"local:{workers}") as executor:
        assert same(solved_in_rows(executor, wide_problem(), moments), alone)
        assert executor.facts is not None
        tasks = {kind.kind: kind.tasks for kind in executor.facts.tasks}
    rounds = list(rounds_of(wide_problem()))
    assert (tasks["steps_of_rows"], tasks["refitted_rows"]) == (len(rounds) * ROW_TASKS, ROW_TASKS)
    assert tasks["penalised_hessian"] == sum(rounds), "once for each penalty, not for each block"


@pytest.mark.usefixtures("quick_workers")
def test_rows_that_a_worker_dies_with_are_solved_again(
    moments: LayerMoments, alone: Solution, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    take, killed, clusters = task_log.TaskLog.take, list[int](), list[Any]()

    def kill_the_first(log: task_log.TaskLog, event: Mapping[str, Any]) -> None:
        take(log, event)
        if not killed and event["name"].startswith("steps_of_rows"):
            (worker,) = (nanny for nanny in clusters[0].workers.values() if nanny.worker_address == event["worker"])
            killed.append(worker.pid)
            os.kill(worker.pid, signal.SIGKILL)

    monkeypatch.setattr(task_log.TaskLog, "take", kill_the_first)
    executor: Any = open_executor("local:2")
    with executor:
        clusters.append(executor._client.cluster)
        assert same(solved_in_rows(executor, wide_problem(), moments), alone)
        assert executor.facts.lost
    assert killed


def test_a_layer_of_which_nothing_is_known_is_left_alone(moments: LayerMoments) -> None:
    none = dataclasses.replace(moments, fit=Moments(1, COLUMNS, paired=True))
    solution = solved_in_rows(Elsewhere(), wide_problem(), none)
    assert not solution.outcome.measured
    np.testing.assert_array_equal(solution.weight, wide_problem().layer.values)


def test_a_hessian_without_a_factor_names_layer_and_damping(
    moments: LayerMoments, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> None:
        raise FactorizationError("it is not positive definite")

    monkeypatch.setattr(penalised, "_factor", fail)
    with pytest.raises(FactorizationError, match=r"layer 'wide', damping 0\.01: it is not positive definite"):
        solved_in_rows(Elsewhere(), wide_problem(), moments)


def test_rows_that_are_not_finite_name_layer_and_damping(
    moments: LayerMoments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linalg, "_conjugate_gradients", lambda target, *_: np.full_like(target, np.nan))
    with pytest.raises(FactorizationError, match=r"layer 'wide', damping 0\.01: the damped Hessian is not positive"):
        solved_in_rows(Elsewhere(), wide_problem(), moments)


@pytest.mark.parametrize(
    ("cores", "blocks"), [((), []), ((1,), []), ((1, 1), [1, 1, 1, 1]), ((16, 3), [3, 1]), ((16, 16), [])]
)
def test_rows_are_solved_apart_where_workers_have_cores_that_one_task_cannot_use(
    cores: tuple[int, ...], blocks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Elsewhere, "cores", cores)
    assert [len(part) for part in rows_apart(Elsewhere(), wide_problem())] == blocks


def test_shape_and_plan_say_which_rows_are_solved_in_tasks() -> None:
    assert [len(blocks) for blocks in rows_of_tasks(wide_problem(), 1)] == [1] * ROW_TASKS
    assert [len(blocks) for blocks in rows_of_tasks(wide_problem(), 3)] == [3, 1]
    plans: list[dict[str, Any]] = [
        {"method": "lobs"},
        {"method": "fast"},
        {"keep_zeros": True},
        {"keep": ROWS * COLUMNS},
    ]
    assert not any(rows_of_tasks(wide_problem(**plan), 1) for plan in plans)
    problem = wide_problem()
    shorter_layer = dataclasses.replace(problem.layer, values=problem.layer.values[:, :200])
    assert rows_of_tasks(dataclasses.replace(problem, layer=shorter_layer), 1) == []
