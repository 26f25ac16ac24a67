"""Figures as people read them: what kind of inputs they are of, and dense against compressed."""

import dataclasses

import pytest
from perceptron_models import UNIFORM, inputs, perceptron
from report_files import smaller

from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.report.format import comparison_rows, inputs_measured
from netsurgeon.pipeline.report.report import Report


@pytest.fixture(scope="module")
def report() -> Report:
    return compress(perceptron(), inputs(), sparsity=0.5, **UNIFORM).report


@pytest.mark.parametrize(
    ("folds", "held_out", "words"),
    [
        (1, True, "inputs that calibration never saw"),
        (1, False, "calibration inputs: none were held out"),
        (2, True, "inputs, each half by a model corrected on the other half; the delivered model is corrected on both"),
    ],
)
def test_inputs_are_said_for_what_they_are(report: Report, folds: int, held_out: bool, words: str) -> None:
    validation = dataclasses.replace(report.validation, folds=folds, held_out=held_out)
    assert inputs_measured(validation) == words


def test_sizes_are_compared_by_how_many_times_smaller_they_are(report: Report) -> None:
    small = smaller(report, report.dense.bytes // 4)
    rows = {row[0]: row[1:] for row in comparison_rows(small.dense, small.compressed, small.validation)}
    times = small.dense.bytes / small.compressed.bytes
    assert rows["file, bytes"] == (f"{small.dense.bytes:,}", f"{small.compressed.bytes:,}", f"÷ {times:.2f}")
    assert "multiply-adds" not in rows
    assert rows["opset"] == (str(small.dense.opset), str(small.compressed.opset), "")


def test_what_was_not_measured_has_no_row(report: Report) -> None:
    dense = dataclasses.replace(report.dense, gzip_bytes=None)
    names = [row[0] for row in comparison_rows(dense, report.compressed, report.validation, macs=(200.0, 50.0))]
    assert "file after gzip, bytes" not in names
    rows = comparison_rows(dense, report.compressed, report.validation, macs=(200.0, 50.0))
    assert next(row for row in rows if row[0] == "multiply-adds") == ("multiply-adds", "200", "50", "÷ 4.00")
    unknown = comparison_rows(dense, report.compressed, report.validation, macs=(0.0, 0.0))
    assert "multiply-adds" not in {row[0] for row in unknown}, "of a model whose work lies in bodies"
