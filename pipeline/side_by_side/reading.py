"""Reports read back from JSON, which anybody can have written: every value is held to the type of its field."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from netsurgeon.pipeline.data import read_text
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.report import Report
from netsurgeon.pipeline.result import SCHEMA

LARGEST = 1 << 62
"""No count of a report is larger."""
LARGEST_MEASURE = 1e150
"""No other number is larger: charts could not hold its square. Error bounds of deep networks have reached 10²⁵."""


class _UnfitError(ValueError):
    """A value is not what its field holds; the message says which, what it is, and what was expected."""


def read_report(path: str | os.PathLike[str]) -> Report:
    """The report that `compress` has written as JSON.

    Raises:
        InputError: the file cannot be read, or holds no such report.
    """
    try:
        document = json.loads(read_text(Path(path)))
        return _report(document)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, _UnfitError) else f"it is not JSON ({type(error).__name__})"
        raise InputError(f"{path} is not a report of compress: {why}; write one with --report report.json") from error


def _report(document: Any) -> Report:
    """A report from JSON values.

    Raises:
        _UnfitError: it is none.
    """
    if not isinstance(document, dict) or "schema" not in document:
        raise _UnfitError("it has no field 'schema'")
    if document["schema"] != SCHEMA:
        raise _UnfitError(f"its form is {_shown(document['schema'])}, expected {SCHEMA}")
    report: Report = _record(Report, document, "")
    counts = [
        (facts.bytes, f"{name}.bytes") for name, facts in (("dense", report.dense), ("compressed", report.compressed))
    ]
    counts += [(layer.weights, f"layers[{at}].weights") for at, layer in enumerate(report.layers)]
    for count, place in counts:
        if count < 1:
            raise _UnfitError(f"{place} is {count}, expected 1 or more")
    return report


def _record(record: type, values: Any, place: str) -> Any:
    """A dataclass from a JSON object; what earlier versions had no field for takes the field's default, or is None."""
    if not isinstance(values, dict):
        raise _UnfitError(f"{place or 'it'} is {_shown(values)}, expected an object")
    hints = get_type_hints(record)
    arguments = {}
    for field in dataclasses.fields(record):
        where = f"{place}.{field.name}" if place else field.name
        if field.name in values:
            arguments[field.name] = _value(hints[field.name], values[field.name], where)
        elif types.NoneType in get_args(hints[field.name]):
            arguments[field.name] = None
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise _UnfitError(f"it has no field {where!r}")
    return record(**arguments)


def _value(annotation: Any, value: Any, place: str) -> Any:
    """A value of an annotated type; the types are those of the schema (see `report.schema`)."""
    if annotation is Any:
        return value
    if annotation is float:
        return math.nan if value is None else float(_plain(float, value, place))
    if annotation is Message:
        return _message(value, place)
    if isinstance(annotation, type) and get_origin(annotation) is None:
        is_record = dataclasses.is_dataclass(annotation)
        return _record(annotation, value, place) if is_record else _plain(annotation, value, place)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        if not isinstance(value, str) or value not in arguments:
            raise _UnfitError(f"{place} is {_shown(value)}, expected one of {', '.join(map(str, arguments))}")
        return value
    if origin in (Union, types.UnionType):
        return _one_of(arguments, value, place)
    if origin in (tuple, list):
        return _sequence(origin, arguments, value, place)
    if not isinstance(value, dict):
        raise _UnfitError(f"{place} is {_shown(value)}, expected an object")
    return {key: _value(arguments[1], entry, f"{place}.{key}") for key, entry in value.items()}


def _plain(kind: type, value: Any, place: str) -> Any:
    expected: tuple[type, ...] = (int, float) if kind is float else (kind,)
    if not isinstance(value, expected) or (isinstance(value, bool) and kind is not bool):
        words = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}
        raise _UnfitError(f"{place} is {_shown(value)}, expected {words.get(kind, 'null')}")
    largest = LARGEST if isinstance(value, int) else LARGEST_MEASURE
    if isinstance(value, int | float) and not -largest < value < largest:
        raise _UnfitError(f"{place} is {_shown(value)}, which is beyond all measure")
    return value


def _one_of(annotations: tuple[Any, ...], value: Any, place: str) -> Any:
    """The first type that the value fits; null is None wherever that may be."""
    if value is None and types.NoneType in annotations:
        return None
    fits = [annotation for annotation in annotations if annotation is not types.NoneType]
    for annotation in fits[:-1]:
        try:
            return _value(annotation, value, place)
        except _UnfitError:
            continue
    return _value(fits[-1], value, place)


def _sequence(kind: type, arguments: tuple[Any, ...], value: Any, place: str) -> Any:
    if not isinstance(value, list):
        raise _UnfitError(f"{place} is {_shown(value)}, expected a list")
    is_of_any_length = kind is list or arguments[1:] == (...,)
    if not is_of_any_length and len(value) != len(arguments):
        raise _UnfitError(f"{place} has {counted(len(value), 'entry', 'entries')}, expected {len(arguments)}")
    annotations = [arguments[0]] * len(value) if is_of_any_length else arguments
    return kind(
        _value(annotation, entry, f"{place}[{at}]")
        for at, (annotation, entry) in enumerate(zip(annotations, value, strict=True))
    )


def _message(value: Any, place: str) -> Message:
    if not isinstance(value, Mapping) or not all(isinstance(value.get(key), str) for key in ("code", "text")):
        raise _UnfitError(f"{place} is {_shown(value)}, expected a code and a text")
    try:
        return Message.from_json(value)
    except ValueError as error:
        raise _UnfitError(f"{place} has the code {_shown(value['code'])}, which this version does not know") from error


def _shown(value: Any) -> str:
    """A value in a sentence, shortened."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value) if not isinstance(value, int) or -LARGEST < value < LARGEST else "a huge number"
    return text if len(text) <= 40 else f"{text[:39]}…"
