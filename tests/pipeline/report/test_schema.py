"""The report's JSON schema is made from its dataclasses: it takes every report, and nothing but whole reports."""

import copy
import dataclasses
import json
import runpy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import jsonschema
import pytest
from short_timing import time_for_a_moment

import netsurgeon
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.options import Goals
from netsurgeon.pipeline.profiling import Timed, TimingTable
from netsurgeon.pipeline.report import Report
from netsurgeon.pipeline.report.schema import _Definitions, report_schema
from netsurgeon.pipeline.result import SCHEMA, as_json
from netsurgeon.pipeline.search.record import Point, SearchFacts
from netsurgeon.pipeline.verification import DropEstimate

ROOT = Path(__file__).parent.parent.parent.parent
DIGITS = ROOT / "models" / "digits"
OPTIONS: Any = {"method": "magnitude", "uniform": True, "limit": 64}
SCHEMA_FILE = ROOT / "pipeline" / "report" / "schemas" / f"report-{SCHEMA}.json"

OPEN = {("options",), ("versions",), ("seconds",), ("facts",), ("nodes",), ("nodes_of",), ("models",)}
"""Fields that hold an object with any keys."""

Place = tuple[str | int, ...]


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    """Of the digits network: with all that a report can hold, and with as little as it can."""
    data = DIGITS / "calibration.npz"
    with pytest.MonkeyPatch.context() as patch:
        time_for_a_moment(patch)
        more: Any = {"test": DIGITS / "test.npz", "trim": 0.2, "sparsity": 0.5, "profile": True, **OPTIONS}
        full = netsurgeon.compress(DIGITS / "digits.onnx", data, **more).report
    plain = netsurgeon.compress(DIGITS / "digits.onnx", data, sparsity=0.5, keep_unread=True, **OPTIONS).report
    search, timed = search_facts(full), Timed(2.0, 1.0, 2.0, 1.9, 2.1)
    table = TimingTable("a machine", {"conv": 0.5}, {"dense": timed}, {"dense": {"conv": 0.25}})
    return {"full": dataclasses.replace(full, search=search, timings=table), "plain": plain}


def search_facts(report: Report) -> SearchFacts:
    """What a search would have found; real ones are held against the schema in tests/pipeline/search."""
    timed, drop = (
        Timed(2.0, 1.0, 2.0, 1.9, 2.1),
        DropEstimate(measure="top-1", samples=40, dense=0.9, drop=0.01, low=0.0, high=0.02, spread=0.1),
    )
    return SearchFacts(
        goals=Goals(max_drop=0.02, latency=1.5),
        guide=report.calibration,
        folds=1,
        evidence=drop,
        form="codebook",
        proven=True,
        needed=None,
        measured=drop,
        timed=timed,
        points=(
            Point(
                kind="candidate",
                macs=1000.0,
                milliseconds=1.0,
                speedup=2.0,
                kept=0.5,
                bytes=9000,
                drop=0.01,
                bound=0.02,
                chosen=True,
            ),
        ),
    )


def problems(values: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(report_schema())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(values)]


def test_the_schema_is_a_schema_of_the_form_that_reports_name() -> None:
    made = report_schema()
    jsonschema.Draft202012Validator.check_schema(made)
    assert made["properties"]["schema"]["const"] == SCHEMA
    assert made["$id"] == f"urn:netsurgeon:report:{SCHEMA}"
    assert netsurgeon.report_schema() == made


def test_the_shipped_file_is_up_to_date() -> None:
    text = runpy.run_path(str(ROOT / "docs" / "report_schema.py"))["schema_text"]()
    assert SCHEMA_FILE.read_text("utf-8") == text, f"{SCHEMA_FILE} is stale: run make schema"


def test_reports_keep_to_the_schema(reports: dict[str, Report]) -> None:
    full, plain = reports["full"], reports["plain"]
    assert None not in (full.latency, full.search, full.trim, full.test)
    assert (plain.latency, plain.search, plain.trim, plain.test) == (None, None, None, None)
    assert problems(json.loads(as_json(full))) == []
    assert problems(json.loads(as_json(plain))) == []


def test_what_is_not_finite_is_null_and_may_be(reports: dict[str, Report]) -> None:
    validation = reports["plain"].validation
    outputs = (dataclasses.replace(validation.outputs[0], snr_db=float("inf"), relative_error=float("nan")),)
    report = dataclasses.replace(reports["plain"], validation=dataclasses.replace(validation, outputs=outputs))
    values = json.loads(as_json(report))
    output = values["validation"]["outputs"][0]
    assert (output["snr_db"], output["relative_error"]) == (None, None)
    assert problems(values) == []


def closed_objects(values: Any, place: Place = ()) -> Iterator[Place]:
    """Where in a report an object lies whose fields are fixed; of the entries of a list the first."""
    if isinstance(values, dict) and place[-1:] not in OPEN:
        yield place
        for key, entry in values.items():
            yield from closed_objects(entry, (*place, key))
    elif isinstance(values, list) and values:
        yield from closed_objects(values[0], (*place, 0))


def at(values: Any, place: Place) -> Any:
    for key in place:
        values = values[key]
    return values


