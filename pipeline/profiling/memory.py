"""Memory of a process of its own that loads a model and runs it once."""

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
        probe = subprocess.run(
            [sys.executable, "-m", "netsurgeon.pipeline.runtime.memory_probe"],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            check=False,
        )
    if probe.returncode != 0:
        lines = probe.stderr.strip().splitlines() or ["nothing on stderr"]
        raise CheckFailedError(f"a process that runs the model alone failed with {probe.returncode}: {lines[-1][:400]}")
    before, peak = json.loads(probe.stdout)
    return Footprint(before, peak)
