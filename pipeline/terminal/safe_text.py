"""Text and console for what a model or a file names: control characters are shown, never sent to the terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import rich.console
import rich.text
from rich.segment import Segment

from netsurgeon.pipeline.messages import printable


class Text(rich.text.Text):
    """rich's, without markup and with control characters escaped, so that widths fit what is shown."""

    def __init__(self, text: str = "", *arguments: Any, **options: Any):
        super().__init__(printable(text, keep="\n"), *arguments, **options)


class Console(rich.console.Console):
    """rich's, whose contents cannot steer the terminal, however they came into a table."""

    def render(self, *arguments: Any, **options: Any) -> Iterable[Segment]:
        """Segments with printable text; rich's own control codes pass."""
        for segment in super().render(*arguments, **options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text, keep="\n"), segment.style)


class Formatter(logging.Formatter):
    """Log lines whose values cannot steer the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return printable(super().format(record), keep="\n\t")
