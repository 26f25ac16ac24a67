"""A command made of options under test, and what it is called with."""

from collections.abc import Callable
from typing import Any

import click
from click.testing import CliRunner, Result

Values = dict[str, Any]


def called(*arguments: str, options: Callable[..., Any]) -> tuple[Values, Result]:
    """What a command with these options is called with, and how it ended."""
    values: Values = {}

    @click.command()
    @options
    def command(**arguments: Any) -> None:
        values.update(arguments)

    return values, CliRunner().invoke(command, arguments)
