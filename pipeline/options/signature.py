"""Options as keyword arguments: functions show every one with its meaning and default, and know what was misspelt."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, cast, get_type_hints

from netsurgeon.pipeline.data import PictureOptions
from netsurgeon.pipeline.errors import OptionNameError
from netsurgeon.pipeline.options.groups import OptionValues

PLACE = "    **options: "
"""How the line of a docstring starts that the options take the place of."""
Function = TypeVar("Function", bound=Callable[..., Any])


def takes_options(*groups: type) -> Callable[[Function], Function]:
    """Show options in the signature and the docstring of a function with `**options`, and check their names.

    Both are made from the groups, so that nothing is written twice; type checkers read `OptionValues`. Options of other
    groups are taken, too, for whoever hands on those of a whole command; they are not shown.

    Args:
        groups: classes of options, in the order in which they are shown.
    """

    def decorate(function: Function) -> Function:
        signature = _signature(function, groups)
        names = list(signature.parameters)

        @functools.wraps(function)
        def checked(*arguments: Any, **keywords: Any) -> Any:
            own = [name for name in keywords if name not in OptionValues.__annotations__]
            check_names(function.__name__, own, names)
            return function(*arguments, **keywords)

        checked.__signature__ = signature  # type: ignore[attr-defined]
        checked.__doc__ = _described(function.__doc__ or "", groups)
        return cast(Function, checked)

    return decorate


def checks_names(target: Function) -> Function:
    """Refuse keywords that a function, or a class as it is made, does not have, and name what was probably meant."""
    checked: Any = target
    if isinstance(target, type):
        checked.__init__ = _with_known_names(checked.__init__, target.__name__)
        return target
    return cast(Function, _with_known_names(target, target.__name__))


def _with_known_names(function: Callable[..., Any], owner: str) -> Callable[..., Any]:
    names = [name for name in inspect.signature(function).parameters if name != "self"]

    @functools.wraps(function)
    def checked(*arguments: Any, **keywords: Any) -> Any:
        check_names(owner, keywords, names)
        return function(*arguments, **keywords)

    return checked


def check_names(owner: str, keywords: Iterable[str], names: Iterable[str]) -> None:
    """Refuse keywords that are not known by name.

    Args:
        owner: who takes them, for the message.
        keywords: their names.
        names: what is known.

    Raises:
        OptionNameError: one is not known.
    """
    option_names = [*names]
    for name in keywords:
        if name not in option_names:
            raise OptionNameError(f"{owner} has no option {name!r}: {_advice(name, option_names)}")


def _signature(function: Callable[..., Any], groups: Iterable[type]) -> inspect.Signature:
    """That of the function, with a keyword for each option in place of `**options`."""
    signature = inspect.signature(function)
    own = [entry for entry in signature.parameters.values() if entry.kind is not inspect.Parameter.VAR_KEYWORD]
    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default_of(field),
            annotation=hints[field.name],
        )
        for group in groups
        for hints in [get_type_hints(group)]
        for field in dataclasses.fields(group)
    ]
    return signature.replace(parameters=[*own, *options])


def default_of(field: dataclasses.Field[Any]) -> Any:
    """The value that a field has where none is given."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _described(doc: str, groups: Iterable[type]) -> str:
    """A docstring with a line for each option in place of the one that stands for all."""
    lines = inspect.cleandoc(doc).splitlines()  # which Python does by itself from 3.13 on
    at = next(number for number, line in enumerate(lines) if line.startswith(PLACE))
    return "\n".join([*lines[:at], *(line for group in groups for line in _group_lines(group)), *lines[at + 1 :]])


def _group_lines(group: type) -> Iterator[str]:
    """The group's subject, then a paragraph for each of its options."""
    texts = attribute_texts(group)
    yield ""
    yield f"    {(group.__doc__ or '').splitlines()[0]}"
    yield ""
    for field in dataclasses.fields(group):
        text = f"{field.name}: {texts[field.name]} [{field.type}, default {default_of(field)!r}]"
        yield from textwrap.wrap(text, 112, initial_indent=" " * 4, subsequent_indent=" " * 8, break_on_hyphens=False)


def attribute_texts(record: type) -> dict[str, str]:
    """What a docstring says of each attribute, lines that continue joined, by name."""
    texts: dict[str, str] = {}
    name = ""
    section = (inspect.getdoc(record) or "").partition("\nAttributes:\n")[2]
    for line in section.splitlines():
        entry = re.match(r" {4}(\w+): (.*)", line)
        if entry:
            name, texts[entry[1]] = entry[1], entry[2]
        elif line.startswith(" " * 5) and name:
            texts[name] += f" {line.strip()}"
        elif line.strip():  # another section
            break
    return texts


def _advice(name: str, known: list[str]) -> str:
    """What was probably meant."""
    pictures = [field.name for field in dataclasses.fields(PictureOptions)]
    if name in pictures and "pictures" in known:
        return f"it is one of pictures=netsurgeon.PictureOptions({name}=…)"
    close = difflib.get_close_matches(name.replace("-", "_"), known, 1, 0.6)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(known))}"
