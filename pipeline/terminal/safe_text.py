"""Text and console for what a model or a file names: control characters are shown, never sent to the terminal."""

from __future__ import annotations

import logging
import os
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


OFF_TERMINAL_WIDTH = 10_000
"""Columns where no terminal says how many there are: files and pipes wrap nothing, and programs read whole lines."""


class Console(rich.console.Console):
    """rich's, whose contents cannot steer the terminal, however they came into a table."""

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        if "width" not in settings and "COLUMNS" not in os.environ and not (self.is_terminal or self.is_jupyter):
            self.width = OFF_TERMINAL_WIDTH

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
