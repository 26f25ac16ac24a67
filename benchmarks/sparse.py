"""How long whole shapes, single layers and graphs run with the sparse provider, beside dense int8 and float32.

    make kernels && pip install build/kernels/wheel/*.whl
    taskset -c 1 python benchmarks/sparse.py [--zeros 70,80,90,95] [--runs 25] [--only "four layers"]
    python benchmarks/sparse.py --threads 2
    taskset -c 1 python benchmarks/sparse.py --zoo ../shared/zoo [--only yunet]
    taskset -c 1 python benchmarks/sparse.py --goals all --shared ../shared [--effort fast]

Sessions of one thread run in turn, and the time that the thread had the processor is taken, so that other programs on
the machine disturb little; of each session the quickest run counts. With more threads, which need as many idle cores,
the clock on the wall is read, and ResNet-50's shape alone is run. Rows are kept as they come in results/sparse.json and
shown in results/sparse.md, or sparse_2_threads in their place.

With --zoo, each graph of that folder is compressed in tiles and on integers, and the file is run with the provider and
without it. Exit code 1 where one is slower beyond noise, or its outputs are more than one integer away.

With --goals, real models are compressed by `--max-drop 1%` for `cpu` and for `cpu-sparse`, and both files are timed.
Results are kept row by row in results/sparse_goals.json and .md. Exit code 1 where a file for sparse kernels is slower
than the one for dense kernels.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import netsurgeon_sparse
import numpy as np
import onnx
from _process import Row, run_task, run_zoo
from _rows import keep_rows, matching, read_rows, report_misses
from _sparse_models import Network, fully_connected, resnet50, transformer, transformer_products
from _sparse_roof import Roof, slots_of
from _sparse_tables import LAYER, SHAPE, ZOO, goal_table, graph_miss, page
from _tables import write

from netsurgeon.pipeline.runtime import onnxruntime

RESULTS = Path(__file__).parent / "results"
TRANSFORMERS = Path(__file__).parents[1] / "build" / "transformers"
LAYERS = {  # channels in and out, kernel, size of the picture
    "64 to 64, 3x3, 56x56": (64, 64, 3, 56),
    "64 to 256, 1x1, 56x56": (64, 256, 1, 56),
    "128 to 128, 3x3, 28x28": (128, 128, 3, 28),
    "256 to 256, 3x3, 14x14": (256, 256, 3, 14),
    "1024 to 256, 1x1, 14x14": (1024, 256, 1, 14),
    "512 to 512, 3x3, 7x7": (512, 512, 3, 7),
}
PRODUCTS: dict[
    str, tuple[Callable[..., onnx.ModelProto], tuple[int, ...], bool]
] = {  # what makes them, shape of the input, whether their sessions run in turn
    "4096 inputs, 4096 outputs, batch 1, in turn": (fully_connected, (1, 4096), True),
    "4096 inputs, 4096 outputs, batch 1, alone": (fully_connected, (1, 4096), False),
    "two layers of BERT-base's shape, 128 tokens": (transformer, (1, 128, 768), True),
    "their products with weights alone": (transformer_products, (1, 128, 768), True),
}
"""One product of many weights waits for memory where sessions run in turn, as inside a large network; alone its weights
stay in the cache. Activations get a scale in each run."""

GOALS: dict[str, dict[str, Any]] = {
    "squeezenet1_1_imagenet": {"data": "imagenet", "limit": 500},
    "resnet56_cifar10": {"data": "cifar10", "limit": 4096},
    "l3": {},
}
"""Models that goals are reached on, and what they are run on; l3 is MiniLM-L3, of transformer.py."""
NOT_SLOWER = 0.98
"""Time of the file for dense kernels over that of the one for sparse kernels, at least: two runs differ by as much."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A row to measure.

    Attributes:
        part: of the page.
        case: what is run.
        zeros: share of the weights.
        measure: gives its figures.
    """

    part: str
    case: str
    zeros: float
    measure: Callable[[], Row]

    @property
    def name(self) -> str:
        """Of the row."""
        return f"{self.case}, {self.zeros:.0%}"


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


def whole_shape(zeros: float, pattern: str, runs: int, *, batch: int = 1, threads: int = 1) -> Row:
    """ResNet-50's shape."""
    models = [resnet50(zeros, floats=floats, pattern=pattern) for floats in (True, False)]
    feed = {"image": np.random.default_rng(0).normal(size=(batch, 3, 224, 224)).astype(np.float32)}
    return compared(models, feed, runs, threads=threads)


