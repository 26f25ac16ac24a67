"""Spots of a run: scores in the unit of their measure, times by how many times faster, and what was given up."""

import dataclasses
import math
from pathlib import Path

import pytest
from report_files import point, searched

from netsurgeon.pipeline.compress import Compression
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.notation import MeasureName
from netsurgeon.pipeline.report.report import Report
from netsurgeon.pipeline.report.spots import check_same_axis, scores, with_common_times
from netsurgeon.pipeline.verification.validation import Scores


@pytest.fixture(scope="module")
def report(delivered: tuple[Path, Compression]) -> Report:
    return delivered[1].report


def judged(report: Report, measure: MeasureName, metric: float | None = None) -> Report:
    side = Scores(None, None, metric)
    validation = dataclasses.replace(report.validation, measure=measure, dense=side, compressed=side)
    return dataclasses.replace(report, validation=validation)


def test_a_run_without_a_search_is_one_spot(report: Report) -> None:
    frontier = report.frontier()
    (spot,) = frontier.spots
    assert (frontier.name, frontier.axis, frontier.goal) == ("small.onnx", "top-1, %", None)
    assert report.validation.dense.top1 is not None
    assert report.validation.compressed.top1 is not None
    assert frontier.dense_score == 100.0 * report.validation.dense.top1
    assert spot.score == 100.0 * report.validation.compressed.top1
    assert spot.low < spot.score <= spot.high <= 100.0
    assert (spot.kind, spot.bytes, spot.milliseconds) == ("delivered", report.compressed.bytes, None)


def test_what_was_tried_is_below_the_dense_model_by_its_drop(report: Report) -> None:
    tried = searched(report, point(9000, 0.02, bits=4.1), point(9500, 0.0, chosen=True, kept=0.71))
    frontier = tried.frontier("a run")
    first, chosen, delivered = frontier.spots
    assert frontier.name == "a run"
    assert frontier.goal == pytest.approx(frontier.dense_score - 1.0)
    assert (first.kind, chosen.kind, delivered.kind) == ("tried", "chosen", "delivered")
    assert first.score == pytest.approx(frontier.dense_score - 2.0)
    assert first.low == pytest.approx(frontier.dense_score - 3.0)
    assert (first.label, chosen.label) == ("4.1 bits, 50% of weights", "71% of weights")
    assert delivered.low == pytest.approx(frontier.dense_score - 1.5)


def test_times_are_by_how_many_times_faster_a_model_was(report: Report) -> None:
    slow = point(9000, 0.0, milliseconds=9.0, speedup=1.6, macs=80.0)
    tried = searched(report, slow, dataclasses.replace(slow, speedup=None, macs=100.0, chosen=True), speedup=2.0)
    frontier = tried.frontier()
    assert frontier.dense_milliseconds == 4.0
    assert [spot.milliseconds for spot in frontier.spots] == [2.5, None, 2.0]
    assert frontier.spots[0].label == "50% of weights, 80% of work"


def test_work_that_can_be_none_is_not_said(report: Report) -> None:
    tried = searched(report, point(9000, 0.0, macs=-1.0), point(9000, 0.0, macs=None))
    assert [spot.label for spot in tried.frontier().spots[:2]] == ["50% of weights"] * 2


def test_runs_of_one_dense_model_share_its_time(report: Report) -> None:
    fast, slow = (searched(report, speedup=speedup).frontier() for speedup in (4.0, 2.0))
    slow = slow.scaled(3.0)
    other = dataclasses.replace(fast, dense_digest="another")
    one, two, three, untimed = with_common_times([fast, slow, other, searched(report, speedup=None).frontier()])
    assert one.dense_milliseconds == two.dense_milliseconds == 8.0
    assert [one.delivered.milliseconds, two.delivered.milliseconds] == [2.0, 4.0]
    assert three == other
    assert untimed.delivered.milliseconds is None


def test_scores_of_every_measure(report: Report) -> None:
    assert scores(judged(report, "metric", 0.25).validation) == (0.25, 0.25)
    assert scores(judged(report, "agreement").validation) == (1.0, report.validation.agreement)
    dense, kept = scores(judged(report, "outputs").validation)
    (output,) = report.validation.outputs
    assert dense == 1.0
    assert kept == pytest.approx(1.0 - output.relative_error**2)
    assert all(map(math.isnan, scores(judged(report, "metric").validation)))
    assert judged(report, "metric", 3.5).frontier().dense_score == 3.5


def test_runs_of_different_measures_are_not_drawn_together(report: Report) -> None:
    check_same_axis([report.frontier(), report.frontier()])
    with pytest.raises(InputError, match=r"small\.onnx by top-1 and other by metric: draw them apart"):
        check_same_axis([report.frontier(), judged(report, "metric", 1.0).frontier("other")])
