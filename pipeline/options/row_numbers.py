"""Numbers of rows, as the user gives them: integers, text such as "5, 10-20", or a file of either."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from netsurgeon.pipeline.data import check_path, open_regular, read_text
from netsurgeon.pipeline.errors import InputError

RowNumbers: TypeAlias = str | Path | Sequence[int] | npt.NDArray[Any]
Span = tuple[int, int]
_ROWS = re.compile(r"\s*(\d{1,10})\s*(?:-\s*(\d{1,10})\s*)?")
_TEXT = re.compile(r"[\d\s,-]+")


def read_rows(table: str, rows: RowNumbers) -> str:
    """Numbers of rows in one form, such as "5,10-20": ascending, each once.

    Args:
        table: whose rows they are, for messages.
        rows: integers, text, or the path of a text file (numbers and ranges, of which comments begin with #) or of an
            .npy of integers.

    Raises:
        InputError: there are none, or they cannot be read.
    """
    source = f"rows of {table!r} to drop"
    if isinstance(rows, str) and are_numbers(rows):
        spans = _spans_of_text(rows, source)
    elif isinstance(rows, str | Path):
        check_path(rows, source)
        spans = _spans_of_file(Path(rows), source)
    else:
        spans = _spans_of_numbers(rows, source)
    joined = _joined(spans)
    if not joined:
        raise InputError(f"there are no {source}: give numbers such as 5,10-20, or a file of them")
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in joined)


def are_numbers(rows: str) -> bool:
    """Whether a text lists rows itself, and is not the path of a file that does."""
    return _TEXT.fullmatch(rows) is not None


def spans_of(rows: str) -> list[Span]:
    """First and last row of each range, of what `read_rows` gives."""
    ends = [entry.split("-") for entry in rows.split(",")]
    return [(int(entry[0]), int(entry[-1])) for entry in ends]


def _spans_of_file(path: Path, source: str) -> list[Span]:
    try:
        if path.suffix == ".npy":
            with open_regular(path) as handle:
                return _spans_of_numbers(np.lib.format.read_array(handle, allow_pickle=False), source)
        lines = read_text(path).splitlines()
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"the {source} cannot be read from {path} ({error}): give numbers such as 5,10-20, a text file of them or "
            "an .npy of integers"
        ) from error
    return [span for line in lines for span in _spans_of_text(line.partition("#")[0], f"{source} in {path}")]


def _spans_of_text(text: str, source: str) -> list[Span]:
    spans = []
    for entry in filter(str.strip, re.split(r"[,\n]", text)):
        match = _ROWS.fullmatch(entry)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise InputError(f"the {source} hold {entry.strip()!r}, expected a number or a range such as 10-20")
        spans.append((int(match[1]), int(match[2] or match[1])))
    return spans


def _spans_of_numbers(numbers: Any, source: str) -> list[Span]:
    try:
        array = np.asarray(numbers)
    except ValueError as error:
        raise InputError(
            f"the {source} are lists of different lengths, expected integers, one after another"
        ) from error
    if array.size and (array.ndim != 1 or array.dtype.kind not in "iu"):
        raise InputError(f"the {source} are {array.dtype} of shape {array.shape}, expected integers, one after another")
    if array.size and array.min() < 0:
        raise InputError(f"the {source} hold {array.min()}, expected numbers from 0 on")
    return [(int(number), int(number)) for number in np.unique(array)]


def _joined(spans: Iterable[Span]) -> list[Span]:
    joined: list[Span] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined
