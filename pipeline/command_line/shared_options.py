"""Options that commands share."""

from __future__ import annotations

import dataclasses
import logging
import sys
from typing import Any

import click

from netsurgeon.pipeline.command_line.declare import Decorator, Function, option, option_group
from netsurgeon.pipeline.command_line.parameter_types import COUNT, FilePath, numbers
from netsurgeon.pipeline.notation import MEASURES, TARGETS


def combine_options(*options: Decorator) -> Decorator:
    """Several options as one decorator, listed by --help in this order."""

    def decorate(function: Function) -> Function:
        for add in reversed(options):
            function = add(function)
        return function

    return decorate


def _log(context: click.Context, parameter: click.Parameter, count: int) -> None:
    """Write to standard error what netsurgeon's loggers say: stages and steps with -v, choices of solvers with -vv."""
    del parameter
    if count and not context.resilient_parsing:
        from netsurgeon.pipeline.terminal import Formatter

        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Formatter("%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S"))
        logger = logging.getLogger("netsurgeon")
        logger.handlers = [handler]
        logger.setLevel(logging.INFO if count == 1 else logging.DEBUG)


def warn_on_stderr() -> None:
    """Write to standard error what netsurgeon's loggers warn of, such as a wait for workers, until -v or --quiet."""
    if logging.lastResort is not None:  # it writes to what is standard error then, which a progress bar may have taken
        logging.getLogger("netsurgeon").addHandler(logging.lastResort)


def _hush(context: click.Context, parameter: click.Parameter, is_quiet: bool) -> bool:
    """Warn of nothing."""
    del parameter
    if is_quiet and not context.resilient_parsing and logging.lastResort is not None:
        logging.getLogger("netsurgeon").removeHandler(logging.lastResort)
    return is_quiet


verbose_option = option(
    "-v",
    "--verbose",
    count=True,
    callback=_log,
    expose_value=False,
    help="Log to standard error: -v stages and steps, -vv also what solvers and sessions choose.",
)
json_option = option(
    "--json", "json_file", type=FilePath(), metavar="FILE", help="Write the result as JSON; - prints it."
)
quiet_option = option("--quiet", is_flag=True, callback=_hush, help="Print nothing but errors.")
model_output_option = option(
    "-o", "--output", required=True, type=FilePath(), metavar="FILE", help="Where to write the model; - for stdout."
)
output_options = option_group("Output", [json_option, quiet_option, verbose_option])
"""What becomes of the result."""

classes_option = option(
    "--classes", type=FilePath(), metavar="FILE", help="File with one class per line, for class folders."
)
limit_option = option(
    "--limit", type=COUNT, metavar="N", help="Use at most N inputs, drawn at random; the first N of a generator."
)
batch_size_option = option(
    "--batch-size", type=COUNT, metavar="N", help="Inputs run at once. [default: 32, fewer if they are large]"
)
scoring_options = combine_options(
    option("--label-offset", type=int, default=0, metavar="N", help="Add this to labels: 1 if output 0 is background."),
    option(
        "--metric",
        metavar="NAME|MODULE:FUNCTION",
        help=f"What models are judged by: {', '.join(MEASURES)}, or a function(outputs, labels) -> float, higher is "
        "better.",
    ),
)
"""How answers are judged."""
mask_option = option(
    "--mask", metavar="INPUT", help="Input that marks padding, or none. [default: attention_mask and the like]"
)
picture_options = option_group(
    "Images",
    [
        option("--pictures", type=FilePath(), metavar="FILE", help="TOML file with the options of this group."),
        option("--resize", type=int, metavar="PIXELS", help="Scale the shorter side to this many pixels."),
        option("--crop", type=int, metavar="PIXELS", help="Cut a square of this many pixels from the centre."),
        option("--channels", type=click.Choice(["RGB", "BGR", "grey"]), help="Channel order. [default: RGB]"),
        option("--scale", type=float, metavar="NUMBER", help="Multiply pixel values by this. [default: one 255th]"),
        option("--mean", callback=numbers, metavar="NUMBERS", help="Then subtract this, e.g. 0.485,0.456,0.406."),
        option("--std", callback=numbers, metavar="NUMBERS", help="Then divide by this, e.g. 0.229,0.224,0.225."),
        option("--layout", type=click.Choice(["NCHW", "NHWC"]), help="Order of the axes. [default: NCHW]"),
    ],
)
"""How pictures become inputs."""
provider_option = option(
    "--provider", default="cpu", show_default=True, metavar="NAME", help="Execution provider: cpu, cuda, tensorrt, …"
)
target_option = option(
    "--target", type=click.Choice(TARGETS), default="cpu", show_default=True, help="Where the integers will run."
)
threads_option = option(
    "--threads", type=int, metavar="N", help="Threads of one operator while models are timed. [default: one per core]"
)
seed_option = option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of all random choices.")
cluster_option = option(
    "--cluster",
    metavar="WHERE",
    help="Dask workers: local:N processes, a scheduler's tcp://HOST:PORT, or module:function for a Client.",
)
cluster_store_option = option(
    "--cluster-store",
    metavar="FOLDER|URL",
    help="Folder that all workers see, or s3://…: weights travel through it. [default: through the scheduler]",
)
custom_ops_option = option(
    "--custom-ops", multiple=True, metavar="FILE", help="Shared library with operators of your own."
)


def with_pictures(options: dict[str, Any]) -> dict[str, Any]:
    """Picture options gathered into one object; None where none was given."""
    from netsurgeon.pipeline.data import PictureOptions

    file = options.pop("pictures")
    names = [field.name for field in dataclasses.fields(PictureOptions)]
    values = {name: value for name in names if (value := options.pop(name, None)) is not None}
    base = PictureOptions.from_toml(file) if file is not None else None
    pictures = dataclasses.replace(base or PictureOptions(), **values) if base or values else None
    return {**options, "pictures": pictures}
