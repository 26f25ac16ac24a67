"""Structures that are fast or small enough: by multiply-adds, by times, and by times that were recorded."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
from searched_models import FAST, Data
from short_timing import time_for_a_moment

import netsurgeon
from netsurgeon.pipeline.calibration.selection import select
from netsurgeon.pipeline.calibration.sweep import Calibration
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.execution.run_folder import RunFolder
from netsurgeon.pipeline.model_files.loading import open_model
from netsurgeon.pipeline.options.goals import Goals
from netsurgeon.pipeline.options.options import Options
from netsurgeon.pipeline.profiling import timing_table
from netsurgeon.pipeline.profiling.timing_table import StructureTimer, Timed, TimingTable
from netsurgeon.pipeline.quantization.choose import IntegerChoice, LayerTimes
from netsurgeon.pipeline.result import as_json
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.search import pruner, structure_search
from netsurgeon.pipeline.search.candidates import CandidateEvaluator
from netsurgeon.pipeline.search.goal_search import candidate_options
from netsurgeon.pipeline.search.pruner import Pruner, SearchContext, Structure
from netsurgeon.pipeline.search.structure_search import RESERVE, RUNGS, fast_enough, faster_within
from netsurgeon.pipeline.trimming.structures import Structures, named, order_units
from netsurgeon.pipeline.verification.inputs import open_inputs


def test_multiply_adds_and_a_drop(network: Path, guiding: Data, final: Data) -> None:
    options = {**FAST, "uniform": True, "round_to": 1}
    dense = netsurgeon.compress(network, guiding, test=final, trim=0.01, round_to=1, **FAST).report.trim
    assert dense is not None
    limit = 0.8 * dense.macs_dense
    result = netsurgeon.compress(network, guiding, test=final, max_macs=limit, max_drop="15%", **options).report
    assert result.trim is not None
    assert 0.6 * limit < result.trim.macs <= limit
    assert result.search is not None
    assert result.search.evidence.drop <= 0.15
    assert {each.kind for each in result.search.points} >= {"structure", "candidate"}


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The final models are timed for a moment only."""
    time_for_a_moment(monkeypatch)


@pytest.mark.usefixtures("hurried")
def test_structures_are_timed_and_the_times_reported(network: Path, guiding: Data, final: Data, tmp_path: Path) -> None:
    options: Any = {**FAST, "latency": "1s", "threads": 1, "timed_batch": 2}
    result = netsurgeon.compress(network, guiding, test=final, output=tmp_path / "small.onnx", **options).report
    assert result.search is not None
    assert result.timings is not None
    (dense,) = result.timings.models.values()  # one structure is enough: the dense one is fast enough
    assert 0.0 < dense.model < 1000.0
    assert dense.speedup > 0.0
    assert result.search.timed == dense
    assert result.timings.machine
    assert sum(result.timings.nodes.values()) > 0.0
    assert result.latency is not None
    assert (result.latency.threads, result.latency.timings[0].batch) == (1, 2)
    jsonschema.Draft202012Validator(netsurgeon.report_schema()).validate(json.loads(as_json(result)))


