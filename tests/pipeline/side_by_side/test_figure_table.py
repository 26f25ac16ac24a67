"""The figures of runs: what was measured, as numbers to sort by and as texts."""

import dataclasses
import math
from pathlib import Path

import pytest
from report_files import searched, smaller

from netsurgeon.pipeline.compress import Compression
from netsurgeon.pipeline.report.report import Report
from netsurgeon.pipeline.side_by_side import Figure, Run, dense_figures, figures, name_apart, name_by_files, run_of
from netsurgeon.pipeline.verification.validation import Scores


@pytest.fixture(scope="module")
def report(delivered: tuple[Path, Compression]) -> Report:
    return delivered[1].report


def by_title(*runs: Run) -> dict[str, Figure]:
    return {figure.title: figure for figure in figures(runs)}


def test_each_run_has_its_own_figures(report: Report) -> None:
    half = smaller(report, report.compressed.bytes // 2)
    found = by_title(run_of(report, "a"), run_of(searched(half, speedup=2.5), "b"))
    assert found["bytes"].values == (report.compressed.bytes, report.compressed.bytes // 2)
    assert found["bytes"].texts[0] == f"{report.compressed.bytes:,}"
    assert found["smaller"].texts == (f"÷ {report.ratio:.2f}", f"÷ {half.ratio:.2f}")
    assert report.validation.compressed.top1 is not None
    assert found["top-1"].texts[0] == f"{report.validation.compressed.top1:.2%}"
    assert found["at most"].texts[1] == "+1.50", "the search's own measurement"
    assert found["faster"].values == (None, 2.5)
    assert found["ms a run"].texts == ("", "1.6")
    assert found["weights that are zero"].texts[0] == f"{100 * report.sparsity:.1f}%"
    assert found["bytes"].is_counted
    assert not found["top-1"].is_counted


def test_what_no_run_has_is_no_column(report: Report) -> None:
    assert {"ms a run", "faster"}.isdisjoint(by_title(run_of(report, "a")))
    bare = dataclasses.replace(run_of(report, "a"), report=None)
    assert {"weights that are zero", "seconds"}.isdisjoint(by_title(bare))


def judged(report: Report, metric: float) -> Run:
    side = Scores(None, None, metric)
    validation = dataclasses.replace(report.validation, measure="metric", dense=side, compressed=side)
    return run_of(dataclasses.replace(report, validation=validation), "metric")


def test_a_metric_is_in_its_own_unit_and_mixed_measures_are_scores(report: Report) -> None:
    found = by_title(judged(report, 12.5))
    assert found["metric"].texts == ("12.5",)
    assert found["lost"].texts == ("+0",)
    assert "score" in by_title(judged(report, 0.5), run_of(report, "a"))
    assert by_title(judged(report, math.nan)).keys().isdisjoint({"metric", "lost"})


def test_the_dense_model_in_a_few_words(report: Report) -> None:
    assert report.validation.dense.top1 is not None
    top1 = f"{report.validation.dense.top1:.2%}"
    assert dense_figures(run_of(report, "a")) == f"digits.onnx has {report.dense.bytes:,} bytes, top-1 {top1}"
    assert dense_figures(judged(report, 12.5)).endswith(" bytes, metric 12.5")


def test_names_that_are_there_twice_get_numbers() -> None:
    assert name_apart(["a", "b", "a"]) == ["a (1)", "b", "a (2)"]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["one.json", "runs/two.json"], ["one", "two"]),
        (["a/report.json", "b/report.json", "c.json"], ["a", "b", "c"]),
        (["/runs/a/out/report.json", "/runs/b/out/report.json"], ["a", "b"]),
        (["x/1/report.json", "x/2/report.json", "y/1/report.json"], ["x/1", "x/2", "y/1"]),
        (["report.json", "a/report.json"], ["report", "a/report"]),
        (["a/report.json", "a/b/report.json"], ["report", "b/report"]),
        (["report.json", "report/report.json"], ["report", "report/report"]),
        (["a/../report.json", "report.json"], ["report (1)", "report (2)"]),
        (["a/report.json", "a/report.json", "b/report.json"], ["a (1)", "a (2)", "b"]),
        (["a/report.json", "b/report.json", "a.json"], ["a (1)", "b", "a (2)"]),
        (["lone/report.json"], ["report"]),
    ],
)
def test_files_of_one_name_go_by_the_folders_that_differ(files: list[str], names: list[str]) -> None:
    assert name_by_files([Path(file) for file in files]) == names
