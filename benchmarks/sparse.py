"""How long whole shapes and single layers run with the sparse provider, beside dense int8 and float32.

    make kernels && pip install build/kernels/wheel/*.whl
    taskset -c 1 python benchmarks/sparse.py [--zeros 70,80,90,95] [--runs 25]
    python benchmarks/sparse.py --threads 2
    taskset -c 1 python benchmarks/sparse.py --goals all --shared ../shared [--effort fast]

Sessions of one thread run in turn, and the time that the thread had the processor is taken, so that other programs on
the machine disturb little; of each session the quickest run counts. With more threads, which need as many idle cores,
the clock on the wall is read, and ResNet-50's shape alone is run. Writes results/sparse.json and results/sparse.md, or
sparse_2_threads in their place.

With --goals, real models are compressed by `--max-drop 1%` for `cpu` and for `cpu-sparse`, and both files are timed.
Results are kept row by row in results/sparse_goals.json and .md. Exit code 1 where a file for sparse kernels is slower
than the one for dense kernels.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import netsurgeon_sparse
import numpy as np
import onnx
from _process import run_task
from _sparse_models import Network, fully_connected, resnet50, transformer, transformer_products

from netsurgeon.pipeline.runtime import onnxruntime

RESULTS = Path(__file__).parent / "results" / "sparse.json"
TRANSFORMERS = Path(__file__).parents[1] / "build" / "transformers"
STEP = "_sparse_goals.py"
LAYERS = {  # channels in and out, kernel, size of the picture
    "64 to 64, 3x3, 56x56": (64, 64, 3, 56),
    "64 to 256, 1x1, 56x56": (64, 256, 1, 56),
    "128 to 128, 3x3, 28x28": (128, 128, 3, 28),
    "256 to 256, 3x3, 14x14": (256, 256, 3, 14),
    "1024 to 256, 1x1, 14x14": (1024, 256, 1, 14),
    "512 to 512, 3x3, 7x7": (512, 512, 3, 7),
}


GOALS: dict[str, dict[str, Any]] = {
    "squeezenet1_1_imagenet": {"data": "imagenet", "limit": 500},
    "resnet56_cifar10": {"data": "cifar10", "limit": 4096},
    "l3": {},
}
"""Models that goals are reached on, and what they are run on; l3 is MiniLM-L3, of transformer.py."""
NOT_SLOWER = 0.98
"""Time of the file for dense kernels over that of the one for sparse kernels, at least: two runs differ by as much."""


def session(model: onnx.ModelProto | Path, claim: str | None, threads: int = 1) -> Any:
    """A session; `claim` None is the CPU provider alone."""
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    if claim is not None:
        options = netsurgeon_sparse.session_options(options, claim=claim)
        return ort.InferenceSession(source, options)
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def quickest(sessions: Mapping[str, Any], feed: Mapping[str, Any], runs: int, threads: int = 1) -> dict[str, float]:
    """Milliseconds of each, run in turn."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    best = dict.fromkeys(sessions, float("inf"))
    for _ in range(runs):
        for name, timed in sessions.items():
            start = clock()
            timed.run(None, feed)
            best[name] = min(best[name], 1e3 * (clock() - start))
    return best


def whole_shape(zeros: float, pattern: str, runs: int, *, batch: int = 1, threads: int = 1) -> dict[str, Any]:
    """ResNet-50's shape."""
    models = [resnet50(zeros, floats=floats, pattern=pattern) for floats in (True, False)]
    feed = {"image": np.random.default_rng(0).normal(size=(batch, 3, 224, 224)).astype(np.float32)}
    case = f"ResNet-50's shape, {pattern}, batch {batch}"
    return {"case": case, "zeros": zeros, **compared(models, feed, runs, threads=threads)}


def products(zeros: float, runs: int) -> list[dict[str, Any]]:
    """Shapes of matrix products, whose activations get a scale in each run.

    One product of many weights waits for memory where sessions run in turn, as inside a large network; alone its
    weights stay in the cache.
    """
    rows = []
    for case, make, shape, in_turn in (
        ("4096 inputs, 4096 outputs, batch 1, in turn", fully_connected, (1, 4096), True),
        ("4096 inputs, 4096 outputs, batch 1, alone", fully_connected, (1, 4096), False),
        ("two layers of BERT-base's shape, 128 tokens", transformer, (1, 128, 768), True),
        ("their products with weights alone", transformer_products, (1, 128, 768), True),
    ):
        feed = {"x": np.random.default_rng(0).normal(size=shape).astype(np.float32)}
        models = [make(zeros, floats=True), make(zeros)]
        rows.append({"case": case, "zeros": zeros, **compared(models, feed, runs, in_turn=in_turn)})
    return rows


def compared(
    models: list[onnx.ModelProto],
    feed: Mapping[str, Any],
    runs: int,
    *,
    claim: str = "auto",
    threads: int = 1,
    in_turn: bool = True,
) -> dict[str, Any]:
    """Milliseconds of the float32 model and of the int8 one, dense and sparse; whether the latter two agree."""
    sessions = {
        "float32": session(models[0], None, threads),
        "int8": session(models[1], None, threads),
        "sparse": session(models[1], claim, threads),
    }
    equal = np.array_equal(sessions["int8"].run(None, feed)[0], sessions["sparse"].run(None, feed)[0])
    if in_turn:
        return {"equal": bool(equal), **quickest(sessions, feed, runs, threads)}
    alone = [quickest({name: timed}, feed, runs, threads) for name, timed in sessions.items()]
    return {"equal": bool(equal), **{name: time for times in alone for name, time in times.items()}}


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
    feed = {"x": np.random.default_rng(0).normal(size=(1, channels, size, size)).astype(np.float32)}
    row = compared(models, feed, runs, claim="all")
    times = {key: row[key] / 4 for key in ("float32", "int8", "sparse")}
    return {"case": f"four layers, {name}", "zeros": zeros, "equal": row["equal"], **times}


