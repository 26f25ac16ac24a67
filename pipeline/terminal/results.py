"""What becomes of a command's result: tables, JSON, and files that are none of those it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.model_files import check_outputs, text_bytes, write_text
from netsurgeon.pipeline.report import is_page
from netsurgeon.pipeline.result import as_json
from netsurgeon.pipeline.terminal.safe_text import Console
from netsurgeon.pipeline.terminal.standard_output import STANDARD_OUTPUT

Printer = Callable[[Any, Console], None]


def show_result(result: Any, printer: Printer, json_file: Path | None, quiet: bool) -> None:
    """Print a result as tables, and write it as JSON where that was asked for."""
    if json_file == STANDARD_OUTPUT:
        click.echo(text_bytes(as_json(result)), nl=False)
    elif json_file is not None:
        write_text(as_json(result), json_file)
    if not quiet and json_file != STANDARD_OUTPUT:
        printer(result, Console())


def check_files(options: Mapping[str, Any], models: Sequence[Path | None], *outputs: Path | None) -> None:
    """Check the outputs of a command that reads models and what its options name; "-" is no file.

    Raises:
        InputError: an output cannot be written, or is a file that is read, or two are standard output.
    """
    names = ("data", "test", "recipe", "metric", "classes", "pictures", "timings")
    read = [*(options.get(name) for name in names), *options.get("custom_ops", ())]
    written = [output for output in outputs if output != STANDARD_OUTPUT]
    if len(outputs) > len(written) + 1:
        raise InputError("two results would both go to standard output: give one of them a path")
    check_outputs(written, *read, models=models, work=options.get("work"))


def check_page(output: Path | None) -> None:
    """Check that what is written as a page is named like one.

    Raises:
        InputError: it is not.
    """
    if output is not None and not is_page(output):
        raise InputError(f"{output} would be a page, which is HTML: give a name that ends in .html")
