"""Write docs/messages.md anew: ``python docs/message_codes.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from netsurgeon.pipeline.errors import NetsurgeonError
from netsurgeon.pipeline.messages import CODES

PAGE = Path(__file__).parent / "messages.md"
INTRODUCTION = """# Notes, warnings and errors

This page explains the codes of notes, warnings and errors, to people and to programs. Programs should match on the
code: sentences may change, codes keep their meaning. `make messages` writes this page from `CODES` in
`pipeline/messages.py` and the classes in `pipeline/errors.py`, and a test fails when it is stale.

## In reports and other JSON

Notes, warnings, and reasons why something was undone or left out are objects with a code, data, and the sentence:

    {"code": "samples-dropped", "dropped": 4, "samples": 100, "text": "…"}

If another problem is the reason, `cause` is its code, and its data is added:

    {"code": "step-undone", "step": "shortcuts", "cause": "outputs-differ", "output": "y", "difference": 0.3,
     "tolerance": 0.0001, "text": "…"}

From Python such a message is a string with the attributes `code` and `data`.

| code | meaning |
|---|---|
"""
ERRORS = """
## Errors that end a command

A command prints the sentence and ends with the exit code. From Python these are exceptions with the attribute `code`.

| code | exit code | class | meaning |
|---|---|---|---|
"""


def codes_page() -> str:
    """The page, whole."""
    rows = "".join(f"| `{code}` | {meaning} |\n" for code, meaning in sorted(CODES.items()))
    errors = "".join(
        f"| `{kind.code}` | {kind.exit_code} | `{kind.__name__}` | {meaning_of(kind)} |\n"
        for kind in subclasses(NetsurgeonError)
    )
    return f"{INTRODUCTION}{rows}{ERRORS}{errors}"


def subclasses(kind: type[NetsurgeonError]) -> Iterator[type[NetsurgeonError]]:
    """All classes below one, each before those below it."""
    for below in kind.__subclasses__():
        yield below
        yield from subclasses(below)


def meaning_of(kind: type[NetsurgeonError]) -> str:
    """The first sentence of its docstring, without the exit code."""
    return (kind.__doc__ or "").splitlines()[0].partition(" (exit code")[0].rstrip(".") + "."


if __name__ == "__main__":
    PAGE.write_text(codes_page(), "utf-8")
