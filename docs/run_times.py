"""Write docs/times.md anew: ``python docs/run_times.py``; how long runs take, from the benchmarks' results."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "times.md"
RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
NETWORKS = {
    "lenet300100_dense": "LeNet-300-100",
    "lenet5_dense": "LeNet-5",
    "resnet20_cifar10": "ResNet-20, 32 pixels",
    "resnet56_cifar10": "ResNet-56, 32 pixels",
    "mobilenet_v1_025_imagenet": "MobileNet 0.25, 224 pixels",
    "squeezenet1_1_imagenet": "SqueezeNet 1.1, 224 pixels",
    "shufflenet_v2_imagenet": "ShuffleNet v2, 224 pixels",
    "light_resnet50": "ResNet-50's shape, 224 pixels",
}
ALSO = {"light_resnet50": "resnet50_shape"}
"""Another name of a network, in the rows of integers."""
INTRODUCTION = """# How long a run takes

This page helps to plan a run or a job: how many seconds whole commands take, and their peak resident memory.
`make times` writes it from `benchmarks/results/`, and a test fails when it is stale.

Measured on {machine}, while other programs were using it too: take the figures as orders
of magnitude. They come from several commits, and include the final measurement on 10,000 pictures of MNIST or
CIFAR-10, or 500 of ImageNet. An empty cell was not measured.

| network | parameters | multiply-adds | `--sparsity` | `--quantize int8` | `--max-drop 1%` | the same, on floats |
|---|---:|---:|---:|---:|---:|---:|
"""
ADVICE = """
- `--sparsity` is the median over shares and seeds of [lobs.md](../benchmarks/results/lobs.md). Weights were corrected
  on 4,096 pictures of MNIST, on 1,024 of CIFAR-10 or 500 of ImageNet (these two with `--mirror`), and on 128 for
  ResNet-50's shape.
- `--quantize int8` and `--max-drop 1%`, which tries integers, ran on one thread:
  [quantize.md](../benchmarks/results/quantize.md).
- `--max-drop 1%` on floats (`--quantize none`) ran on two threads: [goals.md](../benchmarks/results/goals.md).
- Retraining takes {retrain} seconds in the rows of [retrain.md](../benchmarks/results/retrain.md), surgery included.

## What it grows with

- **Inputs times multiply-adds.** There are about three passes over all inputs, and more in a search:
  [methods.md](methods.md#how-often-the-model-runs). `--limit N` uses N inputs only.
- **Width.** For every layer a matrix of columns times columns is factored. In ResNet-50's shape, one layer of 4,608
  columns takes {slowest:.0f} of {all:.0f} seconds.
- **Nodes of the graph.** Twice as many take about twice the time: [growth.md](../benchmarks/results/growth.md).
- **Few inputs in a search.** If halves take turns, it takes two to three times as long:
  [goals.md](goals.md#which-inputs-decide).

`--profile` adds about half a minute. `--effort fast` gives a first look in {looks} seconds of one core
([goals.md](goals.md#a-first-look)); it was not measured for {no_look}.
`--work DIR` lets a run that was stopped continue. Between layers activations stay in memory while they take at most 2
GiB and a quarter of what is free when a sweep begins, of the machine or within the limit of a container or of a job
(all control groups of the process count); the others, and all of a model with more than 1.5 GB of weights, lie in the
folder of temporary files (`TMPDIR`). The model's bytes do not depend on it. The report has the seconds of every stage
(`seconds`) and the peak memory (`peak_bytes`).
"""


def times_page() -> str:
    """The page, whole."""
    pruned = _read("lobs")["rows"]
    integers, goals, retrained = _read("quantize"), _read("goals"), _read("retrain")
    rows = ""
    for model, name in NETWORKS.items():
        runs = [run for run in pruned if run["model"] == model and run["method"] == "auto" and run["part"] != "zoo"]
        cells = [
            _cost(runs),
            *(_cost([integers.get(f"{ALSO.get(model, model)}/{run}/0")]) for run in ("int8", "--max-drop 1%")),
            _cost([goals.get(f"{model} max_drop=1%")]),
        ]
        size = f"{runs[0]['parameters_dense']:,} | {runs[0]['macs_dense'] / 1e6:,.1f} M"
        rows += f"| {name} | {size} | {' | '.join(cells)} |\n"
    (machine,) = {run["machine"] for run in integers.values() if "machine" in run}
    seconds = sorted(run["seconds"] for run in retrained.values())
    (large,) = (run for run in pruned if run["part"] == "scale" and run["method"] == "auto")
    fast = {model: row["cpu_seconds"] for model in NETWORKS if (row := _read("search").get(f"{model} fast"))}
    looks = sorted(fast.values())
    advice = ADVICE.format(
        looks=f"{looks[0]:,.0f} to {looks[-1]:,.0f}",
        no_look=" and ".join(name for model, name in NETWORKS.items() if model not in fast),
        retrain=f"{seconds[0]:,.0f} to {seconds[-1]:,.0f}",
        slowest=large["slowest"][0][-1],
        all=large["seconds"],
    )
    return INTRODUCTION.format(machine=machine) + rows + advice


def _read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def _cost(runs: Sequence[Mapping[str, Any] | None]) -> str:
    """Median seconds and most memory of runs; nothing where none was measured."""
    measured = [run for run in runs if run is not None and run["status"] == "ok"]
    if not measured:
        return ""
    seconds = statistics.median(run["seconds"] for run in measured)
    return f"{seconds:,.0f} s<br>{max(run['peak_bytes'] for run in measured) / 2**20:,.0f} MiB"


if __name__ == "__main__":
    PAGE.write_text(times_page(), "utf-8")
