"""A graph of the zoo for `sparse.py`, in a process of its own: ``python _sparse_zoo.py task.json result.json``.

The graph is pruned in tiles and put on integers; then the file is run by the sparse provider and by the CPU provider,
in turn. The former chooses layer by layer what it takes.
"""

from __future__ import annotations

import collections
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from _quantize_runs import THREADS, compress_graph, compressed_graph
from _runs import Facts, Task, random_feeds, write_facts
from onnx import numpy_helper

from netsurgeon.pipeline.profiling import node_times
from netsurgeon.pipeline.profiling.model_profile import time_models
from netsurgeon.pipeline.profiling.timing import paired_ratio
from netsurgeon.pipeline.runtime import Runtime, full_name, measure_rates, relative_difference

ZEROS = 0.8
COMPARED = 4
"""Inputs whose outputs are compared."""
PROVIDER = "netsurgeon-sparse"


def main(task_path: str, result_path: str) -> None:
    """Run a graph and write its facts."""
    write_facts({"zoo": zoo}, task_path, result_path)


def zoo(task: Task) -> Facts:
    """Compress a graph; how fast it is with the sparse provider and without, what that takes, and if they agree."""
    facts = compress_graph(task, {"quantize": "int8", "pattern": "k:64", "sparsity": ZEROS})
    if "status" in facts:
        return facts
    small, feeds = compressed_graph(task), random_feeds(task["inputs"])
    measure_rates(PROVIDER)
    dense, sparse = (Runtime(provider=provider, threads=THREADS, deployed=True) for provider in ("cpu", PROVIDER))
    _, (seconds,) = time_models((small, small), feeds[:1], (dense, sparse))
    ratio = paired_ratio(seconds[..., 0], seconds[..., 1])
    sessions = [runtime.session(small) for runtime in (dense, sparse)]
    expected, actual = ([session.run(feed) for feed in feeds[:COMPARED]] for session in sessions)
    return {
        **facts,
        **_layers(small, feeds[0], sparse),
        **largest_difference(expected, actual, output_steps(onnx.load(small))),
        "int8": 1e3 * float(np.median(seconds[..., 0])),
        "sparse": 1e3 * float(np.median(seconds[..., 1])),
        "ratio": ratio.value,
        "interval": [ratio.low, ratio.high],
    }


def _layers(model: Path, feed: Mapping[str, Any], runtime: Runtime) -> Facts:
    """How many layers the provider takes, and for which reasons it leaves others."""
    nodes = node_times(model, feed, runtime, runs=1)
    reasons = collections.Counter(node.reason.partition(":")[0] for node in nodes if node.reason)
    taken = sum(node.provider == full_name(PROVIDER) for node in nodes)
    return {"taken": taken, "layers": taken + reasons.total(), "left": dict(reasons.most_common())}


def output_steps(model: onnx.ModelProto) -> dict[str, float]:
    """What one integer is worth of each output that is integers: those that a DequantizeLinear of one scale makes."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    outputs = {value.name for value in model.graph.output}
    ends = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.output[0] in outputs]
    scales = {
        node.output[0]: numpy_helper.to_array(constants[node.input[1]]) for node in ends if node.input[1] in constants
    }
    return {name: float(scale.reshape(())) for name, scale in scales.items() if scale.size == 1}


def largest_difference(
    expected: Sequence[Mapping[str, Any]], actual: Sequence[Mapping[str, Any]], steps: Mapping[str, float]
) -> Facts:
    """Whether outputs, by name for each input, are equal; else how far they are apart at most.

    Gives `steps` of the outputs that are integers, and `difference` of the others, relative to the largest number that
    is expected of one.
    """
    apart, differences = [0.0], [0.0]
    for before, after in zip(expected, actual, strict=True):
        for name, array in before.items():
            if np.array_equal(array, after[name], equal_nan=array.dtype.kind == "f"):
                continue
            pair = np.asarray(array, np.float64), np.asarray(after[name], np.float64)
            if name in steps:
                apart.append(float(np.abs(pair[0] - pair[1]).max()) / steps[name])
            else:
                differences.append(relative_difference(*pair))
    are_equal = len(apart) + len(differences) == 2
    return {"equal": are_equal, "steps": float(np.max(apart)), "difference": float(np.max(differences))}


if __name__ == "__main__":
    main(*sys.argv[1:])
