"""Load a model and run it once, alone in a process: ``python -m netsurgeon.pipeline.runtime.memory_probe``.

A process of its own, because what another model has left in memory cannot be told from what this one needs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import psutil

from netsurgeon.pipeline.runtime.peak_memory import peak_bytes
from netsurgeon.pipeline.runtime.session import Runtime


def _measure(order: str) -> tuple[int, int]:
    settings = json.loads(order)
    runtime = Runtime(**{**settings["runtime"], "custom_ops": tuple(settings["runtime"]["custom_ops"])})
    with np.load(settings["feed"], allow_pickle=False) as arrays:
        feed = {name.removeprefix("feed "): arrays[name] for name in arrays}
    before = psutil.Process().memory_info().rss
    runtime.session(Path(settings["model"]), is_tried=True).run(feed)
    return before, _peak()


def _peak() -> int:
    """Most resident memory of this process; that of its parent, which getrusage may count, left out where possible."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text("utf-8").splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) * 1024
    return peak_bytes()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure(sys.stdin.read())))
