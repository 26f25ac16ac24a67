"""Reports come back as they were written; what is none ends in one sentence that says where."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
from report_files import point, searched, written

from netsurgeon.pipeline.compress import Compression
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.report.report import Report
from netsurgeon.pipeline.side_by_side import read_report, render_runs, run_of


@pytest.fixture(scope="module")
def report(delivered: tuple[Path, Compression]) -> Report:
    return searched(delivered[1].report, point(9000, 0.01), point(9500, 0.0, chosen=True))


@pytest.fixture
def document(report: Report) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(report.to_json())
    return values


def refusal(values: Any, folder: Path) -> str:
    path = folder / "report.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values), "utf-8")
    with pytest.raises(InputError) as error:
        read_report(path)
    return str(error.value).removeprefix(f"{path} is not a report of compress: ")


def test_a_report_comes_back_as_it_was_written(report: Report, tmp_path: Path) -> None:
    found = read_report(written(report, tmp_path / "report.json"))
    assert found.to_json() == report.to_json()
    assert found.layers == report.layers
    assert found.search == report.search
    assert [warning.code for warning in found.warnings] == [warning.code for warning in report.warnings]
    assert found.frontier() == report.frontier()


def test_the_error_bound_of_a_deep_network_is_large(document: dict[str, Any], tmp_path: Path) -> None:
    document["bound"]["outputs"][0]["bound"] = 3.1e25
    path = tmp_path / "report.json"
    path.write_text(json.dumps(document))
    report = read_report(path)
    assert report.bound is not None
    assert report.bound.outputs[0].bound == 3.1e25


def test_fields_of_other_versions_are_left_out_or_filled_in(document: dict[str, Any], tmp_path: Path) -> None:
    del document["latency"], document["validation"]["folds"]
    document["from_the_future"] = {"a": 1}
    path = tmp_path / "report.json"
    path.write_text(json.dumps(document))
    report = read_report(path)
    assert report.latency is None
    assert report.validation.folds == 1


def test_what_is_no_report_is_told_where(document: dict[str, Any], tmp_path: Path) -> None:
    def changed(*place: Any, to: Any) -> str:
        values = copy.deepcopy(document)
        inner = values
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = to
        return refusal(values, tmp_path)

    assert changed("schema", to=1).startswith("its form is 1, expected 2; write one with --report")
    assert changed("dense", "bytes", to="many").startswith('dense.bytes is "many", expected a whole number')
    assert changed("dense", "bytes", to=True).startswith("dense.bytes is true, expected a whole number")
    assert changed("compressed", "bytes", to=0).startswith("compressed.bytes is 0, expected 1 or more")
    assert changed("layers", 1, "weights", to=-3).startswith("layers[1].weights is -3, expected 1 or more")
    assert changed("layers", 0, "shape", to=[1, 2]).startswith("layers[0].shape has 2 entries, expected 3")
    assert changed("layers", to=3).startswith("layers is 3, expected a list")
    assert changed("dense", to=[1]).startswith("dense is a list, expected an object")
    assert changed("search", "points", 0, "drop", to="x").startswith('search.points[0].drop is "x", expected a number')
    assert changed("search", "points", 0, "bytes", to=10**30).startswith("search.points[0].bytes is a huge number")
    assert "expected one of top-1" in changed("validation", "measure", to="luck")
    assert changed("warnings", to=[{"text": "a"}]).startswith("warnings[0] is an object, expected a code and a text")
    assert "does not know" in changed("warnings", to=[{"text": "a", "code": "never-heard-of"}])
    assert changed("seconds", to={"open": "x" * 99}).startswith(f'seconds.open is "{"x" * 38}…, expected a number')
    del document["layers"]
    assert refusal(document, tmp_path).startswith("it has no field 'layers'")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"a": 1}', "[" * 100_000, '{"schema": ' + "9" * 5000 + "}", "\ud800"]
)
def test_what_is_no_json_of_ours_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match="is not a report of compress: "):
        read_report(path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"report\.json cannot be read: No such file"):
        read_report(tmp_path / "report.json")


def places(values: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    inner = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [place, *(found for key, entry in inner for found in places(entry, (*place, key)))]


@pytest.mark.parametrize(
    "value", [None, -1, 0, 1e140, 1e308, 10**40, "", "x", True, [], {}, [[]], {"a": None}], ids=repr
)
def test_any_value_anywhere_ends_in_a_page_or_in_one_sentence(
    document: dict[str, Any], tmp_path: Path, value: Any
) -> None:
    chosen = random.Random(0).sample([place for place in places(document) if place], 40)
    refused = 0
    for place in chosen:
        values = copy.deepcopy(document)
        inner = values
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        path = tmp_path / "report.json"
        path.write_text(json.dumps(values))
        try:
            report = read_report(path)
        except InputError as error:
            refused += "\n" not in str(error)
            continue
        if place[:2] in (("search", "points"), ("search", "measured"), ("validation", "dense")) or place[0] == "layers":
            assert "<svg" in render_runs([run_of(report, "a"), run_of(report, "b")])
    assert refused