def product(case: str, zeros: float, runs: int) -> Row:
    """A shape of matrix products."""
    make, shape, in_turn = PRODUCTS[case]
    feed = {"x": np.random.default_rng(0).normal(size=shape).astype(np.float32)}
    return compared([make(zeros, floats=True), make(zeros)], feed, runs, in_turn=in_turn)


def compared(
    models: list[onnx.ModelProto],
    feed: Mapping[str, Any],
    runs: int,
    *,
    claim: str = "auto",
    threads: int = 1,
    in_turn: bool = True,
    beside: Mapping[str, Any] = MappingProxyType({}),
) -> Row:
    """Milliseconds of the float32 model and of the int8 one, dense and sparse; whether the latter two agree.

    `beside` holds what else runs in turn with them, by name.
    """
    sessions = {
        "float32": session(models[0], None, threads),
        "int8": session(models[1], None, threads),
        "sparse": session(models[1], claim, threads),
        **beside,
    }
    equal = np.array_equal(sessions["int8"].run(None, feed)[0], sessions["sparse"].run(None, feed)[0])
    if in_turn:
        return {"equal": bool(equal), **quickest(sessions, feed, runs, threads)}
    alone = [quickest({name: timed}, feed, runs, threads) for name, timed in sessions.items()]
    return {"equal": bool(equal), **{name: time for times in alone for name, time in times.items()}}


def layer(name: str, zeros: float, runs: int) -> Row:
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
    roof = Roof()
    row = compared(models, feed, runs, claim="all", beside={"roof": roof})
    times = {key: row[key] / 4 for key in ("float32", "int8", "sparse")}
    slots = size * size * slots_of(models[1], roof.columns) // 4
    return {"equal": row["equal"], **times, "slots": slots, "allowed": roof.slots / (1e6 * row["roof"])}


