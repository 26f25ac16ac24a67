"""Time two models in turn in one process: the ratio of neighbours is what the machine's noise leaves alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

THREADS = 2
RUNS = 61
WARM_UP = 5

Facts = dict[str, Any]


def paired(dense: Path, small: Path, batch: int) -> Facts:
    """Milliseconds of both models (median) and the ratio dense / small with its 95 % interval.

    The interval is the sign test's, on the ratios of neighbouring runs.
    """
    sessions = [_session(path) for path in (dense, small)]
    feed = _feed(dense, batch)
    if feed is None:
        return {"batch": batch, "skipped": "its batch is fixed"}
    for session in sessions:
        for _ in range(WARM_UP):
            session.run(None, feed)
    seconds = np.array([[_seconds(session, feed) for session in sessions] for _ in range(RUNS)])
    ratios = np.sort(seconds[:, 0] / seconds[:, 1])
    reach = int(np.floor(RUNS / 2 - 0.98 * np.sqrt(RUNS)))
    milliseconds = 1000 * np.median(seconds, axis=0)
    return {
        "batch": batch,
        "dense_ms": round(float(milliseconds[0]), 3),
        "small_ms": round(float(milliseconds[1]), 3),
        "ratio": round(float(np.median(ratios)), 3),
        "interval": [round(float(ratios[reach]), 3), round(float(ratios[-1 - reach]), 3)],
    }


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = THREADS
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _feed(path: Path, batch: int) -> Facts | None:
    """A random batch; None where the model's own batch is another one."""
    feed = {}
    for value in onnx.load(path, load_external_data=False).graph.input:
        first, *rest = value.type.tensor_type.shape.dim
        if first.dim_value not in (0, batch):
            return None
        shape = (batch, *(axis.dim_value for axis in rest))
        feed[value.name] = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return feed


def _seconds(session: ort.InferenceSession, feed: Facts) -> float:
    started = time.perf_counter()
    session.run(None, feed)
    return time.perf_counter() - started