def table(rows: list[dict[str, Any]], threads: int) -> str:
    """Markdown: milliseconds, and the ratios to the sparse session's."""
    lines = [
        "# Sparse layers: measured",
        "",
        "This page shows how much time zeros save in `netsurgeon-sparse`.",
        "",
        f"Milliseconds of {threads} thread{'s' if threads > 1 else ''}, and how many times as fast the sparse provider",
        f"is. The processor: {processor()}.",
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


def goals(names: list[str], shared: Path, runs: int, effort: str) -> int:
    """Reach the goal on these models; 1 where a model for sparse kernels is slower than the one for dense kernels."""
    results = RESULTS.with_stem("sparse_goals")
    rows = json.loads(results.read_text("utf-8")) if results.exists() else {}
    for name in names:
        wanted = {"max_drop": "1%"} | ({} if effort == "full" else {"effort": effort})
        places = {"shared": str(shared), "transformers": str(TRANSFORMERS)}
        task = {"kind": "goal", "model": name, "runs": runs, "options": wanted, **places, **GOALS[name]}
        rows[f"{name}, --max-drop 1%" + ("" if effort == "full" else f" --effort {effort}")] = run_task(task, STEP)
        results.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    results.with_suffix(".md").write_text(goal_table(rows), "utf-8")
    print(goal_table(rows))
    return int(any(row["status"] != "ok" or row["int8"] < NOT_SLOWER * row["sparse"] for row in rows.values()))


def goal_table(rows: Mapping[str, Any]) -> str:
    """Markdown: what each goal came to."""
    lines = [
        "# Goals for sparse kernels: measured",
        "",
        "Milliseconds of one thread: the float model, the file for dense kernels (`--target cpu`) and the one for",
        "sparse kernels (`--target cpu-sparse`), run in turn; points lost on the test split, weights kept, and layers",
        f"that run on sparse kernels. The processor: {processor()}.",
        "",
        "| goal | float32 | cpu | cpu-sparse | over cpu | lost, cpu | lost, cpu-sparse | kept | sparse layers |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        if row["status"] != "ok":
            lines.append(f"| {name} | {row['error']} |" + " |" * 7)
            continue
        times = [f"{row[key]:.3f}" for key in ("float32", "int8", "sparse")]
        dense, sparse = (row["targets"][target] for target in ("cpu", "cpu-sparse"))
        lost = [f"{100.0 * target['drop']:.2f}" for target in (dense, sparse)]
        layers = f"{sparse['sparse_layers']} of {sparse['layers']}"
        cells = [name, *times, f"{row['int8'] / row['sparse']:.2f}", *lost, f"{sparse['kept']:.0%}", layers]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zeros", default="70,80,90,95", help="percent, with commas")
    parser.add_argument("--runs", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--goals", help=f"reach goals on real models: all, or with commas {', '.join(GOALS)}")
    parser.add_argument("--shared", type=Path, help="folder with these models and their data")
    parser.add_argument("--effort", default="full", choices=("full", "fast"), help="of reaching the goals")
    options = parser.parse_args()
    if options.goals:
        names = list(GOALS) if options.goals == "all" else options.goals.split(",")
        if not options.shared or not set(names) <= set(GOALS):
            parser.error(f"goals need --shared, and are all or of {', '.join(GOALS)}")
        return goals(names, options.shared.resolve(), 8 * options.runs, options.effort)
    shares = [float(number) / 100 for number in options.zeros.split(",")]
    some = [zeros for zeros in shares if zeros in (0.8, 0.9)]
    results = RESULTS
    if options.threads > 1:
        results = RESULTS.with_stem(f"sparse_{options.threads}_threads")
        rows = [
            whole_shape(zeros, "k:64", options.runs, batch=batch, threads=options.threads)
            for batch in (1, 8)
            for zeros in some
        ]
    else:
        rows = [whole_shape(zeros, "k:64", options.runs) for zeros in shares]
        rows += [whole_shape(zeros, "k:64", max(options.runs // 4, 1), batch=8) for zeros in some]
        rows += [whole_shape(zeros, "any", options.runs) for zeros in some]
        rows += [row for zeros in shares for row in products(zeros, 2 * options.runs)]
        rows += [layer(name, zeros, 4 * options.runs) for name in LAYERS for zeros in some]
    measured = {"processor": processor(), "onnxruntime": onnxruntime().__version__, "rows": rows}
    results.write_text(json.dumps(measured, indent=1) + "\n", "utf-8")
    results.with_suffix(".md").write_text(table(rows, options.threads), "utf-8")
    print(table(rows, options.threads))
    return 0


def processor() -> str:
    """Its name, family and model, where the system tells."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text("utf-8").splitlines() if information.exists() else []
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return ", ".join(f"{key} {said[key]}" for key in ("model name", "cpu family", "model") if key in said)


if __name__ == "__main__":
    sys.exit(main())