def cases(shares: list[float], runs: int, threads: int) -> list[Case]:
    """All rows but those of the zoo and of goals."""
    some = [zeros for zeros in shares if zeros in (0.8, 0.9)]
    listed = []
    for pattern, batch, of_batch in (
        ("k:64", 1, shares if threads == 1 else some),
        ("k:64", 8, some),
        ("any", 1, some),
    ):
        if pattern == "any" and threads > 1:
            continue
        title, count = f"ResNet-50's shape, {pattern}, batch {batch}", runs if batch == 1 else max(runs // 4, 1)
        for zeros in of_batch:
            measure = partial(whole_shape, zeros, pattern, count, batch=batch, threads=threads)
            listed.append(Case(SHAPE, title, zeros, measure))
    if threads > 1:
        return listed
    listed += [
        Case(SHAPE, name, zeros, partial(product, name, zeros, 2 * runs)) for name in PRODUCTS for zeros in shares
    ]
    return listed + [
        Case(LAYER, f"four layers, {name}", zeros, partial(layer, name, zeros, 4 * runs))
        for name in LAYERS
        for zeros in some
    ]


def run_cases(listed: list[Case], only: list[str], file: str, threads: int) -> int:
    """Measure those whose names were asked for, and keep each row as it comes."""
    rows = read_rows(RESULTS, file)
    for case in (case for case in listed if case.name in only):
        facts = {"part": case.part, "case": case.case, "zeros": case.zeros, "status": "ok", **case.measure()}
        rows[case.name] = {**facts, **_where()}
        keep_rows(RESULTS, file, rows)
        print(case.name, {key: round(facts[key], 3) for key in ("float32", "int8", "sparse")}, flush=True)
    write(RESULTS / f"{file}.md", page(rows, threads))
    return 0


def run_graphs(folder: Path, only: list[str]) -> int:
    """Run graphs of the zoo; 1 where one is slower with the provider than without, or gives other outputs."""
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    rows = read_rows(RESULTS, "sparse")
    for name in only:
        facts = run_zoo("zoo", folder / f"{name}.onnx", manifest[name]["inputs"], "_sparse_zoo.py")
        rows[f"zoo/{name}"] = {"part": ZOO, "case": name, "zeros": None, **facts, **_where()}
        keep_rows(RESULTS, "sparse", rows)
        told = ("taken", "ratio", "interval", "equal", "steps", "difference", "error", "seconds")
        print(name, facts["status"], {key: facts[key] for key in told if key in facts}, flush=True)
    write(RESULTS / "sparse.md", page(rows, 1))
    missed = [(name, graph_miss(rows[f"zoo/{name}"])) for name in only]
    return report_misses(RESULTS / "sparse.md", [f"{name}: {miss}" for name, miss in missed if miss])


def _where() -> Row:
    return {"processor": processor(), "onnxruntime": onnxruntime().__version__}


def goals(names: list[str], shared: Path, runs: int, effort: str) -> int:
    """Reach the goal on these models; 1 where a model for sparse kernels is slower than the one for dense kernels."""
    rows = read_rows(RESULTS, "sparse_goals")
    for name in names:
        wanted = {"max_drop": "1%"} | ({} if effort == "full" else {"effort": effort})
        places = {"shared": str(shared), "transformers": str(TRANSFORMERS)}
        task = {"kind": "goal", "model": name, "runs": runs, "options": wanted, **places, **GOALS[name]}
        rows[f"{name}, --max-drop 1%" + ("" if effort == "full" else f" --effort {effort}")] = run_task(
            task, "_sparse_goals.py"
        )
        keep_rows(RESULTS, "sparse_goals", rows)
    text = goal_table(rows, processor())
    write(RESULTS / "sparse_goals.md", text)
    print(text)
    return int(any(row["status"] != "ok" or row["int8"] < NOT_SLOWER * row["sparse"] for row in rows.values()))


def main() -> int:
    """Measure, and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zeros", default="70,80,90,95", help="percent, with commas")
    parser.add_argument("--runs", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", help="parts of rows' names, with semicolons, as they have commas")
    parser.add_argument("--zoo", type=Path, help="run the graphs of this folder, which has a manifest.json")
    parser.add_argument("--goals", help=f"reach goals on real models: all, or with commas {', '.join(GOALS)}")
    parser.add_argument("--shared", type=Path, help="folder with these models and their data")
    parser.add_argument("--effort", default="full", choices=("full", "fast"), help="of reaching the goals")
    options = parser.parse_args()
    words = options.only.split(";") if options.only else None
    if options.goals:
        names = list(GOALS) if options.goals == "all" else options.goals.split(",")
        if not options.shared or not set(names) <= set(GOALS):
            parser.error(f"goals need --shared, and are all or of {', '.join(GOALS)}")
        return goals(names, options.shared.resolve(), 8 * options.runs, options.effort)
    if options.zoo:
        if not (options.zoo / "manifest.json").is_file():
            parser.error(f"--zoo is {options.zoo}, expected a folder with graphs and a manifest.json")
        graphs = sorted(path.stem for path in options.zoo.glob("*.onnx"))
        return run_graphs(options.zoo.resolve(), matching(parser, words, graphs))
    shares = [float(number) / 100 for number in options.zeros.split(",")]
    listed = cases(shares, options.runs, options.threads)
    file = "sparse" if options.threads == 1 else f"sparse_{options.threads}_threads"
    return run_cases(listed, matching(parser, words, [case.name for case in listed]), file, options.threads)


def processor() -> str:
    """Its name, family and model, where the system tells."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text("utf-8").splitlines() if information.exists() else []
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return ", ".join(f"{key} {said[key]}" for key in ("model name", "cpu family", "model") if key in said)


if __name__ == "__main__":
    sys.exit(main())
