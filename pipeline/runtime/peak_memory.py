"""The most memory that this process has taken, and how much it may still take."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

STATUS = Path("/proc/self/status")
GROUPS = Path("/proc/self/cgroup")
CONTROL_GROUPS = Path("/sys/fs/cgroup")
LIMITS = (
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Of the second and the first version of control groups: the folder that they are in, files of a group that hold its
limit and what is taken, and the line of `memory.stat` with what is kept of files only as long as nobody needs room."""


def peak_bytes() -> int:
    """Most resident memory of this process so far, in bytes.

    Linux says it of the memory that the program has had since it was started. What `getrusage` says begins with the
    memory of the program that started this one, which may be a large service or a test suite: it is for other systems.
    """
    if sys.platform == "linux":
        try:
            fields = dict(line.split(":", 1) for line in STATUS.read_text("utf-8").splitlines())
            return int(fields["VmHWM"].split()[0]) * 1024
        except (OSError, KeyError, ValueError):  # of a kernel or a sandbox that does not say it
            pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def available_bytes() -> int:
    """Memory that can be taken at the moment without swapping, in bytes.

    It is what the machine has, or the least that a control group leaves: that of a container, of a job of a scheduler
    such as Slurm, of a slice of systemd, or one that such a group lies in.
    """
    return min([int(psutil.virtual_memory().available), *_left_by_groups()])


def _left_by_groups() -> Iterator[int]:
    """What each control group of this process leaves, from its own to the root, as far as it has a limit."""
    paths = _group_paths()
    for folder, limit, taken, inactive in LIMITS:
        path = PurePosixPath(paths.get(folder, "/")).relative_to("/")
        for group in (path, *path.parents):
            directory = CONTROL_GROUPS / folder / group
            try:
                most, now = (int((directory / name).read_text("utf-8")) for name in (limit, taken))
            except (OSError, ValueError):  # there is no such group here, or its limit is "max"
                continue
            yield max(most - max(now - _counted(directory / "memory.stat", inactive), 0), 0)


def _group_paths() -> dict[str, str]:
    """By controller, the groups of this process as the kernel names them; "" is that of the second version."""
    try:
        lines = [line.split(":", 2) for line in GROUPS.read_text("utf-8").splitlines()]
    except OSError:
        return {}
    # One that begins with ".." lies outside of what this process sees.
    return {name: path for _, names, path in lines for name in names.split(",") if not path.startswith("/..")}


def _counted(path: Path, name: str) -> int:
    """A number in a file of names and numbers; 0 where it is not there."""
    try:
        return int(dict(line.split() for line in path.read_text("utf-8").splitlines())[name])
    except (OSError, KeyError, ValueError):
        return 0
