"""The model of a cluster, the graphs that it is given, and the page of what came out."""

import collections
import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

import _cluster_tables as tables
import _decoder
import _paper_decoder
import numpy as np
import pytest
from _cluster_cases import BYTES, SCENARIOS
from _cluster_replay import messages, replay
from _larger_graphs import with_more_shards
from _recorded_tasks import Recorder
from _rows import RESULTS
from _simulated_cluster import Cluster, Costs, shortest, simulate
from _solve_work import SOLVING
from _task_graphs import JOINED, GraphBuilder, Task, TaskGraph, excerpt, scaled
from hypothesis import given, settings
from hypothesis import strategies as st
from wide_layers import COLUMNS, ROWS, wide_moments, wide_problem

from netsurgeon.passes.pruning import rows_of_tasks
from netsurgeon.pipeline.calibration.shards import TOKEN_BYTES
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.execution import InProcess
from netsurgeon.pipeline.pruning.row_blocks import begin_solving_rows
from netsurgeon.pipeline.run import calibrating

RATES = _paper_decoder.Rates(1e-11, 2e-11, 1e-9, 3e-10, 5e-10, 1e-9, 1e-9)
SMALL = _decoder.Shape(width=64, inner=128, layers=1, vocabulary=96)


def graph_of(seconds: list[float], needs: list[tuple[int, ...]] | None = None, *, result_bytes: int = 0) -> TaskGraph:
    """Tasks that are sent at once and then waited for."""
    builder = GraphBuilder()
    for number, took in enumerate(seconds):
        builder.submit(Task("work", needs[number] if needs else (), 0, took, result_bytes))
    for number in range(len(seconds)):
        builder.wait(number)
    return builder.built()


def loads() -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(0.1, 10.0), min_size=1, max_size=30)


@st.composite
def graphs(draw: st.DrawFn) -> TaskGraph:
    seconds = draw(loads())
    needs = [
        tuple(sorted(draw(st.sets(st.integers(0, at - 1), max_size=3)))) if at else () for at in range(len(seconds))
    ]
    return graph_of(seconds, needs)


@given(graphs())
def test_one_worker_takes_the_sum_of_all_tasks(graph: TaskGraph) -> None:
    assert simulate(graph, Cluster(1)).seconds == pytest.approx(graph.task_seconds)


@given(graphs(), st.integers(1, 8))
def test_no_worker_is_idle_while_a_task_could_run(graph: TaskGraph, workers: int) -> None:
    """Graham's bound: work over workers plus the longest chain (Bounds on multiprocessing timing anomalies, 1969)."""
    outcome = simulate(graph, Cluster(workers))
    least = max(graph.task_seconds / workers, shortest(graph))
    assert least - 1e-9 <= outcome.seconds <= graph.task_seconds / workers + shortest(graph) + 1e-9
    assert outcome.worker * workers == pytest.approx(graph.task_seconds)


@given(loads())
def test_more_workers_are_never_slower_where_nothing_else_costs(seconds: list[float]) -> None:
    taken = [simulate(graph_of(seconds), Cluster(workers)).seconds for workers in range(1, 9)]
    assert all(more <= fewer + 1e-9 for fewer, more in itertools.pairwise(taken))


def test_a_failed_workers_tasks_run_again() -> None:
    graph = graph_of([10.0, 10.0])
    outcome = simulate(graph, Cluster(2, deaths=((5.0, 1),), restart=1.0))
    assert outcome.runs == 3
    assert outcome.seconds == 16.0, "the other worker is busy until 10: the new one is there from 6"


def test_what_a_lost_result_was_made_from_is_made_again() -> None:
    builder = GraphBuilder()
    first = builder.submit(Task("open", (), 0, 1.0, 8))
    second = builder.submit(Task("run", (first,), 0, 2.0, 8))
    builder.release(first)
    third = builder.submit(Task("run", (second,), 0, 4.0, 8))
    builder.wait(third)
    outcome = simulate(builder.built(), Cluster(1, deaths=((5.0, 0),)))
    assert outcome.seconds == 5.0 + 7.0
    assert outcome.runs == 6


@settings(max_examples=50)
@given(graphs(), st.lists(st.tuples(st.floats(0.0, 50.0), st.integers(0, 2)), max_size=10))
def test_any_deaths_end_in_all_results(graph: TaskGraph, deaths: list[tuple[float, int]]) -> None:
    outcome = simulate(graph, Cluster(3, deaths=tuple(sorted(deaths)), restart=0.5))
    assert math.isfinite(outcome.seconds)
    assert outcome.runs >= len(graph.tasks)


