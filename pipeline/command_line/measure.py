"""`netsurgeon compare`, `view`, `profile` and `unpack`: what models give and how fast, and their plain form."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from netsurgeon.pipeline.command_line.declare import Command, option, option_group
from netsurgeon.pipeline.command_line.parameter_types import Data, FilePath, batch_sizes, shapes
from netsurgeon.pipeline.command_line.shared_options import (
    batch_size_option,
    classes_option,
    custom_ops_option,
    limit_option,
    mask_option,
    model_output_option,
    output_options,
    picture_options,
    provider_option,
    quiet_option,
    scoring_options,
    seed_option,
    threads_option,
    verbose_option,
    with_pictures,
)
from netsurgeon.pipeline.notation import OPTIMISATIONS


@click.command(
    "compare",
    cls=Command,
    examples=(
        "netsurgeon compare model.onnx small.onnx --data test.npz",
        "netsurgeon compare model.onnx small.onnx smaller.onnx --data test.npz --profile --report compared.html",
    ),
    options_metavar="--data DATA [OPTIONS]",
)
@click.argument("model", type=FilePath())
@click.argument("others", type=FilePath(), nargs=-1, required=True)
@option_group(
    "Data",
    [
        option(
            "--data",
            type=Data(),
            required=True,
            metavar="DATA",
            help="Inputs: npz, npy, folder, zip, module:function or random[:N].",
        ),
        limit_option,
        mask_option,
        batch_size_option,
        classes_option,
        scoring_options,
    ],
)
@picture_options
@option_group("Running", [threads_option, provider_option, seed_option, custom_ops_option])
@option_group(
    "Output",
    [
        option(
            "--report",
            type=FilePath(),
            metavar="FILE",
            help="Where to write a page that shows the models side by side: .html.",
        ),
        option("--profile", is_flag=True, help="Time each in turn with MODEL; takes about half a minute each."),
    ],
)
@output_options
def compare_command(
    model: Path,
    others: tuple[Path, ...],
    data: str,
    report: Path | None,
    json_file: Path | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Run MODEL and OTHERS on the same inputs and show how far each is from MODEL."""
    from netsurgeon.pipeline import terminal
    from netsurgeon.pipeline.compare import compare_all
    from netsurgeon.pipeline.model_files import write_text

    terminal.check_files({**options, "data": data}, [model, *others], json_file, report)
    terminal.check_page(report)
    result = compare_all(model, others, data, progress=not quiet, **with_pictures(options))
    if report is not None:
        write_text(result.to_html(), report)
    if len(others) == 1:
        terminal.show_result(result.comparisons[0], terminal.print_comparison, json_file, quiet)
    else:
        terminal.show_result(result, terminal.print_comparisons, json_file, quiet)


@click.command(
    "view",
    cls=Command,
    examples=("netsurgeon view one.json two.json", "netsurgeon view runs/*.json --no-browser -o runs.html"),
)
@click.argument("reports", type=FilePath(), nargs=-1, required=True)
@option_group(
    "Output",
    [
        option(
            "-o",
            "--output",
            type=FilePath(),
            metavar="FILE",
            help="Where to write the page: .html. [default: a temporary file]",
        ),
        option("--no-browser", is_flag=True, help="Write the page and do not open it."),
        verbose_option,
    ],
)
def view_command(reports: tuple[Path, ...], output: Path | None, no_browser: bool) -> None:
    """Show the JSON REPORTS of several runs side by side on a page, and open it in the browser.

    It has a sortable table, accuracy against bytes and milliseconds, every layer, and the difference of two runs.
    """
    from netsurgeon.pipeline import terminal
    from netsurgeon.pipeline.messages import printable
    from netsurgeon.pipeline.view import view

    terminal.check_page(output)
    page = view(reports, output, open_browser=not no_browser and sys.stdout.isatty())
    click.echo(printable(f"the page is {page}"))


@click.command(
    "profile",
    cls=Command,
    examples=(
        "netsurgeon profile model.onnx --batch 1,32 --per-op",
        "netsurgeon profile model.onnx --against small.onnx --threads 2",
        "netsurgeon profile model.onnx --shape image=1x3x224x224",
    ),
)
@click.argument("model", type=FilePath())
@option_group(
    "Data",
    [
        option(
            "--data",
            type=Data(),
            metavar="DATA",
            help="Inputs. [default: made up, if the time cannot depend on their values]",
        ),
        option(
            "--batch",
            "batches",
            callback=batch_sizes,
            metavar="N,N",
            help="Samples per run, e.g. 1,8. [default: the model's, or 1]",
        ),
        option(
            "--shape",
            "shapes",
            multiple=True,
            callback=shapes,
            metavar="NAME=SIZES",
            help="Shape of made-up inputs: x=1x3x224x224.",
        ),
        classes_option,
    ],
)
@picture_options
@option_group(
    "Running",
    [
        option("--against", type=FilePath(), metavar="FILE", help="Another model, timed in turn with MODEL."),
        option("--runs", "rounds", type=int, metavar="N", help="Measurements. [default: 10 seconds' worth, 15 to 105]"),
        option("--per-op", "per_operator", is_flag=True, help="Time every node of the graph as well."),
        threads_option,
        option(
            "--optimisation",
            type=click.Choice(OPTIMISATIONS),
            default="all",
            show_default=True,
            help="Level of graph optimisation.",
        ),
        provider_option,
        seed_option,
        custom_ops_option,
    ],
)
@output_options
def profile_command(model: Path, against: Path | None, json_file: Path | None, quiet: bool, **options: Any) -> None:
    """Time MODEL in ONNX Runtime, whole and per operator; with --against in turn with another model."""
    from netsurgeon.pipeline import terminal
    from netsurgeon.pipeline.profiling import profile

    terminal.check_files(options, [model, against], json_file)
    timed = profile(model, against, progress=not quiet, **with_pictures(options))
    terminal.show_result(timed, terminal.print_profile, json_file, quiet)


@click.command(
    "unpack", cls=Command, examples=("netsurgeon unpack small.onnx -o plain.onnx",), options_metavar="-o FILE [OPTIONS]"
)
@click.argument("model", type=FilePath())
@option_group("Running", [custom_ops_option])
@option_group("Output", [model_output_option, quiet_option, verbose_option])
def unpack_command(model: Path, output: Path, custom_ops: tuple[str, ...], quiet: bool) -> None:
    """Turn the packed weights of MODEL into plain ones, equal to the last bit."""
    from netsurgeon.pipeline import terminal
    from netsurgeon.pipeline.model_files import bytes_on_disk
    from netsurgeon.pipeline.unpack import unpack

    with terminal.model_file(output) as goal:
        names = unpack(model, goal, custom_ops)
        if not quiet:
            click.echo(f"weights unpacked: {len(names)}; {bytes_on_disk(goal):,} bytes written to {output}")
