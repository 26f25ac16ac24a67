"""What is printed on a terminal, as text."""

import io
from collections.abc import Callable
from typing import Any

from rich.console import Console


def printed(show: Callable[..., None], *results: Any, width: int = 160) -> str:
    """What `show(*results, console)` writes where nothing is a terminal: no colours, no progress."""
    buffer = io.StringIO()
    show(*results, Console(file=buffer, width=width))
    return buffer.getvalue()


def cells(text: str, first: str) -> list[str]:
    """The row of a table that starts with a cell, cell by cell."""
    rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]
    return next(row for row in rows if row and row[0] == first)
