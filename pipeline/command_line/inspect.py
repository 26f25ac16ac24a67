"""`netsurgeon inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from netsurgeon.pipeline.command_line.declare import Command, option, option_group
from netsurgeon.pipeline.command_line.parameter_types import Data, FilePath
from netsurgeon.pipeline.command_line.shared_options import (
    classes_option,
    custom_ops_option,
    limit_option,
    mask_option,
    output_options,
    picture_options,
    provider_option,
    seed_option,
    target_option,
    threads_option,
    with_pictures,
)

EXAMPLES = (
    "netsurgeon inspect model.onnx",
    "netsurgeon inspect model.onnx --units",
    "netsurgeon inspect model.onnx --sensitivity --data calibration.npz --picture layers.svg",
    "netsurgeon inspect model.onnx --quantization --data calibration.npz",
)


@click.command("inspect", cls=Command, examples=EXAMPLES)
@click.argument("model", type=FilePath())
@option_group(
    "Data",
    [
        option(
            "--data",
            type=Data(),
            metavar="DATA",
            help="Inputs, for --sensitivity and --quantization; for --units if it needs real ones.",
        ),
        limit_option,
        mask_option,
        classes_option,
    ],
)
@picture_options
@option_group("Running", [provider_option, target_option, threads_option, seed_option, custom_ops_option])
@option_group(
    "Output",
    [
        option("--units", is_flag=True, help="Show instead which neurons go together, and which cannot go and why."),
        option("--sensitivity", is_flag=True, help="Measure what pruning each layer costs, on --data."),
        option("--quantization", is_flag=True, help="Show what integers do to each layer: range, error, time, kernel."),
        option("--picture", type=FilePath(), metavar="FILE", help="With --sensitivity: draw it as this .svg file."),
    ],
)
@output_options
def inspect_command(
    model: Path,
    units: bool,
    sensitivity: bool,
    quantization: bool,
    data: str | None,
    picture: Path | None,
    json_file: Path | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Show the layers of MODEL: what can be pruned, what cannot and why."""
    from netsurgeon.pipeline import terminal
    from netsurgeon.pipeline.inspect import inspect_model, inspect_units

    terminal.check_files({**options, "data": data}, [model], json_file, picture)
    modes = {"--units": units, "--sensitivity": sensitivity, "--quantization": quantization}
    views = [name for name, is_given in modes.items() if is_given]
    if len(views) > 1:
        raise click.UsageError(f"{' and '.join(views)} are two views of a model: give one of them")
    if options["target"] != "cpu" and not quantization:
        raise click.UsageError("--target is where the integers of --quantization run: give both")
    if options["threads"] is not None and not quantization:
        raise click.UsageError("--threads is for the times that --quantization measures: give both")
    if options["provider"] != "cpu" and not (sensitivity or quantization):
        raise click.UsageError("--provider runs the model of --sensitivity: give both")
    if data is not None and not views:
        raise click.UsageError("--data are inputs for --sensitivity, --quantization or --units: give one of them")
    if picture is not None and not sensitivity:
        raise click.UsageError("--picture draws what --sensitivity measures: give both")
    if sensitivity:
        _inspect_sensitivity(model, data, picture, json_file, quiet, **with_pictures(options))
    elif quantization:
        _inspect_quantization(model, data, json_file, quiet, **with_pictures(options))
    elif units:
        result = inspect_units(model, data, options["custom_ops"])
        terminal.show_result(result, terminal.print_units, json_file, quiet)
    else:
        inspection = inspect_model(model, options["custom_ops"])
        terminal.show_result(inspection, terminal.print_inspection, json_file, quiet)


def _inspect_sensitivity(
    model: Path, data: str | None, picture: Path | None, json_file: Path | None, quiet: bool, **options: Any
) -> None:
    from netsurgeon.pipeline import terminal
    from netsurgeon.pipeline.inspect_sensitivity import check_picture_path, draw_sensitivity, inspect_sensitivity
    from netsurgeon.pipeline.model_files import write_text

    if data is None:
        raise click.UsageError("--sensitivity measures on inputs of the model: give them with --data")
    check_picture_path(picture)
    inspection = inspect_sensitivity(model, data, not quiet, **options)
    if picture is not None:
        write_text(draw_sensitivity(inspection), picture)
    terminal.show_result(inspection, terminal.print_sensitivity, json_file, quiet)


def _inspect_quantization(model: Path, data: str | None, json_file: Path | None, quiet: bool, **options: Any) -> None:
    from netsurgeon.pipeline import terminal
    from netsurgeon.pipeline.inspect_quantization import inspect_quantization

    inspection = inspect_quantization(model, data, not quiet, **options)
    terminal.show_result(inspection, terminal.print_quantization, json_file, quiet)
