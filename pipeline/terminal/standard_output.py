"""`-` as an output: a model on standard output, and nothing else there."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from netsurgeon.pipeline.errors import InputError, NetsurgeonError

STANDARD_OUTPUT = Path("-")
_OUT, _ERROR = 1, 2
"""Descriptors of standard output and standard error."""


@contextlib.contextmanager
def model_file(output: Path) -> Iterator[Path]:
    """Where to write a model: the output, or for "-" a file for the time being, whose bytes go to standard output.

    The file is verified like any other before a byte of it goes anywhere, and it goes also where only what comes after
    it fails, such as its report: a file would be there, too. All else that is printed goes to standard error.

    Raises:
        InputError: standard output is closed, a terminal, or does not take the model; or the model needs a second file.
    """
    if output != STANDARD_OUTPUT:
        yield output
        return
    with _set_aside() as stream, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / STANDARD_OUTPUT
        try:
            yield file
        except NetsurgeonError as error:
            if not file.exists():
                raise
            _copy(file, stream)
            raise type(error)(str(error).replace(str(file), "standard output")) from error
        if file.exists():  # one process of several writes it
            _copy(file, stream)


def _copy(file: Path, stream: IO[bytes]) -> None:
    if len(list(file.parent.iterdir())) > 1:
        raise InputError("the weights take a second file, which standard output cannot hold: give -o a path")
    try:
        with file.open("rb") as source:
            shutil.copyfileobj(source, stream)
        stream.flush()
    except OSError as error:
        raise InputError(f"standard output does not take the model: {error.strerror or error}") from error


@contextlib.contextmanager
def _set_aside() -> Iterator[IO[bytes]]:
    """Standard output for the model alone: what else is written to it, be it by C code, goes to standard error."""
    printed = sys.stdout
    try:
        if os.isatty(_OUT):
            raise InputError("standard output is a terminal, which shows no model: redirect it, or give -o a path")
        stream = os.fdopen(os.dup(_OUT), "wb", buffering=0)
        printed.flush()
    except (OSError, AttributeError) as error:  # Python has no sys.stdout where it is closed
        raise InputError("standard output is closed: redirect it, or give -o a path") from error
    with stream, contextlib.redirect_stdout(sys.stderr):
        os.dup2(_ERROR, _OUT)
        try:
            yield stream
        finally:
            printed.flush()
            os.dup2(stream.fileno(), _OUT)
