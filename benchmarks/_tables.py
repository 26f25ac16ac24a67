"""Markdown tables, what stands in their cells, and files that are written whole."""

from __future__ import annotations

import os
from pathlib import Path


def table(titles: tuple[str, ...], lines: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (titles, ["---"] * len(titles), *lines))


def number(value: float | None) -> str:
    """A figure of three digits for a cell; nothing where it was not measured."""
    return "" if value is None else f"{value:.3g}"


def mib(count: int) -> str:
    """Bytes in MiB."""
    return f"{count / 2**20:.0f}"


def plain(text: str, length: int = 120) -> str:
    """Text for a cell."""
    flat = " ".join(text.split()).replace("|", "\\|")
    return flat if len(flat) <= length else flat[: length - 1] + "…"


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(text, "utf-8")
    partial.replace(path)
