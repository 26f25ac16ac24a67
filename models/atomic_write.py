"""Write a file so that it is whole or not there, whatever stops the process."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A path to write to; the file takes its place at `path` when the block ends, and is gone if it fails.

    It lies in a new folder beside `path` that is this user's own, so that nobody can have put a link there. What
    killed processes have left of earlier ones is cleared away: a run folder belongs to one process.
    """
    _clear_leftovers(path)
    with tempfile.TemporaryDirectory(prefix=_prefix(path), suffix=".part", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        yield temporary
        temporary.replace(path)


def _prefix(path: Path) -> str:
    return f".{path.name[:40]}."


def _clear_leftovers(path: Path) -> None:
    pattern = re.compile(re.escape(_prefix(path)) + r"[a-z0-9_]{8}\.part")
    for entry in path.parent.iterdir():
        if pattern.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
