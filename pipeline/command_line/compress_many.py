"""`netsurgeon compress-many`: a job for each recipe."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from netsurgeon.pipeline.command_line.compress import compress_command
from netsurgeon.pipeline.command_line.declare import Command, option, option_group
from netsurgeon.pipeline.command_line.parameter_types import FilePath
from netsurgeon.pipeline.command_line.shared_options import (
    cluster_option,
    output_options,
    with_pictures,
)

if TYPE_CHECKING:
    from netsurgeon.pipeline.compress_many import ManyCompressions
    from netsurgeon.pipeline.errors import InputError
    from netsurgeon.pipeline.jobs import Job, JobResult
    from netsurgeon.pipeline.report import Tracker
    from netsurgeon.pipeline.terminal import Console

_OF_ONE = ("output", "report", "json_file", "quiet", "recipe")
"""Parameters of `compress` that say where its result goes: here it is a folder for each."""


@click.command(
    "compress-many",
    cls=Command,
    examples=(
        "netsurgeon compress-many recipes/*.toml --out results/",
        "netsurgeon compress-many recipes/*.toml --out results/ --cluster local:2 --retries 1",
    ),
    options_metavar="--out FOLDER [OPTIONS]",
)
@click.argument("recipes", type=FilePath(), nargs=-1, required=True)
@option_group(
    "Running",
    [
        cluster_option,
        option(
            "--retries",
            type=int,
            default=0,
            show_default=True,
            metavar="N",
            help="How often a job that has failed is begun again.",
        ),
    ],
)
@option_group(
    "Output",
    [
        option(
            "--out",
            required=True,
            type=FilePath(),
            metavar="FOLDER",
            help="Where results go: a folder for each recipe, and a page over all.",
        ),
    ],
)
@output_options
def compress_many_command(
    recipes: tuple[Path, ...], cluster: str | None, retries: int, out: Path, json_file: Path | None, quiet: bool
) -> None:
    """Compress a model for each of RECIPES (TOML with the options of compress, and with model), and compare all.

    A recipe that fails stops no other. One whose result is there, from the same inputs and options, is not run again;
    one that was stopped goes on. The exit code is that of the worst.
    """
    from netsurgeon.pipeline import terminal
    from netsurgeon.pipeline.compress_many import run_jobs
    from netsurgeon.pipeline.errors import InputError
    from netsurgeon.pipeline.execution import check_cluster

    check_cluster(cluster)
    names = [recipe.stem for recipe in recipes]
    if len(set(names)) < len(names):
        name = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{names.count(name)} recipes are called {name}: their results would share a folder")
    terminal.check_files({}, recipes, json_file)
    connect = functools.cache(_connected)  # once to each server, before anything is computed
    read = [_job(recipe, out.absolute(), connect) for recipe in recipes]
    trackers = {job.name: tracker for job, tracker in read if tracker is not None}
    unlogged: list[str] = []

    def tell(at: int, result: JobResult) -> None:
        _tell(len(read), quiet or json_file == terminal.STANDARD_OUTPUT, at, result)
        try:
            _log(result, out, trackers)
        except InputError as error:
            unlogged.append(f"{result.name}: {error}")

    many = run_jobs([job for job, _ in read], out.absolute(), cluster=cluster, retries=retries, tell=tell)
    terminal.show_result(many, _print_page, json_file, quiet)
    if unlogged:
        raise InputError("; ".join([*unlogged, *([str(many.error())] if many.failed else [])]))
    if many.failed:
        raise many.error()


def _job(recipe: Path, out: Path, connect: Callable[[str], Tracker | InputError]) -> tuple[Job, Tracker | None]:
    """A recipe as a job, and where it is logged; one that cannot be read, or logged, is a job that fails."""
    from netsurgeon.pipeline.compress_many import with_absolute_paths
    from netsurgeon.pipeline.errors import InputError, NetsurgeonError
    from netsurgeon.pipeline.jobs import Job

    line = ["--recipe", str(recipe), "--output", str(out / recipe.stem / f"{recipe.stem}.onnx")]
    try:
        values: dict[str, Any] = compress_command.make_context("compress", line).params
        uri = values.pop("mlflow")
        tracker = None if uri is None else connect(uri)
        if isinstance(tracker, InputError):
            raise tracker
        values = with_pictures({name: value for name, value in values.items() if name not in _OF_ONE})
    except click.UsageError as error:
        return Job(name=recipe.stem, out=out, problem=InputError(f"{recipe}: {error.format_message()}")), None
    except NetsurgeonError as error:
        return Job(name=recipe.stem, out=out, problem=error), None
    return Job(name=recipe.stem, out=out, arguments=with_absolute_paths(values)), tracker


def _tell(count: int, quiet: bool, at: int, result: JobResult) -> None:
    """One line for each job that ends."""
    from netsurgeon.pipeline.messages import printable

    if not quiet:
        click.echo(printable(f"{at}/{count} {result.name}: {result.why or result.status}"))


def _print_page(many: ManyCompressions, console: Console) -> None:
    if many.page is not None:
        console.print(f"the page is {many.page}", markup=False, soft_wrap=True)


def _connected(uri: str) -> Tracker | InputError:
    """A tracker, or why there is none."""
    from netsurgeon.pipeline.errors import InputError
    from netsurgeon.pipeline.report import Tracker

    try:
        return Tracker(uri)
    except InputError as error:
        return error


def _log(result: JobResult, out: Path, trackers: dict[str, Tracker]) -> None:
    """Log what was made now where its recipe says."""
    from netsurgeon.pipeline.jobs import JobFolder
    from netsurgeon.pipeline.side_by_side import read_report

    if result.name in trackers and result.status == "done":
        trackers[result.name].log(read_report(JobFolder(out / result.name).report))
