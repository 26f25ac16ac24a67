"""What options take: paths, data, shares and lists, and how each is read from the line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.notation import read_count, read_factor, read_share

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


def _named(read: Callable[[str], Value], form: str, *, is_name_once: bool = False) -> Callable[..., dict[str, Value]]:
    """Callback of an option that takes NAME=VALUE, any number of times; the last of a name counts, or it is refused."""

    def read_all(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> dict[str, Value]:
        del context, parameter
        result: dict[str, Value] = {}
        for entry in value:
            name, _, text = entry.rpartition("=")
            if is_name_once and name in result:
                raise click.BadParameter(f"{name!r} is given twice: give all that belongs to it at once")
            try:
                result[name] = read(text)
            except (ValueError, InputError) as error:
                raise click.BadParameter(f"{entry!r}, expected {form}") from error
        return result

    return read_all


def _given_text(text: str) -> str:
    if not text:
        raise ValueError
    return text


layer_sparsities = _named(lambda text: read_share("sparsity", text), "NAME=SHARE such as 'conv*=80%'")
dropped_rows = _named(_given_text, "NAME=FILE such as embeddings.weight=unused.txt, or NAME=5,10-20", is_name_once=True)
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
        if ctx is None or not ctx.resilient_parsing:  # a shell that completes a line wants no answer but quickly
            from netsurgeon.pipeline.data import check_path

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

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Files and folders, which most data is."""
        del ctx, param
        return [CompletionItem(incomplete, type="file")]


class Quantity(click.types.FloatParamType):
    """A number in one of the forms of `netsurgeon.pipeline.notation`."""

    def __init__(self, name: str, read: Callable[[str, str | float], float]):
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number.

        Raises:
            InputError: it is none of this kind.
        """
        del ctx
        return self._read("the number" if param is None else param.opts[-1].lstrip("-"), value)


SHARE = Quantity("share", read_share)
FACTOR = Quantity("factor", read_factor)
COUNT = Quantity("count", read_count)
