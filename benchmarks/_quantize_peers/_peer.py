"""What the scripts of the peers share: read the task, time the quantizer, write what it took.

Runs in the peer's environment, which has neither netsurgeon nor what it stands on.
"""

import importlib.metadata
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def run(quantize: Callable[[dict[str, Any], dict[str, np.ndarray]], None], *packages: str) -> None:
    """Call `quantize` with the task and the calibration inputs by name, and write seconds, memory and versions.

    Args:
        quantize: reads the file `model` of the task, and writes its file `output`.
        packages: whose versions are kept.
    """
    task_path, result_path = sys.argv[1:]
    task = json.loads(Path(task_path).read_text("utf-8"))
    os.chdir(task["folder"])  # some leave files where they are called
    with np.load(task["calibration"]) as arrays:
        inputs = {name: arrays[name] for name in arrays.files}
    started = time.perf_counter()
    try:
        quantize(task, inputs)
        facts: dict[str, Any] = {"status": "ok"}
    except Exception as error:  # whatever a peer raises is its answer
        lines = [line for line in str(error).splitlines() if line.strip()] or [""]
        facts = {"status": "refused", "error": f"{type(error).__name__}: {lines[0][:300]}"}
    facts["seconds"] = round(time.perf_counter() - started, 1)
    facts["peak_bytes"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    facts["versions"] = {package: importlib.metadata.version(package) for package in packages}
    Path(result_path).write_text(json.dumps(facts), "utf-8")


def batch_of(model: str, most: int) -> int:
    """Samples a run: what the first input of the model fixes, or `most`."""
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    value = next(value for value in graph.input if value.name not in constants)
    return value.type.tensor_type.shape.dim[0].dim_value or most


def batches(inputs: dict[str, np.ndarray], size: int) -> list[dict[str, np.ndarray]]:
    """The inputs as feeds; a rest that does not fill one is left out."""
    count = min(len(array) for array in inputs.values())
    starts = range(0, count - count % size, size)
    return [{name: array[start : start + size] for name, array in inputs.items()} for start in starts]
