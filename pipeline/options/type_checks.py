"""Check the fields of a dataclass by their annotations: a wrong type is told where it is given."""

from __future__ import annotations

import dataclasses
import numbers
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from netsurgeon.pipeline.errors import InputError

_ABSTRACT: dict[Any, tuple[type, ...]] = {
    float: (numbers.Real,),
    int: (numbers.Integral,),
    bool: (bool, np.bool_),
    tuple: (tuple, list),
}
"""What is taken for an annotation: numpy's numbers for Python's, a list for a tuple."""
_WORDS = {
    float: "a number",
    int: "a whole number",
    str: "a string",
    bool: "True or False",
    types.NoneType: "None",
    tuple: "a tuple of strings",
    Mapping: "a mapping from strings to numbers",
    Callable: "a function",
}


def check_types(instance: Any) -> None:
    """Check every field of a dataclass instance.

    Raises:
        InputError: a value is not of the type that its field is annotated with.
    """
    hints = typing.get_type_hints(type(instance))
    for field in dataclasses.fields(instance):
        value, hint = getattr(instance, field.name), hints[field.name]
        if not _fits(value, hint):
            raise InputError(f"{field.name} is {value!r}, expected {_in_words(hint)}")


def _fits(value: Any, hint: Any) -> bool:
    kind, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if (isinstance(value, bool) and kind is not bool) or not isinstance(value, _ABSTRACT.get(kind, (kind,))):
        return False
    if kind is tuple:
        return all(_fits(entry, parts[0]) for entry in value)
    if kind is Mapping:
        return all(_fits(key, parts[0]) and _fits(entry, parts[1]) for key, entry in value.items())
    return True


def _in_words(hint: Any) -> str:
    kind = typing.get_origin(hint) or hint
    if kind in (typing.Union, types.UnionType):
        return " or ".join(_in_words(part) for part in typing.get_args(hint))
    return _WORDS.get(kind) or f"a {kind.__module__.split('.')[0]}.{kind.__name__}"
