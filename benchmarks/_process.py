"""Runs of the benchmarks, each in a process of its own, so that its peak memory is its own and a crash costs one row.

This module imports nothing large, because a child's peak counts its parent's memory at the start.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CORES = 2
TIMEOUT = 4 * 3600.0

Row = dict[str, Any]


def take_two_cores() -> None:
    """Keep this process and its children on at most CORES cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def run_task(task: dict[str, Any], script: str = "_runs.py", python: tuple[str, ...] = (sys.executable,)) -> Row:
    """Run a task in a process of its own; what it found, or how it failed.

    Args:
        task: what the script is to do.
        script: of this folder, called with the paths of the task and of the result.
        python: the interpreter, with its options.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        task_file, result_file = Path(folder) / "task.json", Path(folder) / "result.json"
        task_file.write_text(json.dumps({**task, "folder": folder}), "utf-8")
        command = [*python, str(HERE / script), str(task_file), str(result_file)]
        try:
            process = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        except subprocess.TimeoutExpired:
            return {"status": "BROKEN", "error": f"not done after {TIMEOUT:g} s"}
        if process.returncode == 0 and result_file.exists():
            facts: Row = json.loads(result_file.read_text("utf-8"))
            return facts
    print(process.stderr, file=sys.stderr)
    lines = process.stderr.strip().splitlines() or ["nothing on stderr"]
    seconds = time.perf_counter() - started
    return {"status": "BROKEN", "error": f"exit code {process.returncode} after {seconds:.0f} s: {lines[-1]}"}


def run_zoo(kind: str, path: Path, inputs: dict[str, Any], script: str = "_runs.py") -> Row:
    """Run a task on a graph of the zoo; the `light_*` ones get He weights first."""
    if not path.name.startswith("light_"):
        return run_task({"kind": kind, "path": str(path), "inputs": inputs}, script)
    with tempfile.TemporaryDirectory() as folder:
        target = f"{folder}/{path.name}"
        weighted = run_task({"kind": "he", "source": str(path), "target": target, "free_batch": False})
        if weighted["status"] != "ok":
            return weighted
        return run_task({"kind": kind, "path": target, "inputs": inputs}, script)
