"""One run of `repair.py` in a process of its own: ``python _repair_runs.py task.json result.json``."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

import _runs
from _quantize_runs import sources
from _runs import BATCH, Facts, Task

import netsurgeon


def main(task_path: str, result_path: str) -> None:
    """Run a task and write its facts."""
    _runs.write_facts({"repair": repair}, task_path, result_path)


def repair(task: Task) -> Facts:
    """Compress a model with or without repair, by calibration inputs without labels, and read the test split once."""
    inputs, test, options = sources(task)
    options |= {"batch_size": BATCH[task["data"]], "seed": task["seed"], "repair": task["repair"], **task["options"]}
    started, cpu_started = time.perf_counter(), time.process_time()
    output = Path(task["folder"]) / "small.onnx"
    report = netsurgeon.compress(task["model"], inputs, test=test, output=output, **options).report
    facts = report.integer_repair or report.repair
    return {
        "top1_dense": _percent(report.validation.dense.top1),
        "top1": _percent(report.validation.compressed.top1),
        "agreement": _percent(report.validation.agreement),
        "sparsity": round(100 * report.sparsity, 2),
        "ratio": round(report.ratio, 3),
        "test_samples": report.validation.samples,
        "calibration_samples": report.calibration.samples,
        "repair": None if facts is None else dataclasses.asdict(facts),
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time() - cpu_started, 1),
        "peak_bytes": report.peak_bytes,
        "warnings": [str(warning) for warning in report.warnings],
    }


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2)


if __name__ == "__main__":
    main(*sys.argv[1:])