def test_a_missing_and_an_unknown_field_are_refused_wherever_they_are(reports: dict[str, Report]) -> None:
    values = json.loads(as_json(reports["full"]))
    validator = jsonschema.Draft202012Validator(report_schema())
    places = list(closed_objects(values))
    assert {(), ("layers", 0), ("trim", "groups", 0), ("latency", "timings", 0, "speedup")} <= {*places}
    for place in places:
        is_message = {"code", "text"} <= at(values, place).keys()
        for name in ("code", "text") if is_message else at(values, place):
            without = copy.deepcopy(values)
            del at(without, place)[name]
            assert not validator.is_valid(without), f"{name!r} may be missing at {place}"
        more = copy.deepcopy(values)
        at(more, place)["extra"] = 1
        assert validator.is_valid(more) == is_message, f"at {place}"


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"schema": SCHEMA - 1}, "$.schema"),
        ({"ratio": "6"}, "$.ratio"),
        ({"peak_bytes": 1.5}, "$.peak_bytes"),
        ({"dense": None}, "$.dense"),
        ({"notes": ["a sentence alone"]}, "$.notes[0]"),
        ({"on_the_cpu": [1]}, "$.on_the_cpu[0]"),
        ({"seconds": {"profile": "long"}}, "$.seconds.profile"),
    ],
)
def test_what_has_another_type_is_refused(changes: Any, place: str, reports: dict[str, Report]) -> None:
    (problem,) = problems({**json.loads(as_json(reports["plain"])), **changes})
    assert problem.startswith(f"{place}: ")


def test_the_shape_of_a_layer_has_three_numbers(reports: dict[str, Report]) -> None:
    values = json.loads(as_json(reports["plain"]))
    values["layers"][0]["shape"].append(1)
    (problem,) = problems(values)
    assert problem.startswith("$.layers[0].shape: ")


def test_every_field_is_described() -> None:
    made = report_schema()
    records = {"Report": made, **made["$defs"]}
    missing = [
        f"{record}.{name}"
        for record, definition in records.items()
        for name, described in definition["properties"].items()
        if not described.get("description")
    ]
    assert not missing, "each needs a line under Attributes in the docstring of its class"
    assert all(definition["description"] for definition in records.values())


@dataclasses.dataclass
class Leaf:
    """Ends a branch."""

    name: str


@dataclasses.dataclass
class Tree:
    """A record with one field
    of each kind.

    Attributes:
        color: what `Leaf` it has,
            or None: neither is
            a color.
        width: in metres.

    More text: not an attribute.
    """

    json_properties: ClassVar[tuple[str, ...]] = ("area",)

    color: Literal["red", "green"] | None
    width: float | None
    size: tuple[int, float]
    leaves: tuple[Leaf, ...]
    best: Leaf | None
    parent: "Tree | None"
    by_name: Mapping[str, int]
    anything: dict[str, Any]
    message: Message

    @property
    def area(self) -> int:
        """In square metres; None never."""
        return 1


@pytest.fixture
def tree() -> dict[str, Any]:
    """The schema of `Tree`, its area among the fields."""
    definitions = _Definitions()
    assert definitions.of(Tree) == {"$ref": "#/$defs/Tree"}
    assert set(definitions.schemas) == {"Tree", "Leaf", "Message"}
    return definitions.schemas["Tree"]


def test_types_become_those_of_json(tree: dict[str, Any]) -> None:
    leaf, itself = {"$ref": "#/$defs/Leaf"}, {"$ref": "#/$defs/Tree"}
    sizes: Any = [{"type": "integer"}, {"type": ["number", "null"]}]
    assert tree["properties"] == {
        "color": {
            "anyOf": [{"enum": ["red", "green"]}, {"type": "null"}],
            "description": "what Leaf it has, or null: neither is a color.",
        },
        "width": {"type": ["number", "null"], "description": "in metres."},
        "size": {"type": "array", "prefixItems": sizes, "minItems": 2, "maxItems": 2},
        "leaves": {"type": "array", "items": leaf},
        "best": {"anyOf": [leaf, {"type": "null"}]},
        "parent": {"anyOf": [itself, {"type": "null"}]},
        "by_name": {"type": "object", "additionalProperties": {"type": "integer"}},
        "anything": {"type": "object", "additionalProperties": {}},
        "message": {"$ref": "#/$defs/Message"},
        "area": {"type": "integer", "description": "In square metres; null never."},
    }


def test_every_field_is_required_and_no_other_allowed(tree: dict[str, Any]) -> None:
    assert tree["required"] == [*(field.name for field in dataclasses.fields(Tree)), "area"]
    assert tree["additionalProperties"] is False
    assert tree["description"] == "A record with one field of each kind."


def test_a_dataclass_without_a_docstring_has_no_description() -> None:
    bare = dataclasses.make_dataclass("Bare", [("name", str)])
    definition = _Definitions().record(bare)
    assert "description" not in definition
    assert definition["properties"] == {"name": {"type": "string"}}


@pytest.mark.parametrize("annotation", [Path, set[str], dict[int, str], complex | None])
def test_a_type_without_a_json_form_is_refused(annotation: Any) -> None:
    with pytest.raises(TypeError, match="no JSON form is known for"):
        _Definitions().of(annotation)


def test_two_records_of_one_name_are_refused() -> None:
    definitions = _Definitions()
    definitions.of(Leaf)
    with pytest.raises(ValueError, match="have the same name: rename one of them"):
        definitions.of(dataclasses.make_dataclass("Leaf", [("name", str)]))
