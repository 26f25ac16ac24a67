"""What the public functions return, as people look at it: one line, a summary, a table in a notebook, a file."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, ClassVar

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.messages import Message, printable
from netsurgeon.pipeline.model_files import check_outputs, write_text

SCHEMA = 2
"""Version of the form of JSON."""
PAGES = (".html", ".htm")
"""How the names of pages end."""
MOST_ROWS = 24
"""Rows of a summary; JSON and the report page have all."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overview:
    """The first look at a result.

    Attributes:
        headline: the verdict, in one line.
        sentences: what else one should know before the figures are used.
        titles: of the table's columns; the first column is text, the others are figures.
        rows: of the table.
    """

    headline: str
    sentences: tuple[str, ...] = ()
    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Result:
    """What a public function returns; a class below says what is seen first."""

    json_properties: ClassVar[tuple[str, ...]] = ()
    """Properties that the JSON has besides the fields."""

    def overview(self) -> Overview:
        """What is seen first."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {printable(self.overview().headline)}>"

    def summary(self) -> str:
        """The verdict, what one should know, and a table of figures, as text."""
        overview = self.overview()
        rows = (overview.titles, *overview.rows[:MOST_ROWS])
        shown = [[printable(cell) for cell in row] for row in rows]
        lines = [*map(printable, (overview.headline, *overview.sentences)), "", *_aligned(shown)]
        return "\n".join(lines + _more(overview))

    def _repr_html_(self) -> str:
        """The same for notebooks; their style is that of the notebook."""
        overview = self.overview()
        sentences = "".join(f"<p>{_html(sentence)}</p>" for sentence in overview.sentences)
        rows = overview.rows[:MOST_ROWS]
        sides = ["left" if _is_text([row[at] for row in rows]) else "right" for at in range(len(overview.titles))]
        head, *body = (
            "".join(
                f'<{tag} style="text-align: {side}">{_html(cell)}</{tag}>'
                for cell, side in zip(row, sides, strict=True)
            )
            for tag, row in (("th", overview.titles), *(("td", row) for row in rows))
        )
        lines = "".join(f"<tr>{row}</tr>" for row in body)
        more = "".join(f"<p>{sentence}</p>" for sentence in _more(overview))
        return (
            f"<div><p><strong>{_html(overview.headline)}</strong></p>{sentences}"
            f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>{more}</div>"
        )

    def to_json(self) -> str:
        """Everything, as JSON; numbers that are not finite become null."""
        return as_json(self)

    def to_html(self) -> str:
        """A page that needs nothing else."""
        title = _html(self.overview().headline)
        return (
            f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title></head>\n'
            f"<body>{self._repr_html_()}</body>\n</html>\n"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it: as a page where the name ends in .html, as JSON where it ends in .json.

        Raises:
            InputError: the name ends in something else, or the file cannot be written.
        """
        file = Path(path)
        if file.suffix.lower() not in (*PAGES, ".json"):
            raise InputError(f"{file} is not a name for a {type(self).__name__.lower()}: let it end in .html or .json")
        check_outputs([file])
        write_text(self.to_html() if file.suffix.lower() in PAGES else self.to_json(), file)


def _more(overview: Overview) -> list[str]:
    hidden = len(overview.rows) - MOST_ROWS
    return [f"… and {hidden} more"] if hidden > 0 else []


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, the first of titles: text to the left, figures to the right."""
    columns = []
    for column in zip(*rows, strict=True):
        width, is_text = max(map(len, column)), _is_text(column[1:])
        columns.append([cell.ljust(width) if is_text else cell.rjust(width) for cell in column])
    return ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]


def _is_text(cells: Sequence[str]) -> bool:
    """Whether a column holds words, not figures."""
    return any(cell[:1].isalpha() for cell in cells)


def _html(text: str) -> str:
    return escape(printable(text))


def as_json(result: Any) -> str:
    """What a command found, as JSON: its fields and `schema`, the version of the form."""
    values = {"schema": SCHEMA, **_plain(result)}
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    # what no terminal and no UTF-8 file should get; JSON escapes of its own accord only what lies below a space
    return "".join(sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in text) + "\n"


def json_names(record: type) -> tuple[str, ...]:
    """Names of what the JSON of a dataclass has: its fields, and the properties in its `json_properties`."""
    return (*(field.name for field in dataclasses.fields(record)), *getattr(record, "json_properties", ()))


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return _plain(value.to_json())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(getattr(value, name)) for name in json_names(type(value))}
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool) or value is None else str(value)