def test_bytes_take_the_time_of_their_links() -> None:
    builder = GraphBuilder()
    sent = builder.submit(Task("open", (), 100, 1.0, 300))
    builder.wait(sent)
    outcome = simulate(builder.built(), Cluster(1, bandwidth=100.0, latency=0.25))
    way = 0.25  # to the worker, that it is done, that it is asked for, and back
    assert outcome.seconds == pytest.approx(1.0 + 1.0 + 3.0 + 4 * way)
    assert (outcome.sent, outcome.fetched, outcome.moved) == (100, 300, 0)


def test_a_result_stays_where_it_is_unless_another_worker_begins_sooner() -> None:
    needs: list[tuple[int, ...]] = [(), (), (0,), (1,)]
    assert simulate(graph_of([1.0] * 4, needs, result_bytes=100), Cluster(2, bandwidth=100.0)).moved == 0
    waiting = graph_of([1.0, 9.0, 9.0], [(), (0,), (0,)], result_bytes=100)
    assert simulate(waiting, Cluster(2, bandwidth=100.0)).moved == 100
    assert simulate(waiting, Cluster(2, bandwidth=1.0)).moved == 0


@pytest.mark.parametrize("workers", [16, 64])
def test_a_scheduler_that_is_slow_binds(workers: int) -> None:
    graph = graph_of([0.01] * 200)
    outcome = simulate(graph, Cluster(workers, costs=Costs(scheduler=0.1)))
    assert outcome.seconds == pytest.approx(20.0, rel=0.02)
    assert outcome.binds.startswith("scheduler, ")


def test_tasks_that_are_spread_go_to_all_workers_in_turn() -> None:
    builder = GraphBuilder()
    whole = builder.submit(Task("set up", (), 0, 0.0, 100))
    parts = [builder.submit(Task("rows", (whole,), 0, 1.0, 0, place=at)) for at in range(4)]
    for part in parts:
        builder.wait(part)
    outcome = simulate(builder.built(), Cluster(2, bandwidth=1.0))
    assert outcome.moved == 100, "though the way there takes longer than all four tasks"
    assert outcome.seconds > 100.0


def test_what_is_serial_takes_as_long_on_many_cores() -> None:
    builder = GraphBuilder()
    builder.wait(builder.submit(Task("choice", (), 0, 8.0, 0, serial=3.0)))
    graph = builder.built()
    assert simulate(graph, Cluster(1, cores=4.0)).seconds == pytest.approx(8.0 / 4.0 + 3.0)
    assert graph.task_seconds == shortest(graph) == 11.0
    assert scaled(graph, 2.0, 1.0).task_seconds == 22.0


def test_tasks_are_replayed_in_the_messages_of_a_run() -> None:
    graph = with_more_shards(two_shards(), 10)
    labels = [
        [graph.tasks[step.task].label for step in steps] for steps in messages(graph) if steps[0].kind == "submit"
    ]
    assert labels.count(["run"] * 10) == labels.count(["moments"] * 10) == 1
    assert [len(names) for names in labels if names[0] == JOINED][:3] == [5, 2, 1], "level by level"
    assert sorted(step.task for steps in messages(graph) for step in steps) == sorted(step.task for step in graph.steps)
    with InProcess() as executor:
        assert replay(scaled(graph, 0.0, 1.0), executor) < 60.0


def test_a_task_that_is_never_sent_cannot_be_waited_for() -> None:
    builder = GraphBuilder()
    builder.wait(builder.submit(Task("run", (1,), 0, 1.0, 0)))
    builder.tasks.append(Task("never", (), 0, 1.0, 0))
    with pytest.raises(ValueError, match="waits for task 0, which is never done"):
        simulate(builder.built(), Cluster(1))


def two_shards() -> TaskGraph:
    """Inputs of two shards, a session for each worker, and the sum of what they give."""
    builder = GraphBuilder()
    model = builder.submit(Task("as_is", (), 50, 0.0, 50))
    opened = []
    for shard in (0, 1):
        builder.compute(0.5)
        opened.append(builder.submit(Task("open_shard", (), 40, 0.0, 40, shard)))
    parts = [builder.submit(Task("run", (opened[at], model), 5, 3.0 - 2.0 * at, 80, at)) for at in (0, 1)]
    seen = [builder.submit(Task("seen", (part,), 5, 0.0, 1, at)) for at, part in enumerate(parts)]
    all_seen = builder.submit(Task("all seen", tuple(seen), 0, 0.0, 1))
    sums = [builder.submit(Task("moments", (part, all_seen), 5, 2.0, 16, at)) for at, part in enumerate(parts)]
    whole = builder.submit(Task(JOINED, tuple(sums), 0, 0.1, 16))
    builder.wait(whole)
    builder.compute(7.0)
    for task in (*opened, *parts, *sums, whole):
        builder.release(task)
    return builder.built()


