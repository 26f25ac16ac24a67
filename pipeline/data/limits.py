"""How much is read, of what: sizes are looked at before anything is read, and what is no plain file never is."""

import os
import stat
import tomllib
from pathlib import Path
from typing import IO, Any

from netsurgeon.pipeline.errors import InputError

MOST_SAMPLES = 1 << 24
"""Most samples of a source."""
MOST_LABELS = 1 << 28
"""Most numbers in the labels of a source, which are held in memory: classes, or targets such as pictures."""
MOST_FEEDS = 1_000_000
"""Most feeds that a function or an iterable gives: one without an end would never be through."""
MOST_BYTES = 1 << 32
"""Most bytes that are held in memory at once: of made-up inputs, of an iterator, of a batch, of one sample."""
MOST_FED_BYTES = 1 << 38
"""Most bytes that a function gives in all; each feed is let go of before the next one."""
MOST_TEXT_BYTES = 1 << 24
"""Most bytes of a recipe, a list of classes or another text."""


def check_samples(count: int, origin: str) -> None:
    """Refuse more samples than are ever needed.

    Raises:
        InputError: there are more than `MOST_SAMPLES`.
    """
    if count > MOST_SAMPLES:
        raise InputError(f"{origin} holds {count:,} samples, at most {MOST_SAMPLES:,} are read: give a part of them")


def check_bytes(count: int, what: str, advice: str) -> None:
    """Refuse what does not fit into the memory that is set aside for it.

    Raises:
        InputError: it is more than `MOST_BYTES`.
    """
    if count > MOST_BYTES:
        raise InputError(f"{what} would take {in_words(count)} of memory, at most {in_words(MOST_BYTES)}: {advice}")


def in_words(count: int) -> str:
    """A number of bytes."""
    size, units = float(min(count, 1 << 200)), ["bytes", "KB", "MB", "GB", "TB"]
    while size >= 1000.0 and len(units) > 1:
        size, units = size / 1000.0, units[1:]
    return f"{size:,.3g} {units[0]}" if size < 1e6 else f"more than {10**6:,} {units[0]}"


def check_path(path: str | os.PathLike[str], what: str) -> None:
    """Refuse what no path can be.

    Raises:
        InputError: it is empty, or holds a NUL.
    """
    text = os.fspath(path)
    if not text:
        raise InputError(f"{what} is an empty path: give a file or folder, or leave it out")
    if "\0" in text:
        raise InputError(f"{what} is {text!r}, and no path holds a NUL: give another")


def open_regular(path: Path) -> IO[bytes]:
    """Open a file, and never wait for a pipe.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no plain file.
    """
    handle = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
        handle.close()
        raise ValueError("it is a device or a pipe, not a file")
    return handle


def read_text(path: Path) -> str:
    """A text file of the user's, in UTF-8.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no plain file, too long, or no text.
    """
    check_path(path, "a file")
    with open_regular(path) as handle:
        data = handle.read(MOST_TEXT_BYTES + 1)
    if len(data) > MOST_TEXT_BYTES:
        raise ValueError(f"it is longer than {in_words(MOST_TEXT_BYTES)}")
    return data.decode("utf-8").replace("\r\n", "\n")


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file of the user's.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no TOML, or none that anybody has written by hand.
    """
    try:
        return tomllib.loads(read_text(path))
    except RecursionError as error:
        raise ValueError("its values lie in each other too deep") from error
