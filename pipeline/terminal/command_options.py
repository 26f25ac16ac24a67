"""Command-line options that commands share: how their values are read, from the line or from a recipe."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from netsurgeon.pipeline.data import PictureOptions, check_path
from netsurgeon.pipeline.options import Kind, read_recipe
from netsurgeon.pipeline.terminal.safe_text import Formatter

Command = Callable[..., None]
Number = TypeVar("Number", int, float)
Value = TypeVar("Value")


def _separated(number: type[Number], what: str) -> Callable[..., tuple[Number, ...] | None]:
    """Callback of an option that takes numbers with commas between them."""

    def read(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[Number, ...] | None:
        del context, parameter
        try:
            return None if value is None else tuple(number(part) for part in value.split(","))
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is not a list of {what}") from error

    return read


numbers = _separated(float, "numbers such as 0.485,0.456,0.406")
batch_sizes = _separated(int, "batch sizes such as 1,8,32")


def _named(read: Callable[[str], Value], form: str) -> Callable[..., dict[str, Value]]:
    """Callback of an option that takes NAME=VALUE, any number of times."""

    def read_all(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> dict[str, Value]:
        del context, parameter
        result = {}
        for entry in value:
            name, _, text = entry.rpartition("=")
            try:
                result[name] = read(text)
            except ValueError as error:
                raise click.BadParameter(f"{entry!r}, expected {form}") from error
        return result

    return read_all


layer_sparsities = _named(float, "NAME=SPARSITY such as 'conv*=0.8'")
shapes = _named(lambda sizes: tuple(int(size) for size in sizes.split("x")), "NAME=SIZES such as image=1x3x224x224")


class FilePath(click.Path):
    """A path; click itself fails on what cannot be one."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path.

        Raises:
            InputError: it is empty, or holds a NUL.
        """
        check_path(value, param.opts[-1] if isinstance(param, click.Option) else "the argument")
        return super().convert(value, param, ctx)


class Data(click.types.StringParamType):
    """Where inputs come from."""

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:
        """What to give; click puts it behind the name of the option."""
        del param, ctx
        return (
            "Give inputs of the model: an .npz, an .npy, a folder of either, a folder or .zip of pictures, a "
            "module:function, or random by that name"
        )


def combine_options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, listed by --help in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _log(context: click.Context, option: click.Parameter, count: int) -> None:
    """Write to standard error what netsurgeon's loggers say: stages and steps with -v, choices of solvers with -vv."""
    del context, option
    if count:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Formatter("%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S"))
        logger = logging.getLogger("netsurgeon")
        logger.handlers = [handler]
        logger.setLevel(logging.INFO if count == 1 else logging.DEBUG)


verbose_option = click.option(
    "-v",
    "--verbose",
    count=True,
    callback=_log,
    expose_value=False,
    help="Log to standard error: -v stages and steps, -vv choices of the solvers and sessions as well.",
)
output_options = combine_options(
    click.option("--json", "json_file", type=FilePath(), help="Write the result as JSON; - prints it."),
    click.option("--quiet", is_flag=True, help="Print nothing but errors."),
)
"""What becomes of the result."""
_pixel_options = combine_options(
    click.option("--channels", type=click.Choice(["RGB", "BGR", "grey"]), help="Pictures: channel order."),
    click.option("--scale", type=float, help="Pictures: pixel values times this. [default: 1/255]"),
    click.option("--mean", callback=numbers, help="Pictures: then minus this, e.g. 0.485,0.456,0.406."),
    click.option("--std", callback=numbers, help="Pictures: then divided by this."),
)
"""How pixels become numbers."""
picture_options = combine_options(
    click.option("--pictures", type=FilePath(), help="TOML file with the picture options below."),
    click.option("--resize", type=int, help="Pictures: shorter side to this many pixels."),
    click.option("--crop", type=int, help="Pictures: centre crop to a square of this many pixels."),
    _pixel_options,
    click.option("--layout", type=click.Choice(["NCHW", "NHWC"]), help="Pictures: order of axes."),
)
"""How pictures become inputs."""
classes_option = click.option("--classes", type=FilePath(), help="File with one class a line, for class folders.")
run_options = combine_options(
    click.option("--provider", default="cpu", show_default=True, help="Execution provider: cpu, cuda, tensorrt, …"),
    click.option("--seed", type=int, default=0, show_default=True, help="Of every random choice."),
    click.option("--custom-ops", multiple=True, help="Shared library with operators of your own."),
)
"""How the model is run."""
_scoring_options = combine_options(
    click.option("--label-offset", type=int, default=0, help="Added to labels: 1 where output 0 is background."),
    click.option("--metric", help="module:function(outputs, labels) -> float, higher is better."),
)
"""How answers are judged."""
_sampling_options = combine_options(
    click.option("--limit", type=int, help="Most inputs used, drawn at random; a generator's first."),
    click.option("--batch-size", type=int, default=32, show_default=True, help="Inputs run at once."),
)
"""How many inputs are used, and how many at once."""
data_options = combine_options(picture_options, classes_option, _scoring_options, _sampling_options, run_options)
"""How data becomes inputs, and how they are run: shared by the commands that measure accuracy."""


def with_pictures(options: dict[str, Any]) -> dict[str, Any]:
    """Picture options gathered into one object; None where none was given."""
    file = options.pop("pictures")
    names = [field.name for field in dataclasses.fields(PictureOptions)]
    values = {name: value for name in names if (value := options.pop(name, None)) is not None}
    base = PictureOptions.from_toml(file) if file is not None else None
    pictures = dataclasses.replace(base or PictureOptions(), **values) if base or values else None
    return {**options, "pictures": pictures}


_KINDS: dict[str, Kind] = {"mean": "numbers", "std": "numbers", "layer": "table"}


def kind(option: click.Parameter) -> Kind:
    """What an option takes in a recipe."""
    if isinstance(option, click.Option) and option.is_flag:
        return "flag"
    if option.multiple:
        return "list"
    if isinstance(option.type, FilePath | Data):
        return "path"
    if option.type is click.INT:
        return "whole number"
    return "number" if option.type is click.FLOAT else "text"


def _recipe(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """Make the values of a recipe the defaults of all options: the command line wins."""
    if value is None:
        return None
    # options without a value of their own, such as --verbose, are about this call, not about what is done
    others = {
        long_name(option): option
        for option in context.command.params
        if option is not parameter and option.expose_value
    }
    kinds = {name: _KINDS.get(name, kind(option)) for name, option in others.items()}
    context.default_map = {
        others[key].name or "": recipe_value for key, recipe_value in read_recipe(value, kinds).items()
    }
    return value


def long_name(parameter: click.Parameter) -> str:
    """Name of an option in a recipe."""
    return max(parameter.opts, key=len).lstrip("-")


recipe_option = click.option(
    "--recipe",
    type=FilePath(),
    is_eager=True,
    callback=_recipe,
    help="TOML file with any of these options; the command line wins.",
)
"""All options of a command in a file."""