def test_more_shards_have_more_of_each_task_and_one_tree() -> None:
    grown = with_more_shards(two_shards(), 10, larger=4.0)
    counts = collections.Counter(task.label for task in grown.tasks)
    assert counts == {"as_is": 1, "open_shard": 10, "run": 10, "seen": 10, "all seen": 1, "moments": 10, JOINED: 9}
    (all_seen,) = [task for task in grown.tasks if task.label == "all seen"]
    assert len(all_seen.needs) == 10
    runs = [task for task in grown.tasks if task.label == "run"]
    assert {task.seconds for task in runs} == {4.0}, "four times the second that one takes once its session is there"
    assert {task.setup for task in runs} == {2.0}
    assert {task.result_bytes for task in runs} == {320}
    assert {task.result_bytes for task in grown.tasks if task.label == "moments"} == {16}, "a sum is as large as ever"
    assert grown.main_seconds == pytest.approx(0.5 + 4.0 * 9 * 0.5 + 7.0)
    for step in grown.steps:
        assert step.task < len(grown.tasks)
    alone = simulate(grown, Cluster(1)).seconds
    assert alone <= grown.main_seconds + grown.task_seconds + 1e-9
    assert simulate(grown, Cluster(10)).seconds < alone


def test_rows_that_wait_are_laid_together_before_sums_are_joined() -> None:
    graph = two_shards()
    tasks = (dataclasses.replace(task, waits=2 if task.label == "moments" else 0) for task in graph.tasks)
    grown = with_more_shards(TaskGraph(tuple(tasks), graph.steps), 8)
    joined = [(task.seconds, task.result_bytes) for task in grown.tasks if task.label == JOINED]
    assert joined == [(0.0, 8)] * 4 + [(0.0, 16)] * 2 + [(0.1, 16)]
    leaves = [(task.seconds, task.result_bytes) for task in grown.tasks if task.label == "moments"]
    assert leaves == [(2.0, 4)] * 8, "what their rows take to be summed stays with them"


def test_the_same_shards_are_the_same_graph(tmp_path: Path) -> None:
    graph = two_shards()
    same = with_more_shards(graph, 2)
    assert [task.label for task in same.tasks] == [task.label for task in graph.tasks]
    assert same.task_seconds == pytest.approx(graph.task_seconds)
    assert same.main_seconds == pytest.approx(graph.main_seconds)
    same.write(tmp_path / "graph.json")
    assert TaskGraph.read(tmp_path / "graph.json") == same


def test_a_part_of_a_graph_can_be_run_at_another_scale() -> None:
    part = excerpt(two_shards(), 5)
    assert len(part.tasks) == 5
    assert [step.task for step in part.steps if step.kind == "wait"] == [3, 4], "what is not done by then"
    assert simulate(scaled(part, 2.0, 0.5), Cluster(1)).seconds == pytest.approx(
        2.0 * simulate(part, Cluster(1)).seconds
    )
    assert scaled(part, 2.0, 0.5).tasks[0].sent == 25


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[TaskGraph, bytes, bytes]:
    """The graph of a small decoder's run, and the model that this makes, beside that of a run alone."""
    folder = tmp_path_factory.mktemp("decoder")
    _decoder.build(folder / "model.onnx", SMALL)
    tokens = np.random.default_rng(0).integers(0, SMALL.vocabulary, (12, _decoder.TOKENS))
    recorder, models, size = Recorder(), [], TOKEN_BYTES * _decoder.TOKENS * 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("netsurgeon.pipeline.calibration.shards.SHARD_BYTES", size)
        patch.setattr(calibrating, "open_executor", lambda *_: recorder)
        for cluster in ("local:1", None):
            if cluster is None:
                patch.undo()
                patch.setattr("netsurgeon.pipeline.calibration.shards.SHARD_BYTES", size)
            compress(
                folder / "model.onnx", {"tokens": tokens[:8]}, test={"tokens": tokens[8:]}, sparsity=0.5, pack=False,
                output=folder / "small.onnx", cluster=cluster, batch_size=2, threads=1, values="float32",
            )  # fmt: skip
            models.append((folder / "small.onnx").read_bytes())
    return recorder.graph(), models[0], models[1]


def test_a_run_that_is_recorded_gives_the_same_model(recorded: tuple[TaskGraph, bytes, bytes]) -> None:
    graph, one, other = recorded
    assert one == other
    assert graph.shards == 2
    assert graph.main_seconds > 0.0
    assert graph.task_seconds > 0.0


