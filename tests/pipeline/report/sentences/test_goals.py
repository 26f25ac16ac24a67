"""What became of the goals, in sentences: the drop and what it promises, times beside what was predicted."""

import dataclasses
from typing import Any

import onnx_ir as ir
import pytest
from searched_models import FAST, labelled, small_network

import netsurgeon
from netsurgeon.pipeline.options.goals import Goals
from netsurgeon.pipeline.profiling.model_profile import Cost, Profile, Timing
from netsurgeon.pipeline.profiling.timing import Ratio, Spread
from netsurgeon.pipeline.profiling.timing_table import Timed
from netsurgeon.pipeline.report.report import Report
from netsurgeon.pipeline.report.sentences.goals import goal_summary, unproven_goal_warning
from netsurgeon.pipeline.search.record import SearchFacts
from netsurgeon.pipeline.verification.measures.confidence import DropEstimate, least_inputs

GUIDE = DropEstimate(measure="top-1", samples=1200, dense=0.9, drop=0.004, low=-0.001, high=0.0123, spread=0.1)
FINAL = DropEstimate(measure="agreement", samples=300, dense=1.0, drop=0.02, low=0.01, high=0.03, spread=0.1)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Report:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    ir.save(small_network(), path)
    options: Any = {**FAST, "max_drop": "10%", "uniform": True}
    return netsurgeon.compress(path, labelled(path, 400, seed=1), **options).report


def facts_of(report: Report) -> SearchFacts:
    assert report.search is not None
    return report.search


def with_search(report: Report, **changes: Any) -> Report:
    return dataclasses.replace(report, search=dataclasses.replace(facts_of(report), **changes))


def test_without_a_search_there_is_nothing_to_say(searched: Report) -> None:
    assert goal_summary(dataclasses.replace(searched, search=None)) == ()


def test_the_goal_the_file_and_both_measurements_are_named(searched: Report) -> None:
    goal, guide, final = goal_summary(with_search(searched, evidence=GUIDE, measured=FINAL, folds=1, proven=True))
    assert goal == f"--max-drop 10%: file {searched.compressed.bytes:,} bytes"
    assert guide == (
        "Drop of top-1 on the 1,200 inputs that guided the search: 0.40%, at most 1.23% with 90 % confidence, within "
        "the goal"
    )
    assert final == ("On the 300 inputs of the final measurement: 2.00%, between 1.00% and 3.00% with 80 % confidence")


@pytest.mark.parametrize(
    ("proven", "end"),
    [(True, "confidence, within the goal"), (False, ", not proven to be within the goal"), (None, "90 % confidence")],
)
def test_what_is_proven_is_said_and_what_is_not(searched: Report, proven: bool | None, end: str) -> None:
    assert goal_summary(with_search(searched, evidence=GUIDE, proven=proven))[1].endswith(end)


def test_models_of_halves_are_called_so(searched: Report) -> None:
    assert "(of two models, each corrected on the half" in goal_summary(with_search(searched, folds=2))[1]


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        ("top-1", "Drop of top-1 on"),
        ("agreement", "Drop of agreement with the dense model on"),
        ("metric", "Drop of the metric on"),
        ("outputs", "Drop of the outputs' energy on"),
    ],
)
def test_every_measure_has_words(searched: Report, measure: Any, words: str) -> None:
    evidence = dataclasses.replace(GUIDE, measure=measure)
    assert goal_summary(with_search(searched, evidence=evidence))[1].startswith(words)


def test_times_stand_beside_what_was_predicted_and_work_where_units_went(searched: Report) -> None:
    spread = Spread(2.0, 1.9, 2.4)
    cost = Cost("a", 10, spread, 1000, 2000, (), ())
    timing = Timing(
        batch=4,
        fed="the data",
        rounds=15,
        model=spread,
        other=dataclasses.replace(spread, median=0.51234),
        speedup=Ratio(3.906, 3.5, 4.1),
    )
    latency = Profile(
        versions={},
        machine="a machine",
        provider="CPUExecutionProvider",
        threads=None,
        optimisation="all",
        model=cost,
        other=cost,
        timings=(timing,),
        notes=(),
    )
    points = tuple(dataclasses.replace(point, macs=123456.0) for point in facts_of(searched).points)
    report = with_search(searched, timed=Timed(2.0, 0.5, 4.0, 3.9, 4.1), points=points, goals=Goals(speedup=3.0))
    (sentence, *_) = goal_summary(dataclasses.replace(report, latency=latency))
    assert sentence.startswith("--speedup 3: file ")
    assert "3.91 times as fast (3.5" in sentence
    assert "0.512 ms a run (4.00 times and 0.5 ms were predicted)" in sentence
    assert sentence.endswith(", 123,456 multiply-adds")
    assert "times as fast" not in goal_summary(report)[0], "nothing was timed in the end"


def test_a_drop_that_is_not_proven_is_a_warning_with_its_figures(searched: Report) -> None:
    goals = Goals(max_drop=0.01)
    facts = dataclasses.replace(facts_of(searched), goals=goals, evidence=GUIDE, proven=False, needed=1234)
    warning = unproven_goal_warning(facts)
    assert warning == (
        "a drop of at most 1.00% is not proven: it was 0.40% on 1,200 guiding inputs, which promise at most 1.23% with "
        "90 % confidence; about 1,234 would prove it"
    )
    assert warning is not None
    assert warning.code == "goal-unproven"
    assert warning.data == {"limit": 0.01, "drop": 0.004, "bound": 0.0123, "samples": 1200, "needed": 1234}


def test_where_no_number_of_inputs_is_known_the_least_is_named(searched: Report) -> None:
    better = dataclasses.replace(GUIDE, high=-0.002)
    facts = dataclasses.replace(
        facts_of(searched), goals=Goals(max_drop=0.01), evidence=better, proven=False, needed=None
    )
    warning = unproven_goal_warning(facts)
    assert warning is not None
    assert warning.endswith(f"{least_inputs(0.01):,} and more could prove it")
    assert "promise at most 0.00%" in warning, "a bound below zero promises no gain"


@pytest.mark.parametrize(
    ("goals", "proven"), [(Goals(max_drop=0.01), True), (Goals(max_size=500), None), (Goals(speedup=2.0), None)]
)
def test_what_is_proven_or_asks_for_no_drop_is_no_warning(searched: Report, goals: Goals, proven: bool | None) -> None:
    assert unproven_goal_warning(dataclasses.replace(facts_of(searched), goals=goals, proven=proven)) is None
