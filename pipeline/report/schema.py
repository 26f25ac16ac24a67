"""The JSON schema (2020-12) of the report, made from its dataclasses: types from annotations, texts from docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.options import attribute_texts
from netsurgeon.pipeline.report.report import Report
from netsurgeon.pipeline.result import SCHEMA

Schema = dict[str, Any]

_HEAD: Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": f"urn:netsurgeon:report:{SCHEMA}",
    "title": "Report of netsurgeon compress",
    "description": "Written by compress --report x.json and --json. Numbers that are not finite are null.",
}
_VERSION: Schema = {"const": SCHEMA, "description": "version of this form."}
_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": ["number", "null"]},
    types.NoneType: {"type": "null"},
    Any: {},
}
_MESSAGE: Schema = {
    "type": "object",
    "description": "A sentence for people with a code and its data for programs.",
    "properties": {
        "code": {"type": "string", "description": "what it is about: see docs/messages.md."},
        "text": {"type": "string", "description": "the sentence."},
    },
    "required": ["code", "text"],
    "additionalProperties": {},
}


def report_schema() -> Schema:
    """The JSON schema (2020-12) that the report's JSON keeps to."""
    definitions = _Definitions()
    report = definitions.record(Report)
    properties = {"schema": _VERSION, **report["properties"]}
    return {
        **report,
        **_HEAD,
        "properties": properties,
        "required": list(properties),
        "$defs": {name: definitions.schemas[name] for name in sorted(definitions.schemas)},
    }


class _Definitions:
    """Schemas of dataclasses, each under its name, made when a field of that type is met.

    Attributes:
        schemas: by name.
    """

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}
        self._types: dict[str, type] = {}

    def record(self, record: type) -> Schema:
        """An object with the fields of a dataclass and the properties that its JSON has besides, all of them there."""
        hints, texts = get_type_hints(record), _attribute_texts(record)
        properties = {
            field.name: _with_text(self.of(hints[field.name]), _in_json(texts.get(field.name, "")))
            for field in dataclasses.fields(record)
        }
        for name in getattr(record, "json_properties", ()):
            getter = getattr(record, name).fget
            properties[name] = _with_text(self.of(get_type_hints(getter)["return"]), _summary(getter))
        described = _with_text({"type": "object"}, _summary(record))
        return {**described, "properties": properties, "required": list(properties), "additionalProperties": False}

    def of(self, annotation: Any) -> Schema:
        """The schema of a type.

        Raises:
            TypeError: no JSON form is known for it.
            ValueError: two dataclasses have the same name.
        """
        if annotation in _PLAIN:
            return _PLAIN[annotation]
        if isinstance(annotation, type) and (annotation is Message or dataclasses.is_dataclass(annotation)):
            return self._reference(annotation)
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Literal:
            return {"enum": list(arguments)}
        if origin in (Union, types.UnionType):
            return _any_of(map(self.of, arguments))
        if origin is tuple and arguments[1:] != (...,):
            items = [self.of(argument) for argument in arguments]
            return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
        if origin in (tuple, list):
            return {"type": "array", "items": self.of(arguments[0])}
        if origin in (dict, Mapping) and arguments[0] is str:
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        raise TypeError(f"no JSON form is known for {annotation}: add it to {__name__}")

    def _reference(self, record: type) -> Schema:
        name = record.__name__
        if self._types.setdefault(name, record) is not record:
            raise ValueError(f"{record} and {self._types[name]} have the same name: rename one of them")
        if name not in self.schemas:
            self.schemas[name] = {}  # known from here on: a record may hold others of its kind
            self.schemas[name] = _MESSAGE if record is Message else self.record(record)
        return {"$ref": f"#/$defs/{name}"}


def _attribute_texts(record: type) -> dict[str, str]:
    """What the docstrings of a dataclass and of those it extends say of each field."""
    return {name: text for kind in reversed(record.__mro__) for name, text in attribute_texts(kind).items()}


def _summary(documented: Any) -> str:
    """The first paragraph of a docstring; nothing where there is none but what dataclasses write by themselves."""
    text = documented.__doc__ or ""
    if text.startswith(f"{documented.__name__}("):
        return ""
    return _in_json(" ".join(inspect.cleandoc(text).partition("\n\n")[0].split()))


def _in_json(text: str) -> str:
    return re.sub(r"\bNone\b", "null", text).replace("`", "")


def _with_text(schema: Schema, text: str) -> Schema:
    return {**schema, "description": text} if text else schema


def _any_of(alternatives: Iterable[Schema]) -> Schema:
    """One of several; types alone are listed side by side."""
    schemas = list(alternatives)
    if any(schema.keys() != {"type"} for schema in schemas):
        return {"anyOf": schemas}
    names = [schema["type"] if isinstance(schema["type"], list) else [schema["type"]] for schema in schemas]
    return {"type": list(dict.fromkeys(name for several in names for name in several))}
