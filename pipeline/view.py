"""Reports of several runs as one page, opened in the browser."""

from __future__ import annotations

import os
import tempfile
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.model_files import check_outputs, write_text
from netsurgeon.pipeline.options import checks_names
from netsurgeon.pipeline.side_by_side import name_by_files, read_report, render_runs, run_of

MOST_RUNS = 64
"""More would be neither legible nor quick."""


@checks_names
def view(
    reports: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None = None,
    *,
    open_browser: bool = False,
) -> Path:
    """Write a page that lays runs side by side: a sortable table, their frontier, their layers, two of them compared.

    Args:
        reports: JSON files that `compress` has written.
        output: where the page goes; None = a new folder beside other temporary files.
        open_browser: whether to show it.

    Returns:
        Where the page is.

    Raises:
        InputError: there are no reports or too many, one cannot be read, or the page cannot be written.
    """
    if not 1 <= len(reports) <= MOST_RUNS:
        raise InputError(f"{len(reports)} reports were given, expected 1 to {MOST_RUNS}")
    paths = [Path(report) for report in reports]
    if output is not None:
        check_outputs([Path(output)], *paths)
    read = [read_report(path) for path in paths]
    names = name_by_files(paths)
    page = render_runs([run_of(report, name) for report, name in zip(read, names, strict=True)])
    goal = _new_file() if output is None else Path(output)
    write_text(page, goal)
    if open_browser:
        webbrowser.open(goal.resolve().as_uri())
    return goal


def _new_file() -> Path:
    """A file in a folder of its own, which nobody else can read."""
    return Path(tempfile.mkdtemp(prefix="netsurgeon-")) / "view.html"
