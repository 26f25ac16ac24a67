"""Recipes: the options of `compress` in a TOML file, checked before anything is done."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from netsurgeon.pipeline.data import read_toml
from netsurgeon.pipeline.errors import InputError

Kind = Literal["flag", "whole number", "number", "path", "text", "list", "numbers", "table"]
"""What an option takes: "text" is a string or a number, "list" are several of them, "table" names with values. A path
is no number: `work = 1e400` would make a folder "inf"."""
_WORDS = {
    "flag": "true or false",
    "path": "a string",
    "text": "a string",
    "list": "a list of strings",
    "numbers": "a list of numbers",
    "table": "a table of names and values",
}


def read_recipe(path: Path, kinds: Mapping[str, Kind]) -> dict[str, bool | str | list[str]]:
    """The options of a recipe, as the command line would give them.

    Args:
        path: a TOML file; its keys are long options without the dashes.
        kinds: every option there is, and what it takes.

    Returns:
        By option: flags as booleans, several values as a list, everything else as text.

    Raises:
        InputError: it cannot be read, or has an unknown key or a value of the wrong kind.
    """
    if not path.exists():
        raise InputError(f"the recipe {path} does not exist: give a TOML file")
    try:
        table = read_toml(path)
    except (OSError, ValueError) as error:
        raise InputError(f"the recipe {path} cannot be read ({error}): give a TOML file") from error
    unknown = [key for key in table if key not in kinds]
    if unknown:
        close = difflib.get_close_matches(unknown[0].replace("_", "-"), kinds, 1, 0.5)
        advice = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(kinds))}"
        raise InputError(f"the recipe {path} has the unknown key {reprlib.repr(unknown[0])}: {advice}")
    return {key: _as_given(path, key, value, kinds[key]) for key, value in table.items()}


def _as_given(path: Path, key: str, value: Any, kind: Kind) -> bool | str | list[str]:
    if not _fits(value, kind):
        expected = _WORDS.get(kind, f"a {kind}")
        raise InputError(f"the recipe {path} has {key} = {reprlib.repr(value)}, expected {expected}")
    if kind == "flag":
        return bool(value)
    if kind == "list":
        return [str(entry) for entry in value]
    if kind == "table":
        return [f"{name}={number}" for name, number in value.items()]
    return ",".join(map(str, value)) if kind == "numbers" else str(value)


def _fits(value: Any, kind: Kind) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "flag":
        return isinstance(value, bool)
    if kind == "whole number":
        return number and isinstance(value, int)
    if kind == "number":
        return number
    if kind == "path":
        return isinstance(value, str)
    if kind == "text":
        return number or isinstance(value, str)
    if kind == "table":
        return isinstance(value, dict) and all(_fits(entry, "text") for entry in value.values())
    inner: Kind = "number" if kind == "numbers" else "text"
    return isinstance(value, list) and all(_fits(entry, inner) for entry in value)
