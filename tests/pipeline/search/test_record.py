"""What a search has tried is in the report, by its schema, and on the page."""

import json
from pathlib import Path

import jsonschema

import netsurgeon
from netsurgeon.pipeline.report.report import Report, as_json


def test_the_report_keeps_to_the_schema_and_the_page_shows_what_was_tried(report: Report, page: Path) -> None:
    jsonschema.Draft202012Validator(netsurgeon.report_schema()).validate(json.loads(as_json(report)))
    text = page.read_text("utf-8")
    assert "What was tried" in text
    assert "<dc:title>" not in text
    assert text.count("candidate") >= len([each for each in report.search.points if each.kind == "candidate"])  # type: ignore[union-attr]
