"""`netsurgeon train`, `retrain` and `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from netsurgeon.pipeline.command_line.declare import Command, option, option_group
from netsurgeon.pipeline.command_line.parameter_types import COUNT, FACTOR, SHARE, FilePath
from netsurgeon.pipeline.command_line.shared_options import (
    combine_options,
    model_output_option,
    picture_options,
    quiet_option,
    seed_option,
    target_option,
    verbose_option,
    with_pictures,
)
from netsurgeon.pipeline.notation import RETRAIN_MODES, VALIDATION

validation_option = option(
    "--validation",
    type=SHARE,
    default=VALIDATION,
    help="Share of the data that is held out for choices. [default: a twelfth]",
)
device_options = combine_options(
    option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda or cuda:0."),
    option("--bfloat16", is_flag=True, help="Compute in bfloat16."),
    seed_option,
)


@click.command(
    "retrain",
    cls=Command,
    examples=(
        "netsurgeon retrain small.onnx --data unlabelled.npz --dense model.onnx -o better.onnx",
        "netsurgeon retrain model.onnx --data mnist/ --sparsity 93% -o small.onnx",
    ),
    options_metavar="--data DATA -o FILE [OPTIONS]",
)
@click.argument("model", type=FilePath())
@option_group(
    "Data",
    [
        option(
            "--data",
            type=FilePath(),
            required=True,
            metavar="DATA",
            help="Labelled, or not where --dense is given: see docs/training.md.",
        ),
        option(
            "--dense", type=FilePath(), metavar="FILE", help="Learn the outputs of this model; no labels are needed."
        ),
        validation_option,
    ],
)
@option_group(
    "By hand",
    [
        option("--sparsity", type=SHARE, help="Prune first: share of the weights to remove."),
        option(
            "--rounds", type=int, default=1, show_default=True, metavar="N", help="Prune and retrain this many times."
        ),
        option("--quantize", type=click.Choice(RETRAIN_MODES), help="First put layers on integers where they gain."),
        target_option,
        option(
            "--timings",
            type=FilePath(),
            metavar="FILE",
            help="With --quantize: use the measured times of this JSON report again.",
        ),
    ],
)
@option_group(
    "Training",
    [
        option(
            "--steps",
            type=COUNT,
            default=500,
            show_default=True,
            metavar="N",
            help="Updates of the weights in a round.",
        ),
        option("--batch-size", type=COUNT, default=64, show_default=True, metavar="N", help="Examples per step."),
        option(
            "--learning-rate",
            type=float,
            default=1e-3,
            show_default=True,
            metavar="NUMBER",
            help="Learning rate of the first step.",
        ),
        option(
            "--shift",
            type=int,
            default=0,
            show_default=True,
            metavar="PIXELS",
            help="Move pictures at random, by up to this.",
        ),
        option("--flip", is_flag=True, help="Mirror half of the pictures."),
    ],
)
@picture_options
@option_group("Running", [device_options])
@option_group("Output", [model_output_option, quiet_option, verbose_option])
def retrain_command(model: Path, data: Path, output: Path, quiet: bool, **options: Any) -> None:
    """Train the weights of MODEL that are not zero for a few hundred steps; zeros and graph stay. Or prune it first.

    A model on integers is trained as such, with its scales; --quantize puts it on integers first.

    Also runs under torchrun.
    """
    from netsurgeon.pipeline import terminal
    from netsurgeon.pipeline.training import retrain

    terminal.check_files({**options, "data": data}, [model, options["dense"]], output)
    with terminal.model_file(output) as goal:
        result = retrain(model, data, goal, progress=not quiet, **with_pictures(options))
        if result is not None and not quiet:
            terminal.print_retraining(result, output, terminal.Console())


@click.command(
    "train",
    cls=Command,
    examples=(
        "netsurgeon train lenet5 --data mnist/ --init dense.onnx --surgery-ratio 108x --out runs/dns",
        "netsurgeon train lenet5 --data mnist/ --trimming --out runs/nt",
    ),
    options_metavar="--data DATA --out FOLDER [OPTIONS]",
)
@click.argument("network")
@option_group(
    "Data",
    [
        option("--data", type=FilePath(), required=True, metavar="DATA", help="Labelled data: see docs/training.md."),
        validation_option,
    ],
)
@option_group(
    "By hand",
    [
        option("--surgery", is_flag=True, help="Prune and splice weights while training."),
        option("--surgery-ratio", type=FACTOR, help="The same, until one parameter in this many is left, e.g. 108x."),
        option("--trimming", is_flag=True, help="Remove idle units and retrain, in rounds."),
    ],
)
@option_group(
    "Training",
    [
        option("--init", type=FilePath(), metavar="FILE", help="First weights: an ONNX file, a run or a checkpoint."),
        option(
            "--steps",
            type=COUNT,
            metavar="N",
            help="Updates of the weights, with --trimming per round. [default: the network's]",
        ),
        option("--batch-size", type=COUNT, metavar="N", help="Examples per step. [default: the network's]"),
        option(
            "--learning-rate",
            type=float,
            metavar="NUMBER",
            help="Learning rate of the first step. [default: the network's]",
        ),
        option(
            "--settings", type=FilePath(), metavar="FILE", help="TOML file with any constant: see docs/training.md."
        ),
    ],
)
@picture_options
@option_group("Running", [device_options])
@option_group(
    "Output",
    [
        option(
            "--out",
            type=FilePath(),
            required=True,
            metavar="FOLDER",
            help="Folder of the run; an existing run continues.",
        ),
        quiet_option,
        verbose_option,
    ],
)
def train_command(network: str, data: Path, out: Path, init: Path | None, quiet: bool, **options: Any) -> None:
    """Train NETWORK; a run that was stopped continues where it was. Also runs under torchrun.

    NETWORK is lenet300, lenet5, cifarnet, resnet20, resnet56, alexnet, vgg16, vgg16_bn or resnet50.
    """
    from netsurgeon.pipeline import terminal
    from netsurgeon.pipeline.errors import InputError
    from netsurgeon.pipeline.training import train

    if out == terminal.STANDARD_OUTPUT:
        raise InputError("--out - is not a folder, and a run needs one: give a folder, and export the network")
    result = train(network, data, out, init=init, progress=not quiet, **with_pictures(options))
    if result is not None and not quiet:
        terminal.print_training(result, terminal.Console())


@click.command(
    "export", cls=Command, examples=("netsurgeon export runs/dns -o model.onnx",), options_metavar="-o FILE [OPTIONS]"
)
@click.argument("run", type=FilePath())
@option_group("Output", [model_output_option, quiet_option, verbose_option])
def export_command(run: Path, output: Path, quiet: bool) -> None:
    """Write the network that the folder RUN holds as ONNX, proven in ONNX Runtime."""
    from netsurgeon.pipeline import terminal
    from netsurgeon.pipeline.training import export

    with terminal.model_file(output) as goal:
        exported = export(run, goal)
        if not quiet:
            terminal.print_export(exported, output, terminal.Console())
