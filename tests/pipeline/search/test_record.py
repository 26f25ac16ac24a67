"""What a search has tried is in the report, by its schema, and on the page."""

import json
from pathlib import Path

import jsonschema
import pytest

import netsurgeon
from netsurgeon.pipeline.profiling.timing_table import TimingTable
from netsurgeon.pipeline.report.report import Report
from netsurgeon.pipeline.result import as_json


def test_the_report_keeps_to_the_schema_and_the_page_shows_what_was_tried(report: Report, page: Path) -> None:
    jsonschema.Draft202012Validator(netsurgeon.report_schema()).validate(json.loads(as_json(report)))
    text = page.read_text("utf-8")
    assert "What was tried" in text
    assert "<dc:title>" not in text
    assert text.count("candidate") >= len([each for each in report.search.points if each.kind == "candidate"])  # type: ignore[union-attr]


def test_exactly_one_point_is_chosen_and_it_is_the_one_that_is_delivered(report: Report) -> None:
    points = json.loads(as_json(report))["search"]["points"]
    (delivered_point,) = [point for point in points if point["chosen"]]
    assert delivered_point["kind"] == "candidate"
    assert delivered_point["bytes"] == report.compressed.bytes
    rehearsals = [point for point in points if point["kind"] == "rehearsal"]
    assert rehearsals
    assert all(point["bytes"] is None for point in rehearsals), "none was written"
    kinds = [point["kind"] for point in points]
    assert kinds == sorted(kinds, reverse=True), "rehearsals come before candidates"


@pytest.mark.parametrize("field", ["milliseconds", "speedup", "macs"])
def test_what_was_not_looked_at_is_null(field: str, report: Report) -> None:
    values = json.loads(as_json(report))["search"]
    assert {point[field] for point in values["points"]} == {None}
    assert values["timed"] is None


def test_the_times_in_a_report_can_be_read_back(report: Report, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(as_json(report), "utf-8")
    assert TimingTable.read(tmp_path / "report.json") == report.timings == TimingTable()
