"""The most memory that this process has taken, and how much it may still take."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import psutil

STATUS = Path("/proc/self/status")
CONTROL_GROUPS = Path("/sys/fs/cgroup")
LIMITS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
"""Files of a container's control group that hold its limit and what is taken, in the second and the first version."""


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
    """Memory that can be taken at the moment without swapping, of the machine or of the container, in bytes."""
    available = int(psutil.virtual_memory().available)
    for limit, taken in LIMITS:
        try:
            most, now = (int((CONTROL_GROUPS / name).read_text("utf-8")) for name in (limit, taken))
        except (OSError, ValueError):  # there is no such group, or its limit is "max"
            continue
        available = min(available, max(most - now, 0))
    return available
