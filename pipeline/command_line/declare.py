"""Commands whose help shows their options in groups, then examples; and how options are put into a group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import click

Function = Callable[..., None]
Decorator = Callable[[Function], Function]

OTHER = "Other"
GROUPS = ("Data", "Goals", "By hand", "Training", "Images", "Running", "Output", "Expert", OTHER)
"""Groups of options in the order of the help."""


class Option(click.Option):
    """An option that belongs to a group of the help.

    Attributes:
        group: one of `GROUPS`.
    """

    group = OTHER


option = partial(click.option, cls=Option)


def option_group(group: str, options: Sequence[Decorator]) -> Decorator:
    """Options as one decorator, listed by the help in this order under the group's name."""

    def decorate(function: Function) -> Function:
        before = len(getattr(function, "__click_params__", ()))
        for add in reversed(options):
            function = add(function)
        for parameter in function.__click_params__[before:]:  # type: ignore[attr-defined]
            parameter.group = group
        return function

    return decorate


class Command(click.Command):
    """A command whose help has its options in groups, then examples.

    Attributes:
        examples: whole command lines, shown as they are.
    """

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), **settings: Any):
        super().__init__(*arguments, **settings)
        self.examples = tuple(examples)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, one section a group."""
        sections: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                sections[getattr(parameter, "group", OTHER)].append(record)
        for group, records in sections.items():
            if records:
                with formatter.section(group):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, whose lines are not wrapped: they are there to be copied."""
        _write_examples(self.examples, formatter)
        super().format_epilog(ctx, formatter)


class CommandGroup(click.Group):
    """The commands, each with its whole first sentence.

    Attributes:
        examples: whole command lines, shown as they are.
    """

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), **settings: Any):
        super().__init__(*arguments, **settings)
        self.examples = tuple(examples)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of declaration: what is used first comes first."""
        del ctx
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what every command does."""
        names = self.list_commands(ctx)
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.commands[name].get_short_help_str(limit=1000)) for name in names])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        _write_examples(self.examples, formatter)
        super().format_epilog(ctx, formatter)


def _write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    if examples:
        with formatter.section("Examples"):
            for line in (line for example in examples for line in example.splitlines()):
                formatter.write(f"{' ' * formatter.current_indent}{line}\n")
