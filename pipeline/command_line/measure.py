"""`netsurgeon compare`, `profile` and `unpack`: what a model gives and how fast, and its plain form."""

from __future__ import annotations

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
        "netsurgeon compare model.onnx small.onnx --data test.npz --json comparison.json --quiet",
    ),
    options_metavar="--data DATA [OPTIONS]",
)
@click.argument("model", type=FilePath())
@click.argument("other", type=FilePath())
@option_group(
    "Data",
    option(
        "--data",
        type=Data(),
        required=True,
        metavar="DATA",
        help="Inputs: npz, npy, folder, zip, module:function or random[:N].",
    ),
    limit_option,
    batch_size_option,
    classes_option,
    scoring_options,
)
@picture_options
@option_group("Running", provider_option, seed_option, custom_ops_option)
@output_options
def compare_command(model: Path, other: Path, data: str, json_file: Path | None, quiet: bool, **options: Any) -> None:
    """Run MODEL and OTHER on the same inputs and show how far OTHER is off."""
    from netsurgeon.pipeline import terminal
    from netsurgeon.pipeline.compare import compare

    terminal.check_files({**options, "data": data}, [model, other], json_file)
    comparison = compare(model, other, data, **with_pictures(options))
    terminal.show_result(comparison, terminal.print_comparison, json_file, quiet)


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
    option(
        "--data",
        type=Data(),
        metavar="DATA",
        help="Inputs. [default: made up, where the time cannot depend on their values]",
    ),
    option(
        "--batch",
        "batches",
        callback=batch_sizes,
        metavar="N,N",
        help="Samples a run, e.g. 1,8. [default: the model's, or 1]",
    ),
    option(
        "--shape",
        "shapes",
        multiple=True,
        callback=shapes,
        metavar="NAME=SIZES",
        help="Of made-up inputs: x=1x3x224x224.",
    ),
    classes_option,
)
@picture_options
@option_group(
    "Running",
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
)
@output_options
def profile_command(model: Path, against: Path | None, json_file: Path | None, quiet: bool, **options: Any) -> None:
    """Time MODEL in ONNX Runtime, whole and per operator; dense and compressed in turn with --against."""
    from netsurgeon.pipeline import terminal
    from netsurgeon.pipeline.profiling import profile

    terminal.check_files(options, [model, against], json_file)
    timed = profile(model, against, **with_pictures(options))
    terminal.show_result(timed, terminal.print_profile, json_file, quiet)


@click.command(
    "unpack", cls=Command, examples=("netsurgeon unpack small.onnx -o plain.onnx",), options_metavar="-o FILE [OPTIONS]"
)
@click.argument("model", type=FilePath())
@option_group("Running", custom_ops_option)
@option_group("Output", model_output_option, quiet_option, verbose_option)
def unpack_command(model: Path, output: Path, custom_ops: tuple[str, ...], quiet: bool) -> None:
    """Turn the packed weights of MODEL into plain ones, equal to the last bit."""
    from netsurgeon.pipeline import terminal
    from netsurgeon.pipeline.model_files import bytes_on_disk
    from netsurgeon.pipeline.unpack import unpack

    with terminal.model_file(output) as goal:
        names = unpack(model, goal, custom_ops)
        if not quiet:
            click.echo(f"weights unpacked: {len(names)}; {bytes_on_disk(goal):,} bytes written to {output}")
