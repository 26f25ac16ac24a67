"""Times that steer a search: each measured once, kept, and read back."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from plain_models import DIGITS
from timed_models import graph

import netsurgeon
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.profiling import timing_table
from netsurgeon.pipeline.profiling.kernel_times import NodeTime
from netsurgeon.pipeline.profiling.timing_table import StructureTimer, Timed, TimingTable
from netsurgeon.pipeline.runtime import CPU
from netsurgeon.pipeline.runtime.session import Runtime


def test_a_table_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text("{}", "utf-8")
    with pytest.raises(InputError, match=r"table\.json holds no timing table"):
        netsurgeon.compress(
            DIGITS / "digits.onnx", DIGITS / "calibration.npz", timings=tmp_path / "table.json", speedup=2
        )


def table() -> TimingTable:
    return TimingTable("a machine", {"first": 0.5, "": 0.25}, {"abc": Timed(2.0, 1.0, 2.5, 2.4, 2.6)})


VALUES: dict[str, Any] = dataclasses.asdict(table())


@pytest.mark.parametrize(
    "document",
    [
        VALUES,
        {"schema": 2, "search": None, "integers": None, "timings": VALUES},
        {"schema": 2, "search": {"timings": VALUES, "points": []}},
        {"schema": 2, "search": None, "integers": {"timings": VALUES}},
    ],
    ids=["itself", "report", "earlier search", "earlier integers"],
)
def test_a_table_is_read_back_from_itself_or_from_a_report(document: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text(json.dumps(document), "utf-8")
    assert TimingTable.read(tmp_path / "table.json") == table()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"search": null}',
        '{"timings": null, "search": {"timings": {"machine": "m", "nodes": {}, "models": {}}}}',
        '{"search": {"points": []}}',
        '{"machine": "m", "nodes": {"a": "slow"}, "models": {}}',
        '{"machine": "m", "nodes": {}, "models": {"abc": {"dense": 1.0}}}',
        '{"machine": "m", "nodes": {}, "models": {"abc": 1.0}}',
        '{"machine": "m", "nodes": [], "models": {}}',
    ],
)
def test_what_is_no_table_is_refused_in_a_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text(text, "utf-8")
    with pytest.raises(InputError, match=r"table\.json holds no timing table .*: give the JSON report of a run"):
        TimingTable.read(tmp_path / "table.json")


def test_a_table_that_is_not_there_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json holds no timing table \(FileNotFoundError\)"):
        TimingTable.read(tmp_path / "none.json")


def test_what_was_measured_beside_the_user_s_own_is_kept(tmp_path: Path) -> None:
    measured = TimingTable("here", {"second": 1.0}, {"abc": Timed(9.0, 9.0, 1.0, 1.0, 1.0)}, {"abc": {"first": 2.0}})
    measured.models["def"] = Timed(2.0, 1.0, 2.0, 1.9, 2.1)
    (tmp_path / "table.json").write_text(json.dumps(dataclasses.asdict(table())), "utf-8")
    both = TimingTable.first_of(tmp_path / "table.json", dataclasses.asdict(measured))
    assert both.models == {**table().models, "def": measured.models["def"]}
    assert both.nodes == {**table().nodes, "second": 1.0}
    assert (both.nodes_of, both.machine) == (measured.nodes_of, "a machine; here")
    assert TimingTable.first_of(None, dataclasses.asdict(measured)) == measured
    assert TimingTable.first_of(tmp_path / "table.json", None) == table()


def never() -> ir.Model:
    raise AssertionError("the model is needed only where its time is not known")


def test_times_that_are_known_are_not_measured() -> None:
    kept: list[TimingTable] = []
    timer = StructureTimer(table(), graph("y = Unheard(x)"), {}, Runtime(), kept.append)
    assert timer.time("abc", never) == Timed(2.0, 1.0, 2.5, 2.4, 2.6)
    assert timer.nodes() == {"first": 0.5, "": 0.25}
    assert not kept


def test_what_is_measured_once_is_kept_and_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing_table, "ROUNDS", 5)
    kept: list[dict[str, Any]] = []
    feed: dict[str, Any] = {"x": np.ones((2, 4), np.float32)}
    own, runtime = TimingTable(), Runtime(deployed=True)
    timer = StructureTimer(own, graph("y = Relu(x)"), feed, runtime, lambda now: kept.append(dataclasses.asdict(now)))
    nodes, timed = timer.nodes(), timer.time("abs", lambda: graph("y = Abs(x)"))
    assert len(nodes) == 1
    assert min(timed.dense, timed.model, timed.speedup) > 0.0
    assert own.machine
    assert [len(each["models"]) for each in kept] == [0, 1], "kept after each measurement"
    assert (timer.nodes(), timer.time("abs", never)) == (nodes, timed)
    assert len(kept) == 2
    again = TimingTable.of(json.loads(json.dumps(kept[-1])))
    assert StructureTimer(again, graph("y = Unheard(x)"), {}, runtime, lambda _: None).time("abs", never) == timed


def test_a_model_that_is_timed_anew_leaves_nothing_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing_table, "ROUNDS", 5)
    feed: dict[str, Any] = {"x": np.ones((2, 4), np.float32)}
    kept = list[TimingTable]()
    timer = StructureTimer(TimingTable(), graph("y = Relu(x)"), feed, Runtime(deployed=True), kept.append)
    assert timer.time_anew(graph("y = Abs(x)")).speedup > 0.0
    assert (timer.table, kept) == (TimingTable(), [])


def test_a_table_of_an_earlier_version_says_nothing_of_the_model_that_was_delivered() -> None:
    values = dataclasses.asdict(table())
    values["models"]["delivered"] = values["models"]["abc"]
    assert TimingTable.of(values) == table()


def test_nodes_of_other_models_are_measured_once_and_read_back(tmp_path: Path) -> None:
    own, kept = TimingTable(), list[TimingTable]()
    feed: dict[str, Any] = {"x": np.ones((2, 4), np.float32)}
    timer = StructureTimer(own, graph("y = Relu(x)"), feed, Runtime(deployed=True), kept.append)
    other = timer.against(graph("y = Exp(x)"))
    nodes = other.nodes_of("abs", lambda: graph("[here] y = Abs(x)"))
    assert list(nodes) == ["here"]
    assert timer.nodes_of("abs", never) == nodes, "one table for both"
    assert len(kept) == 1
    document = {"search": None, "integers": {"timings": dataclasses.asdict(own)}}
    (tmp_path / "report.json").write_text(json.dumps(document), "utf-8")
    assert TimingTable.read(tmp_path / "report.json") == own


def test_a_table_of_an_earlier_version_has_no_nodes_of_other_models(tmp_path: Path) -> None:
    values = dataclasses.asdict(table())
    del values["nodes_of"]
    (tmp_path / "table.json").write_text(json.dumps(values), "utf-8")
    assert TimingTable.read(tmp_path / "table.json") == table()


def test_a_table_of_an_earlier_version_has_no_intervals(tmp_path: Path) -> None:
    values = dataclasses.asdict(table())
    for timed in values["models"].values():
        del timed["low"], timed["high"]
    (tmp_path / "table.json").write_text(json.dumps(values), "utf-8")
    assert TimingTable.read(tmp_path / "table.json").models == {"abc": Timed(2.0, 1.0, 2.5, 2.5, 2.5)}


@pytest.mark.parametrize(
    ("ratios", "least", "times"),
    [([1.5], 0.0, 1), ([1.0, 1.5], 0.0, 2), ([1.0, 1.0, 1.0], 0.0, timing_table.MOST_TIMES), ([1.0], 1.01, 1)],
)
def test_models_are_timed_again_while_it_is_undecided_which_is_faster(
    ratios: list[float], least: float, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, measured = np.random.default_rng(0), list[float]()

    def time_models(*_: Any) -> tuple[None, list[np.ndarray]]:
        measured.append(ratios[len(measured)])
        seconds = np.exp(0.02 * rng.standard_normal((50, 7, 2)))
        return None, [seconds * (measured[-1], 1.0)]

    monkeypatch.setattr(timing_table, "time_models", time_models)
    timer = StructureTimer(TimingTable(), graph("y = Relu(x)"), {}, Runtime(), lambda _: None)
    timed = timer.time("abs", lambda: graph("y = Abs(x)"), least=least)
    assert len(measured) == times
    assert timed.low < np.exp(np.mean(np.log(ratios))) < timed.high
    assert timed.is_undecided == (max(ratios) == 1.0)


def test_the_dense_model_runs_without_a_package_and_layers_of_the_other_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    runtimes: list[Runtime] = []

    def time_models(models: object, feeds: object, given: tuple[Runtime, ...], *_: object) -> Any:
        runtimes.extend(given)
        return None, [np.tile([2e-3, 1e-3], (2, 3, 1))]

    def node_times(model: object, feed: object, runtime: Runtime) -> list[NodeTime]:
        runtimes.append(runtime)
        return [NodeTime("here", "NetsurgeonSparse", "NetsurgeonSparse", 0.5), NodeTime("top", "Add", CPU, 0.1)]

    monkeypatch.setattr(timing_table, "time_models", time_models)
    monkeypatch.setattr(timing_table, "node_times", node_times)
    runtime = Runtime(provider="netsurgeon-sparse", deployed=True)
    timer = StructureTimer(TimingTable(), graph("y = Relu(x)"), {}, runtime, lambda _: None)
    assert timer.has_package
    assert not timer.without_package().has_package
    timer.time("sparse", lambda: graph("y = Abs(x)"))
    assert [given.provider for given in runtimes] == ["cpu", "netsurgeon-sparse"]
    assert timer.layers_in_package("abs", lambda: graph("y = Abs(x)")) == {"here": 0.5}
    assert dict(runtimes[-1].provider_options) == {"claim": "all"}
    assert timer.layers_in_package("abs", never) == {"here": 0.5}
    assert timer.taken_by_package(graph("y = Abs(x)")) == {"here": 0.5}
    assert not runtimes[-1].provider_options
    timer.nodes_of("other", lambda: graph("y = Abs(x)"))
    assert runtimes[-1].provider == "cpu"


@pytest.mark.parametrize(
    ("machine", "threads", "batch", "said"),
    [
        ("here", 1, 2, None),
        ("here", None, None, None),
        ("here", 2, 2, "here, 2 threads, batch 2"),
        ("here", 1, 8, "here, 1 thread, batch 8"),
        ("ARM", 1, 2, "ARM, 1 thread, batch 2"),
        ("ARM", None, None, "ARM"),
    ],
)
def test_times_of_another_machine_or_run_are_told(
    monkeypatch: pytest.MonkeyPatch, machine: str, threads: int | None, batch: int | None, said: str | None
) -> None:
    monkeypatch.setattr(timing_table, "machine", lambda: "here")
    monkeypatch.setattr(timing_table, "node_times", lambda *_: [])
    own = TimingTable(machine, threads=threads, batch=batch)
    feed: dict[str, Any] = {"x": np.ones((2, 4), np.float32)}
    timer = StructureTimer(own, graph("y = Relu(x)"), feed, Runtime(threads=1), lambda _: None)
    notes = [(note.code, note.data) for note in timer.notes()]
    assert all("without --timings, in a new work folder, they are measured anew" in note for note in timer.notes())
    assert notes == ([] if said is None else [("timed-elsewhere", {"times": said, "here": "here, 1 thread, batch 2"})])
    assert timer.place == (said or "this machine")
    timer.nodes()
    assert own.machine == ("here" if machine == "here" else "ARM; here"), "what is timed anew hides no other machine"
    assert TimingTable.of(json.loads(json.dumps(dataclasses.asdict(own)))) == own


def test_what_is_measured_says_with_how_many_threads_and_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing_table, "node_times", lambda *_: [])
    feed: dict[str, Any] = {"x": np.ones((2, 4), np.float32)}
    timer = StructureTimer(TimingTable(), graph("y = Relu(x)"), feed, Runtime(threads=3), lambda _: None)
    timer.nodes()
    assert (timer.table.threads, timer.table.batch) == (3, 2)
    assert list(timer.notes()) == []
