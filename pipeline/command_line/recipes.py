"""`--recipe`: all options of a command in a file, under whatever the line says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from netsurgeon.pipeline.command_line.declare import option
from netsurgeon.pipeline.command_line.parameter_types import Data, FilePath

if TYPE_CHECKING:
    from netsurgeon.pipeline.options import Kind

_KINDS: dict[str, Kind] = {"mean": "numbers", "std": "numbers", "layer": "table", "drop-rows": "table"}


def kind(parameter: click.Parameter) -> Kind:
    """What an option takes in a recipe."""
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return "flag"
    if parameter.multiple:
        return "list"
    if isinstance(parameter.type, FilePath | Data):
        return "path"
    if parameter.type is click.INT:
        return "whole number"
    return "number" if parameter.type is click.FLOAT else "text"


def _recipe(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """Make the values of a recipe the defaults of all options: the command line wins."""
    if value is None or context.resilient_parsing:
        return value
    from netsurgeon.pipeline.options import read_recipe

    # options without a value of their own, such as --verbose, are about this call, not about what is done
    others = {
        long_name(other): other for other in context.command.params if other is not parameter and other.expose_value
    }
    kinds = {name: _KINDS.get(name, kind(other)) for name, other in others.items()}
    context.default_map = {
        others[key].name or "": recipe_value for key, recipe_value in read_recipe(value, kinds).items()
    }
    return value


def long_name(parameter: click.Parameter) -> str:
    """Name of an option in a recipe."""
    return max(parameter.opts, key=len).lstrip("-")


recipe_option = option(
    "--recipe",
    type=FilePath(),
    metavar="FILE",
    is_eager=True,
    callback=_recipe,
    help="TOML file with any of these options; the command line wins.",
)
"""All options of a command in a file."""
