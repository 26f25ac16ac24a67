"""Memory of a process that loads a model and runs it once: ``python -m netsurgeon.pipeline._footprint``.

A process of its own, because what another model has left in memory cannot be told from what this one needs.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.runtime import Runtime


@dataclasses.dataclass(frozen=True)
class Footprint:
    """Resident memory in bytes: before the model is loaded, and the most until it has run once."""

    before: int
    peak: int


def footprint(model: Path, feed: Mapping[str, Any], runtime: Runtime) -> Footprint:
    """Memory of the host that a fresh process needs for a model; memory of a GPU is not counted.

    Raises:
        CheckFailedError: the process failed.
    """
    with tempfile.TemporaryDirectory(prefix="netsurgeon-") as folder:
        feeds = Path(folder) / "feed.npz"
        np.savez(feeds, **{f"feed {name}": array for name, array in feed.items()})
        order = {"model": str(model.resolve()), "feed": str(feeds), "runtime": dataclasses.asdict(runtime)}
        done = subprocess.run(
            [sys.executable, "-m", "netsurgeon.pipeline._footprint"],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["nothing on stderr"]
        raise CheckFailedError(f"a process that runs the model alone failed with {done.returncode}: {lines[-1][:400]}")
    before, peak = json.loads(done.stdout)
    return Footprint(before, peak)


def _measure(order: str) -> tuple[int, int]:
    given = json.loads(order)
    runtime = Runtime(**{**given["runtime"], "custom_ops": tuple(given["runtime"]["custom_ops"])})
    with np.load(given["feed"], allow_pickle=False) as arrays:
        feed = {name.removeprefix("feed "): arrays[name] for name in arrays}
    before = psutil.Process().memory_info().rss
    runtime.session(Path(given["model"])).run(feed)
    return before, _peak()


def _peak() -> int:
    """Most resident memory of this process; that of its parent, which getrusage may count, left out where possible."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text("utf-8").splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) * 1024
    from netsurgeon.pipeline.facts import peak_bytes

    return peak_bytes()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure(sys.stdin.read())))
