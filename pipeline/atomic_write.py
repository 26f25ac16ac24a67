"""Write a file so that it is whole or not there, whatever stops the process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def replace_atomically(goal: Path) -> Iterator[IO[bytes]]:
    """A file that takes its place when it is whole and on the disk."""
    part = goal.with_name(part_name(goal.name))
    try:
        with part.open("wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        part.replace(goal)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(goal.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too, outlives a power cut
    finally:
        os.close(folder)


def part_name(name: str) -> str:
    """Name of the file that is written first and renamed when it is whole."""
    return f".{name}.part"
