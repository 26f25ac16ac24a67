"""The most memory that this process has taken."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


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
