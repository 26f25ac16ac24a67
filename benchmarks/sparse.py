"""How long ResNet-50's shape and single layers run with the sparse provider, beside dense int8 and float32.

    make kernels && pip install build/kernels/wheel/*.whl
    taskset -c 1 python benchmarks/sparse.py [--zeros 70,80,90,95] [--runs 25]

Sessions of one thread run in turn, and the time that the thread had the processor is taken, so that other programs on
the machine disturb little; of each session the quickest run counts. Writes results/sparse.json and results/sparse.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import netsurgeon_sparse
import numpy as np
import onnx
from _sparse_models import Network, resnet50

from netsurgeon.pipeline.runtime import onnxruntime

RESULTS = Path(__file__).parent / "results" / "sparse.json"
LAYERS = {  # channels in and out, kernel, size of the picture
    "64 to 64, 3x3, 56x56": (64, 64, 3, 56),
    "64 to 256, 1x1, 56x56": (64, 256, 1, 56),
    "128 to 128, 3x3, 28x28": (128, 128, 3, 28),
    "256 to 256, 3x3, 14x14": (256, 256, 3, 14),
    "1024 to 256, 1x1, 14x14": (1024, 256, 1, 14),
    "512 to 512, 3x3, 7x7": (512, 512, 3, 7),
}


def session(model: onnx.ModelProto, claim: str | None) -> Any:
    """A session of one thread; `claim` None is the CPU provider alone."""
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    if claim is not None:
        options = netsurgeon_sparse.session_options(options, claim=claim)
        return ort.InferenceSession(model.SerializeToString(), options)
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def quickest(sessions: Mapping[str, Any], feed: Mapping[str, Any], runs: int) -> dict[str, float]:
    """Milliseconds of each, run in turn."""
    best = dict.fromkeys(sessions, float("inf"))
    for _ in range(runs):
        for name, timed in sessions.items():
            start = time.thread_time()
            timed.run(None, feed)
            best[name] = min(best[name], 1e3 * (time.thread_time() - start))
    return best


def whole_shape(zeros: float, pattern: str, runs: int) -> dict[str, Any]:
    """ResNet-50's shape, batch 1."""
    model = resnet50(zeros, pattern=pattern)
    sessions = {
        "float32": session(resnet50(zeros, floats=True, pattern=pattern), None),
        "int8": session(model, None),
        "sparse": session(model, "auto"),
    }
    feed = {"image": np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)}
    equal = np.array_equal(sessions["int8"].run(None, feed)[0], sessions["sparse"].run(None, feed)[0])
    return {
        "case": f"ResNet-50's shape, {pattern}",
        "zeros": zeros,
        "equal": bool(equal),
        **quickest(sessions, feed, runs),
    }


def layer(name: str, zeros: float, runs: int) -> dict[str, Any]:
    """Four alike in a row, whose time is a quarter: what a session costs beside them is the smaller."""
    channels, rows, kernel, size = LAYERS[name]
    models = []
    for floats in (True, False):
        network = Network(zeros, floats=floats)
        value = network.quantize("x", 0.02, 120)
        step = 0.02
        for at in range(4):
            sizes = (channels, rows) if at % 2 == 0 else (rows, channels)
            value = network.convolution(value, sizes, kernel, step=step)
            step = 4 / 255
        models.append(network.model({"x": [1, channels, size, size]}, value, [1, channels, size, size]))
    sessions = {
        "float32": session(models[0], None),
        "int8": session(models[1], None),
        "sparse": session(models[1], "all"),
    }
    feed = {"x": np.random.default_rng(0).normal(size=(1, channels, size, size)).astype(np.float32)}
    equal = np.array_equal(sessions["int8"].run(None, feed)[0], sessions["sparse"].run(None, feed)[0])
    times = {key: milliseconds / 4 for key, milliseconds in quickest(sessions, feed, runs).items()}
    return {"case": f"four layers, {name}", "zeros": zeros, "equal": bool(equal), **times}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: milliseconds, and the ratios to the sparse session's."""
    lines = [
        "# Sparse layers: measured",
        "",
        "Milliseconds of one thread, batch 1, and how many times as fast the sparse provider is.",
        "",
        "| case | zeros | float32 | int8 | sparse | over int8 | over float32 | equal to int8 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        over = [f"{row[key] / row['sparse']:.2f}" for key in ("int8", "float32")]
        times = [f"{row[key]:.3f}" for key in ("float32", "int8", "sparse")]
        equal = "yes" if row["equal"] else "no"
        lines.append("| " + " | ".join([row["case"], f"{row['zeros']:.0%}", *times, *over, equal]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zeros", default="70,80,90,95", help="percent, with commas")
    parser.add_argument("--runs", type=int, default=25)
    options = parser.parse_args()
    shares = [float(number) / 100 for number in options.zeros.split(",")]
    rows = [whole_shape(zeros, "k:64", options.runs) for zeros in shares]
    rows += [whole_shape(zeros, "any", options.runs) for zeros in shares if zeros in (0.8, 0.9)]
    rows += [layer(name, zeros, 4 * options.runs) for name in LAYERS for zeros in shares if zeros in (0.8, 0.9)]
    RESULTS.write_text(json.dumps({"onnxruntime": onnxruntime().__version__, "rows": rows}, indent=1) + "\n", "utf-8")
    RESULTS.with_suffix(".md").write_text(table(rows), "utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
