"""`netsurgeon compress`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from netsurgeon.pipeline import notation
from netsurgeon.pipeline.command_line.declare import Command, option, option_group
from netsurgeon.pipeline.command_line.parameter_types import SHARE, Data, FilePath, dropped_rows, layer_sparsities
from netsurgeon.pipeline.command_line.recipes import recipe_option
from netsurgeon.pipeline.command_line.shared_options import (
    batch_size_option,
    classes_option,
    cluster_option,
    cluster_store_option,
    custom_ops_option,
    json_option,
    limit_option,
    mask_option,
    model_output_option,
    picture_options,
    provider_option,
    quiet_option,
    scoring_options,
    seed_option,
    target_option,
    threads_option,
    verbose_option,
    with_pictures,
)

EXAMPLES = (
    "netsurgeon compress model.onnx --data calibration.npz --test test.npz \\\n    -o small.onnx --report report.html",
    "netsurgeon compress model.onnx --data photos/ --crop 224 --max-size 500KB -o small.onnx",
    "netsurgeon compress model.onnx --data calibration.npz --speedup 1.5x --max-drop 2% -o fast.onnx",
    "netsurgeon compress model.onnx --data calibration.npz --sparsity 90% -o small.onnx",
    "netsurgeon compress model.onnx --data calibration.npz --quantize int8 -o fast.onnx",
)


@click.command(
    "compress", cls=Command, examples=EXAMPLES, options_metavar="--data DATA -o FILE [OPTIONS]", no_args_is_help=False
)
@click.argument("model", type=FilePath())
@option_group(
    "Data",
    [
        option(
            "--data",
            type=Data(),
            required=True,
            metavar="DATA",
            help="Calibration inputs: npz, npy, folder, zip, module:function or random[:N].",
        ),
        option(
            "--test",
            type=Data(),
            metavar="DATA",
            help="Inputs of the final measurement. [default: a held-out part of --data]",
        ),
        limit_option,
        mask_option,
        batch_size_option,
        classes_option,
        scoring_options,
    ],
)
@option_group(
    "Goals",
    [
        option(
            "--max-drop",
            metavar="SHARE",
            help="Lose at most this much of the metric, e.g. 1%. "
            "[default: 1%, unless another goal, --sparsity, --trim, --quantize, --pattern, --keep-zeros or --layer "
            "is given]",
        ),
        option("--speedup", metavar="FACTOR", help="The model is at least this many times as fast, e.g. 2x."),
        option("--latency", metavar="TIME", help="A run takes at most this long, e.g. 5ms."),
        option("--max-size", metavar="SIZE", help="The file is at most this large, e.g. 500KB."),
        option("--max-macs", metavar="COUNT", help="A sample takes at most so many multiply-adds, e.g. 40M."),
        option(
            "--prefer",
            type=click.Choice(notation.PREFERENCES),
            default="speed",
            show_default=True,
            help="What matters first within --max-drop.",
        ),
    ],
)
@option_group(
    "By hand",
    [
        option(
            "--sparsity",
            type=SHARE,
            help="Share of the prunable weights to remove, e.g. 90%. [default: 50% with --layer]",
        ),
        option(
            "--trim",
            metavar="SHARE",
            help="Share of parameters to remove as whole neurons and channels: 30%, or up-to:30%.",
        ),
        option(
            "--quantize",
            type=click.Choice(notation.QUANTIZE_MODES),
            help="Store or run weights as integers: int8, w4a8 and dynamic where that is faster, w4 and w8 in all "
            "matrix products. [default: a goal decides]",
        ),
        option(
            "--values",
            type=click.Choice(notation.VALUES),
            help="How weights are stored. [default: codebook with a goal, else float16]",
        ),
        option(
            "--tables",
            type=click.Choice(notation.TABLES),
            default="auto",
            show_default=True,
            help="How rows of embeddings are stored.",
        ),
        option(
            "--drop-rows",
            multiple=True,
            callback=dropped_rows,
            metavar="NAME=FILE",
            help="Rows of embeddings that are never used: a text file of numbers and ranges, an .npy, "
            "or 5,10-20 itself.",
        ),
        option(
            "--repair/--no-repair",
            default=None,
            help="Tune the remaining weights, and integers, without labels; takes minutes, needs PyTorch. "
            "[default: only for goals with --effort full]",
        ),
        option(
            "--pattern",
            metavar="PATTERN",
            help="Where remaining weights may lie: N:M, such as 2:4, in place of --sparsity; or tiles for a kernel, "
            "k:64 or tile:16x16.",
        ),
        option("--keep-zeros", is_flag=True, help="Keep the zeros that the model has, and remove no other weight."),
        option("--uniform", is_flag=True, help="The same sparsity in every layer."),
        option(
            "--layer",
            "layers",
            multiple=True,
            callback=layer_sparsities,
            metavar="NAME=SHARE",
            help="Sparsity of layers by name or glob: 'conv*=80%'.",
        ),
        option("--exclude", multiple=True, metavar="NAME", help="Leave layers of this name or glob as they are."),
    ],
)
@picture_options
@option_group(
    "Images", [option("--mirror", is_flag=True, default=None, help="Correct weights on mirror images as well.")]
)
@option_group(
    "Running",
    [
        option(
            "--effort",
            type=click.Choice(notation.EFFORTS),
            help="fast: a first look, sooner. full: the best model; a search for a goal also repairs it, if PyTorch is "
            "installed. [default: full without repair, and quicker solvers in very wide networks]",
        ),
        provider_option,
        target_option,
        threads_option,
        option(
            "--timed-batch", type=int, metavar="N", help="Samples in a run that is timed. [default: the model's, or 1]"
        ),
        option(
            "--work",
            type=FilePath(),
            metavar="FOLDER",
            help="Keep finished work here, so that a killed run can continue.",
        ),
        cluster_option,
        cluster_store_option,
        seed_option,
        custom_ops_option,
        recipe_option,
    ],
)
@option_group(
    "Output",
    [
        model_output_option,
        option(
            "--report", type=FilePath(), metavar="FILE", help="Where the report goes: .html or .json; - prints JSON."
        ),
        json_option,
        option("--profile", is_flag=True, help="Time both models for the report; takes about half a minute."),
        option("--mlflow", metavar="URI", help="Log the result to MLflow: a server, sqlite:///FILE or a folder."),
        quiet_option,
        verbose_option,
    ],
)
@option_group(
    "Expert",
    [
        option(
            "--method",
            type=click.Choice(notation.METHODS),
            default="auto",
            show_default=True,
            help="Solver that prunes.",
        ),
        option(
            "--damping",
            type=float,
            metavar="NUMBER",
            help="Damping relative to the mean diagonal of the Hessian. [default: chosen per layer]",
        ),
        option(
            "--importance",
            type=click.Choice(notation.IMPORTANCES),
            default="obs",
            show_default=True,
            help="What ranks neurons and channels for --trim.",
        ),
        option(
            "--save",
            type=click.Choice(notation.SAVINGS),
            default="parameters",
            show_default=True,
            help="What --trim counts.",
        ),
        option(
            "--round-to",
            type=int,
            metavar="N",
            help="Leave multiples of this many neurons or channels. "
            "[default: 8 or 16, as ONNX Runtime's convolutions have it here]",
        ),
        option("--keep-unread", is_flag=True, help="Keep neurons and channels that nothing reads after pruning."),
        option(
            "--augment",
            default="auto",
            show_default=True,
            metavar="KINDS",
            help=f"How --repair varies the inputs: auto, none, or some of {','.join(notation.AUGMENTATIONS)}.",
        ),
        option(
            "--device", default="auto", show_default=True, metavar="DEVICE", help="Where --repair runs: cpu or cuda."
        ),
        option(
            "--ranges",
            type=click.Choice(notation.RANGES),
            default="error",
            show_default=True,
            help="Where activations are clipped.",
        ),
        option(
            "--names",
            type=click.Choice(notation.NAMES),
            default="auto",
            show_default=True,
            help="Names of the nodes that unpack weights.",
        ),
        option("--pack/--no-pack", default=True, show_default=True, help="Store the weights packed."),
        option("--timings", type=FilePath(), metavar="FILE", help="Use the measured times of this JSON report again."),
    ],
)
def compress_command(
    model: Path,
    data: str,
    test: str | None,
    output: Path,
    report: Path | None,
    json_file: Path | None,
    quiet: bool,
    mlflow: str | None,
    recipe: Path | None,
    **options: Any,
) -> None:
    """Make MODEL smaller and faster, verify it, and write it with the evidence.

    Give goals, and a search decides what to remove; or say by hand what to remove. With neither, the search looks for
    the fastest model that loses at most 1%, and among equally fast ones for the smallest. Write shares as 90% or 0.9,
    sizes as 50KB, 50k or 50 KiB, times as 5ms, factors as 2x or 2.
    """
    from netsurgeon.pipeline import terminal
    from netsurgeon.pipeline.compress import compress
    from netsurgeon.pipeline.errors import after_delivery
    from netsurgeon.pipeline.report import Tracker

    terminal.check_files({**options, "data": data, "test": test, "recipe": recipe}, [model], json_file, output, report)
    tracker = None if mlflow is None else Tracker(mlflow)
    printed, file = (report, None) if report == terminal.STANDARD_OUTPUT else (None, report)
    with terminal.model_file(output) as goal:
        result = compress(
            model, data, test=test, output=goal, report=file, progress=not quiet, **with_pictures(options)
        )
        with after_delivery(goal):
            terminal.show_result(result.report, terminal.print_report, json_file, quiet or printed is not None)
            if printed is not None:
                terminal.show_result(result.report, terminal.print_report, printed, quiet)
            if tracker is not None:
                tracker.log(result.report)
