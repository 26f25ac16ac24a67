"""How the time to open, to analyse and to compress a graph grows with its nodes: each doubling should about double it.

    OMP_NUM_THREADS=1 python benchmarks/growth.py            # a table, and how many times as long each doubling takes
    OMP_NUM_THREADS=1 python benchmarks/growth.py --write    # the same, kept in results/growth.md

`--nodes 1000,2000` and `--only deep,"deep --trim"` run a part. Seconds are the user's CPU time of the process: what
else runs on the machine matters less so, but caches are shared, and a factor is good to a few tenths.
"""

from __future__ import annotations

import argparse
import itertools
import resource
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import _growing_graphs as graphs
import numpy as np
import onnx

from netsurgeon.passes.dependencies import analyse
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.inspect import inspect_model, inspect_units
from netsurgeon.pipeline.model_files import open_model
from netsurgeon.pipeline.runtime import Runtime, observe
from netsurgeon.pipeline.trimming.costs import unit_costs

RESULTS = Path(__file__).parent / "results" / "growth.md"
INPUTS = 128
"""So many that low-fidelity evaluations of plans are part of `--sparsity`."""
Seconds = dict[str, float]


class Stages:
    """The user's CPU time of each stage; as `progress` it is told when one begins."""

    def __init__(self) -> None:
        self.seconds: Seconds = {}
        self._stage, self._start = "", self._now()

    def __call__(self, stage: str, done: int, count: int) -> None:
        """Count the time since the last call for the stage that was told of then."""
        now = self._now()
        if self._stage:
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._start
        self._stage, self._start = stage, now

    @staticmethod
    def _now() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def whole(look: Callable[[onnx.ModelProto], object]) -> Callable[[onnx.ModelProto], Seconds]:
    """Measure something as one stage."""

    def measure(proto: onnx.ModelProto) -> Seconds:
        stages = Stages()
        stages("", 0, 1)
        stages("all", 0, 1)
        look(proto)
        stages("end", 0, 1)
        return stages.seconds

    return measure


def weigh_units(proto: onnx.ModelProto) -> None:
    """What a choice of units stands on: what hangs together, and what each saves."""
    source = open_model(proto, Runtime())
    feed = {"x": np.ones((2, graphs.WIDTH), np.float32)}
    dependencies = analyse(source.model, observe(source.model, feed, Runtime()))
    costs, _ = unit_costs(source.model, dependencies, np.arange(len(dependencies.units)), "parameters")
    costs.savings(np.ones(len(dependencies.units), bool))


def compressed(**options: Any) -> Callable[[onnx.ModelProto], Seconds]:
    """Measure the stages of a compression."""

    def measure(proto: onnx.ModelProto) -> Seconds:
        x = np.random.default_rng(0).standard_normal((INPUTS, graphs.WIDTH)).astype(np.float32)
        stages = Stages()
        compress(proto, {"x": x}, progress=stages, threads=1, **options)
        stages("end", 0, 1)
        return {**stages.seconds, "all": sum(stages.seconds.values())}

    return measure


ROWS: dict[str, tuple[Callable[[int], onnx.ModelProto], Callable[[onnx.ModelProto], Seconds]]] = {
    "constants": (graphs.constants, whole(inspect_model)),
    "deep": (graphs.deep, whole(inspect_units)),
    "residual": (graphs.residual, whole(inspect_units)),
    "shared": (graphs.shared, whole(inspect_units)),
    "parts": (graphs.parts, whole(inspect_units)),
    "flattened": (graphs.flattened, whole(inspect_units)),
    "wide": (graphs.wide, whole(inspect_units)),
    "branches": (graphs.branches, whole(inspect_units)),
    "deep costs": (graphs.deep, whole(weigh_units)),
    "wide costs": (graphs.wide, whole(weigh_units)),
    "deep --trim": (graphs.deep, compressed(trim=0.3)),
    "residual --trim": (graphs.residual, compressed(trim=0.3)),
    "branches --trim": (graphs.branches, compressed(trim=0.3)),
    "deep --sparsity": (graphs.deep, compressed(sparsity=0.5)),
}
LEAST = 0.1
"""Stages that never take so many seconds are left out."""


def factors(seconds: Sequence[float]) -> list[float]:
    """How many times as long each size takes as the one before."""
    return [later / max(before, 1e-3) for before, later in itertools.pairwise(seconds)]


def by_stage(name: str, runs: Sequence[Mapping[str, float]]) -> list[tuple[str, list[float]]]:
    """Rows of the table: a stage, and its seconds at each size."""
    stages = dict.fromkeys(stage for run in runs for stage in run)
    rows = [(stage, [run.get(stage, 0.0) for run in runs]) for stage in stages]
    return [
        (name if stage == "all" else f"{name}: {stage}", seconds)
        for stage, seconds in rows
        if stage == "all" or max(seconds) >= LEAST
    ]


def rendered(rows: Sequence[tuple[str, list[float]]], sizes: Sequence[int]) -> str:
    """The page that is kept."""
    lines = [
        "# Growth",
        "",
        "This page shows how the time of a run grows with the nodes of a graph.",
        "",
        "Seconds of the user's CPU time on one thread, by nodes of the graph, and how many times as long each",
        "doubling takes: 2 is linear, 4 is the square. The factors are what counts. Other programs shared the machine,",
        "so that they are good to a few tenths, and those of stages below a second to less. Rows without options are",
        "`inspect --units` (`constants`: `inspect`; costs: what a choice of units stands on); the graphs are in",
        "`_growing_graphs.py`.",
        "",
        "What grows faster: ONNX Runtime's own loading of a value that thousands of nodes read (`wide`, `branches`)",
        "takes 4 times as long for twice the nodes, and a compression loads a model about twenty times. For the",
        "sensitivities of `--sparsity` each layer is probed by one run of the whole model. The bound (validating)",
        "adds up to six nodes and an output a layer; why that grows by 2.9 is not known. `wide` is not trimmed here:",
        "its last layer reads all units, and what that takes is the dense algebra of a layer's width.",
        "",
        f"| | {' | '.join(f'{size:,}' for size in sizes)} | per doubling |",
        f"|---|{'---:|' * (len(sizes) + 1)}",
    ]
    for name, seconds in rows:
        times = " | ".join(f"{value:.2f}" for value in seconds)
        lines.append(f"| {name} | {times} | {', '.join(f'{factor:.1f}' for factor in factors(seconds))} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", default="1000,2000,4000,8000", help="sizes of the graphs")
    parser.add_argument("--only", default=",".join(ROWS), help="rows")
    parser.add_argument("--write", action="store_true", help="keep the table")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.nodes.split(",")]
    print(f"{'seconds':<40}{''.join(f'{size:>10,}' for size in sizes)}   per doubling")
    rows = []
    for name in arguments.only.split(","):
        make, measure = ROWS[name]
        for row, seconds in by_stage(name, [measure(make(size)) for size in sizes]):
            rows.append((row, seconds))
            times = "".join(f"{value:>10.2f}" for value in seconds)
            print(f"{row:<40}{times}   {', '.join(f'{factor:.1f}' for factor in factors(seconds))}", flush=True)
    if arguments.write:
        RESULTS.write_text(rendered(rows, sizes))


if __name__ == "__main__":
    main()
