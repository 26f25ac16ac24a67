"""Write a file so that it is whole or not there, whatever stops the process."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_RANDOM_BYTES = 8
_LONGEST_STEM = 40
"""Characters of the goal's name that the part's name starts with: a name of 255 bytes leaves no room for more."""


@contextlib.contextmanager
def replace_atomically(goal: Path) -> Iterator[IO[bytes]]:
    """A file that takes its place when it is whole and on the disk.

    It is made exclusively, under a random name: what somebody else has put in the folder is neither opened nor
    followed. A link at the goal is replaced, and what it leads to stays.

    Raises:
        OSError: the goal is a device, a pipe or a folder, or the disk does not take the file.
    """
    refuse_irregular(goal)
    part = goal.with_name(part_name(goal.name))
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "w+b") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        refuse_irregular(goal)
        part.replace(goal)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_names(goal.parent)


def sync(path: Path) -> None:
    """Let a file's content outlive a power cut.

    Raises:
        OSError: the disk does not take it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_names(folder: Path) -> None:
    """Let the names in a folder outlive a power cut, where it can be opened and its file system knows how.

    Raises:
        OSError: the disk does not take them.
    """
    try:
        sync(folder)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EINVAL, errno.ENOTSUP):
            raise


def refuse_irregular(goal: Path) -> None:
    """Refuse to put a file in the place of what is none: a rename would take a device or a pipe away.

    Raises:
        OSError: the goal is a folder, a device or a pipe.
    """
    try:
        mode = goal.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(goal))
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise OSError(errno.EEXIST, "it is a device or a pipe, not a file", str(goal))


def part_name(name: str) -> str:
    """A new name for the file that is written first and renamed when it is whole."""
    return f".{name[:_LONGEST_STEM]}.{secrets.token_hex(_RANDOM_BYTES)}.part"


def is_part(name: str, of: str | None = None) -> bool:
    """Whether a name is one of `part_name`: of that file, or of any."""
    stem = r".{1,40}" if of is None else re.escape(of[:_LONGEST_STEM])
    return re.fullmatch(rf"\.{stem}\.[0-9a-f]{{{2 * _RANDOM_BYTES}}}\.part", name, re.DOTALL) is not None