@pytest.mark.usefixtures("hurried")
def test_recorded_times_are_replayed(network: Path, guiding: Data, final: Data, tmp_path: Path) -> None:
    """On the machine of the table the dense model takes two seconds, and what is left as much less as it does less."""
    table, outputs = tmp_path / "table.json", [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    table.write_text(json.dumps(_slow_machine(network, guiding, final)), "utf-8")
    options: Any = {**FAST, "latency": "1s", "round_to": 4}
    result = netsurgeon.compress(network, guiding, test=final, output=outputs[0], timings=table, **options).report
    assert result.search is not None
    assert result.search.timed is not None
    assert result.trim is not None
    assert 0.3 < result.trim.macs / result.trim.macs_dense < 0.5 / 1.02
    assert result.search.timed.model == pytest.approx(2000.0 * result.trim.macs / result.trim.macs_dense)
    assert result.latency is not None
    reported = tmp_path / "report.json"
    reported.write_text(as_json(result), "utf-8")
    netsurgeon.compress(network, guiding, test=final, output=outputs[1], timings=reported, **options)
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


@pytest.mark.usefixtures("hurried")
def test_a_goal_of_time_is_met_by_units_and_integers_and_the_drop_spent_on_bits_and_zeros(
    network: Path, guiding: Data, final: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the machine of the table the dense model takes one second on integers, which is too slow."""
    monkeypatch.setattr(timing_table, "time_models", lambda *_: (None, [np.tile([2e-3, 1e-3], (2, 3, 1))]))
    monkeypatch.setattr(timing_table, "node_times", lambda *_: [])
    table = tmp_path / "table.json"
    table.write_text(json.dumps(_slow_machine(network, guiding, final, on_integers=2.0)), "utf-8")
    options: Any = {"method": "obs", "damping": 0.01, "round_to": 4, "latency": "0.7s", "max_drop": "15%"}
    report = netsurgeon.compress(network, guiding, test=final, timings=table, **options).report
    assert report.search is not None
    assert report.search.timed is not None
    assert report.trim is not None
    share = report.trim.macs / report.trim.macs_dense
    assert 0.3 < share < 0.7 / 1.02
    assert report.search.timed.model == pytest.approx(1000.0 * share)
    assert report.integers is not None
    (chosen,) = (point for point in report.search.points if point.chosen)
    assert chosen.form == "w4a8"
    assert chosen.kept is not None
    assert chosen.kept < 1.0, "zeros"
    assert chosen.bits is not None
    assert chosen.bits < 7.0, "bits"
    assert report.search.evidence.drop <= 0.15


def _slow_machine(network: Path, guiding: Data, final: Data, on_integers: float | None = None) -> dict[str, Any]:
    """Times in which the dense model takes two seconds, and integers make each structure so many times as fast."""
    options, runtime = Options(latency="1s", round_to=4, **FAST), Runtime()
    source = open_model(network, runtime)
    inputs = open_inputs(source, guiding, final, options)
    calibration = Calibration(inputs.calibration, runtime, options.seed)
    selection = select(source.model, options)
    structures = order_units(
        source.model, selection, calibration, candidate_options(options), lambda *_: None, {"x": 1.0}
    )
    assert structures.top > 3
    shares = [structures.macs(level) / structures.macs(0) for level in range(structures.top + 1)]
    suffix, faster = (" int8", on_integers) if on_integers else ("", 1.0)
    names = [named(structures.plan(level).removed) + suffix for level in range(structures.top + 1)]
    times = [{"dense": 2000.0, "model": 2000.0 * share / faster, "speedup": faster / share} for share in shares]
    return {"machine": "made up", "nodes": {"x": 1.0}, "models": dict(zip(names, times, strict=True))}


def evaluator(network: Path, guiding: Data, table: TimingTable | None = None) -> CandidateEvaluator:
    """What structures are timed with: by a table, on a ladder of all numbers of units."""
    runtime, options = Runtime(), Options(sparsity=0.0, round_to=1)
    source = open_model(network, runtime)
    calibration = Calibration(open_inputs(source, guiding, None, options).calibration, runtime)
    context = SearchContext(
        dense=source.model,
        selection=select(source.model, options),
        folds=(),
        calibration=calibration,
        clock=StructureTimer(table or TimingTable(), source.model, {}, runtime, lambda _: None),
        size=lambda _: 0,
        options=options,
        progress=lambda *_: None,
        work=RunFolder(None, {}),
        steps=(),
    )
    return CandidateEvaluator(context)


@pytest.fixture(scope="module")
def ladder(network: Path, guiding: Data) -> Structures:
    structures, _ = fast_enough(evaluator(network, guiding), Goals(max_macs=10**9))
    return structures


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
def test_no_more_units_go_than_the_multiply_adds_ask_for(
    share: float, network: Path, guiding: Data, ladder: Structures
) -> None:
    """As good as none: structures that differ by less than a hundredth of the work are taken for the same."""
    limit = int(share * ladder.macs(0))
    search_context = evaluator(network, guiding)
    structures, structure = fast_enough(search_context, Goals(max_macs=limit))
    assert structure.macs is not None
    assert limit - 0.03 * ladder.macs(0) <= structure.macs <= limit
    assert structure.macs == structures.macs(structure.level)
    assert structure.trim is not None
    assert structure.trim.removed.sum() == structures.cuts[structure.level]
    assert {point.kind for point in search_context.points} == {"structure"}
    assert search_context.points[0].macs == ladder.macs(0)


def test_where_the_dense_model_will_do_no_unit_goes(network: Path, guiding: Data, ladder: Structures) -> None:
    search_context = evaluator(network, guiding)
    _, structure = fast_enough(search_context, Goals(max_macs=int(ladder.macs(0))))
    assert (structure.level, structure.trim) == (0, None)
    assert len(search_context.points) == 1


def test_where_all_units_are_not_enough_the_rest_is_described(network: Path, guiding: Data, ladder: Structures) -> None:
    least, most = ladder.macs(ladder.top), ladder.macs(0)
    with pytest.raises(CheckFailedError, match=rf"all units gone .* is one of {least:,.0f} of {most:,.0f} multiply"):
        fast_enough(evaluator(network, guiding), Goals(max_macs=int(least) - 1))


def timed(ladder: Structures, dense: float = 100.0) -> TimingTable:
    """A machine that takes as long as there is to do."""
    names = [named(ladder.plan(level).removed) for level in range(ladder.top + 1)]
    faster = [ladder.macs(0) / ladder.macs(level) for level in range(ladder.top + 1)]
    models = {name: Timed(dense, dense / times, *[times] * 3) for name, times in zip(names, faster, strict=True)}
    return TimingTable("made up", {"x": 1.0}, models)


@pytest.mark.parametrize("goals", [Goals(speedup=2.0), Goals(latency=50.0), Goals(speedup=1.2, latency=50.0)])
def test_a_structure_is_a_little_faster_than_was_asked_for(
    goals: Goals, network: Path, guiding: Data, ladder: Structures
) -> None:
    _, structure = fast_enough(evaluator(network, guiding, timed(ladder)), goals)
    assert structure.timed is not None
    assert 2.0 * RESERVE <= structure.timed.speedup < 2.0 * RESERVE * 1.1
    assert structure.timed.model == pytest.approx(100.0 / structure.timed.speedup)


def test_a_goal_of_time_that_nothing_meets_names_the_time(network: Path, guiding: Data, ladder: Structures) -> None:
    with pytest.raises(CheckFailedError, match=r"--latency 0.1ms cannot be met: .* times as fast \([\d.]+ ms\), with"):
        fast_enough(evaluator(network, guiding, timed(ladder)), Goals(latency=0.1))


def test_time_and_work_must_both_be_met(network: Path, guiding: Data, ladder: Structures) -> None:
    limit = int(0.3 * ladder.macs(0))
    _, structure = fast_enough(evaluator(network, guiding, timed(ladder)), Goals(speedup=1.5, max_macs=limit))
    assert structure.macs is not None
    assert structure.macs <= limit
    _, slower = fast_enough(evaluator(network, guiding, timed(ladder)), Goals(speedup=1.5))
    assert slower.level < structure.level
    assert dataclasses.astuple(Goals(speedup=1.5)) != dataclasses.astuple(Goals(speedup=1.5, max_macs=limit))


def judged(monkeypatch: pytest.MonkeyPatch, bounds: Callable[[float], float], dense: float) -> list[float]:
    """Candidates whose bound depends on the share of the work that is left; the shares that were asked for."""
    asked: list[float] = []

    def candidate(self: CandidateEvaluator, structure: Structure, share: float) -> Any:
        assert share == 1.0, "every weight stays while units are looked at"
        asked.append((structure.macs or dense) / dense)
        return SimpleNamespace(evidence=SimpleNamespace(high=bounds(asked[-1])))

    monkeypatch.setattr(CandidateEvaluator, "candidate", candidate)
    return asked


@pytest.mark.parametrize(("needs", "rungs"), [(0.8, 1), (0.6, 2), (0.3, 3)])
def test_units_go_for_speed_as_long_as_they_take_no_more_than_their_share_of_the_drop(
    needs: float, rungs: int, network: Path, guiding: Data, ladder: Structures, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = judged(monkeypatch, lambda left: 0.001 if left >= needs else 0.008, ladder.macs(0))
    search_context = evaluator(network, guiding, timed(ladder))
    structure = faster_within(search_context, 0.01)
    assert structure.macs is not None
    assert structure.macs <= RUNGS[rungs - 1] * ladder.macs(0)
    assert structure.macs > 0.9 * RUNGS[rungs - 1] * ladder.macs(0), "no more than the rung asks for"
    assert len(asked) == min(rungs + 2, len(RUNGS) + 1), "the dense model, each rung, and one that costs too much"


def test_no_ladder_is_built_where_nothing_of_the_drop_is_left(
    network: Path, guiding: Data, ladder: Structures, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = judged(monkeypatch, lambda _: 0.006, ladder.macs(0))
    monkeypatch.setattr(structure_search, "find_structures", None)
    assert faster_within(evaluator(network, guiding), 0.01).trim is None
    assert asked == [1.0]


def test_units_that_make_nothing_faster_stay(
    network: Path, guiding: Data, ladder: Structures, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = judged(monkeypatch, lambda _: 0.0, ladder.macs(0))
    table = timed(ladder)
    table.models = {name: Timed(100.0, 100.0, 1.0, 1.0, 1.0) for name in table.models}
    assert faster_within(evaluator(network, guiding, table), 0.01).trim is None
    assert asked == [1.0], "a structure that is no faster is not made"


def test_models_that_lack_units_are_repaired_shortly_and_finalists_to_the_end(
    network: Path, guiding: Data, ladder: Structures, monkeypatch: pytest.MonkeyPatch
) -> None:
    repairs: list[tuple[bool, bool]] = []
    monkeypatch.setattr(
        pruner, "apply_plan", lambda _, context: repairs.append((context.options.repair, context.repairs_shortly))
    )
    search_context = evaluator(network, guiding)
    context = dataclasses.replace(search_context.context, options=candidate_options(Options(sparsity=0.0)))
    structures = search_context.structure(0, None), search_context.structure(1, ladder.plan(1))
    finalists = dataclasses.replace(context.options, repair=True)
    for changes in ({}, {"repairs_structures": True}, {"repairs_structures": True, "options": finalists}):
        changed = dataclasses.replace(context, **changes)
        for structure in structures:
            Pruner(changed, context.calibration).applied(structure, 1.0, lambda: IntegerChoice(stay={}))
    assert repairs == [(False, False), (False, False), (False, False), (True, True), (True, False), (True, False)]


def test_units_are_priced_on_the_kernels_that_will_run(network: Path, guiding: Data) -> None:
    names = [layer.name for layer in evaluator(network, guiding).context.selection.layers]
    first, second = names
    kernels = {f"fused {first}": 1.0, second: 2.0, "other": 3.0}
    on_floats = evaluator(network, guiding, TimingTable("made up", kernels))
    assert on_floats.milliseconds() == {**kernels, first: 1.0}, "a layer has the time of what it is fused into"
    on_integers = on_floats.in_form("int8")
    times = {first: LayerTimes(floats=1.0, integers=0.25), second: LayerTimes(floats=2.0, integers=9.0)}
    on_integers.context.choices["int8"] = IntegerChoice(stay={second: "it is faster on floats"}, times=times)
    assert on_integers.milliseconds() == {**kernels, first: 0.25}
    unknown = {first: LayerTimes(floats=1.0, integers=None), second: times[second]}
    on_integers.context.choices["int8"] = IntegerChoice(stay={}, times=unknown)
    assert on_integers.milliseconds() == {**kernels, second: 9.0}, "no time of another kernel stands for it"


def test_two_ladders_do_not_share_what_was_measured(network: Path, guiding: Data, ladder: Structures) -> None:
    search_context = evaluator(network, guiding)
    lower, higher = (search_context.structure(1, ladder.plan(level)) for level in (1, 2))
    assert lower.key != higher.key, "the same step of two ladders may be another structure"
    assert lower.key == search_context.structure(7, ladder.plan(1)).key
    assert search_context.structure(0, None).key == "whole"