def test_a_decoder_on_paper_has_the_tasks_of_one_that_was_run(recorded: tuple[TaskGraph, bytes, bytes]) -> None:
    graph = recorded[0]
    rates = _paper_decoder.measured_rates(graph, SMALL, 8, 1.0)
    paper = _paper_decoder.paper_graph(SMALL, 8, 4, rates)
    assert [task.label for task in paper.tasks] == [task.label for task in graph.tasks]
    assert [len(task.needs) for task in paper.tasks] == [len(task.needs) for task in graph.tasks]
    assert paper.main_seconds == pytest.approx(graph.main_seconds)
    assert paper.task_seconds == pytest.approx(graph.task_seconds, rel=0.35)


def test_rows_of_a_wide_layer_on_paper_have_the_tasks_of_one_that_was_solved() -> None:
    recorder, problem = Recorder(), wide_problem(effort="full")
    moments = recorder.send(wide_moments())
    begin_solving_rows(recorder, problem, rows_of_tasks(problem, 1), moments, 0).result()
    graph = recorder.graph()
    paper = _paper_decoder.paper_graph(_decoder.Shape(COLUMNS, COLUMNS, 1, ROWS), 8, 4, RATES)
    first = max(number for number, task in enumerate(paper.tasks) if task.label == graph.tasks[1].label)
    assert [task.label for task in paper.tasks[first:]] == [task.label for task in graph.tasks[1:]]
    assert [len(task.needs) for task in paper.tasks[first:]] == [len(task.needs) for task in graph.tasks[1:]]
    for task, measured in zip(paper.tasks[first:], graph.tasks[1:], strict=True):
        assert task.result_bytes == pytest.approx(measured.result_bytes, rel=0.1), task.label
        assert (task.place < 0) == (measured.place < 0), task.label
    solving = sum(task.seconds + task.serial for task in paper.tasks[first:])
    assert solving == pytest.approx(RATES.solve * ROWS * COLUMNS**2), "the rows share the seconds of the solve"
    assert {task.label for task in graph.tasks[1:]} < {*SOLVING}


def test_twice_the_sequences_are_twice_the_runs() -> None:
    one, two = (_paper_decoder.paper_graph(SMALL, count, 4, RATES) for count in (8, 16))
    assert two.shards == 2 * one.shards
    runs = [graph.seconds_by_label()["run_segment"] for graph in (one, two)]
    assert runs[1] == pytest.approx(2.0 * runs[0])
    assert two.main_seconds == one.main_seconds


RUN: dict[str, Any] = {"status": "ok", "sha256": "a", "seconds": 9.0, "killed": 0}
KILLED = {**RUN, "killed": 10}
SIMULATED = {"workers": 64, "gigabits": 10.0, "times": 44.0}


@pytest.mark.parametrize(
    ("name", "row", "missed"),
    [
        ("bytes x", {"runs": {"alone": RUN, "2": RUN, "2, killed": KILLED}}, []),
        ("bytes x", {"runs": {"alone": RUN, "2": {**RUN, "sha256": "b"}, "2, killed": KILLED}},
         ["other bytes than alone with 2"]),
        ("bytes x", {"runs": {"alone": RUN, "2, killed": {**RUN, "killed": 9}}}, ["9 workers killed, must be 10"]),
        ("speed x", {"runs": {"1": RUN, "2": {**RUN, "seconds": 5.0}}}, []),
        ("speed x", {"runs": {"1": RUN, "2": {**RUN, "seconds": 6.0}}}, ["1.50 times as fast, must be 1.75"]),
        ("seam", {"share": 0.031}, ["3.1% of the run, at most 3%"]),
        ("validation 2", {"seconds": 10.0, "forecast": 8.1}, []),
        ("validation 2", {"seconds": 10.0, "forecast": 7.5}, ["forecast -25%, at most 20% apart"]),
        ("simulated x", {"is_bound": True, "runs": [SIMULATED]}, ["44.0 times one worker with 64, must be 45"]),
        ("simulated x", {"is_bound": False, "runs": [SIMULATED]}, []),
        ("costs", {"status": "BROKEN", "error": "no scheduler"}, ["no scheduler"]),
    ],
)  # fmt: skip
def test_what_is_missed(name: str, row: dict[str, Any], missed: list[str]) -> None:
    assert tables.misses(name, row) == missed


def test_rows_have_names_of_their_own() -> None:
    assert len({case.name for case in BYTES}) == len(BYTES)
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
    assert sum(dataclasses.asdict(scenario)["is_bound"] for scenario in SCENARIOS) == 1


def test_the_results_are_those_of_the_page(tmp_path: Path) -> None:
    tables.render(tmp_path, json.loads((RESULTS / "cluster.json").read_text("utf-8")))
    assert (tmp_path / "cluster.md").read_text("utf-8") == (RESULTS / "cluster.md").read_text("utf-8")
