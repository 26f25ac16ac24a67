"""Goals on real models, and whether they are kept: ``python benchmarks/goals.py --shared ../shared``.

Every run is a process of its own. Results are kept row by row in results/goals.json and shown in results/goals.md.
Exit code 1 if a row that was asked for misses what it must reach.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _process import CORES, Row, run_task, take_two_cores
from _rows import keep_rows, matching, read_rows, report_misses, row_parser
from _tables import table, write

PREDICTED = 0.15
"""Largest share by which the latency may differ from what was predicted."""
AS_FAST = 1.03
"""The interval of small over dense must reach down to this at least."""
SECONDS = 600.0
"""Of a search, where the row is held to it."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        model: of the shared ones.
        data: that it is run on.
        goals: options of `compress`.
        limit: calibration inputs, labels included; half of them, or all in turn, guide the search.
        ratio: how many times smaller the file must be.
        same_type: whether that counts against the dense file stored as float16, too.
        speedup: how many times faster it must be, or else the nearest that can be.
        quick: whether the search is held to SECONDS.
        options: more of `compress`, which the row is not named by.
    """

    model: str
    data: str
    goals: dict[str, Any]
    limit: int
    ratio: float | None = None
    same_type: bool = False
    speedup: float | None = None
    quick: bool = False
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """Model and goals."""
        return f"{self.model} {' '.join(f'{key}={value}' for key, value in self.goals.items())}"


DROP = {"max_drop": "1%"}
FLOATS = {"quantize": "none"}
"""What zeros alone give: rows with integers are those of quantize.py."""
FASTER = {"speedup": 1.5, "max_drop": "3%"}
FEASIBLE = {"speedup": 1.2, "max_drop": "3%"}
"""Near enough to be met, so that there is a latency to compare with its prediction."""
CASES = (
    Case("lenet5_dense", "mnist", DROP, 6000, ratio=40.0, options=FLOATS),
    Case("resnet20_cifar10", "cifar10", DROP, 4096, options=FLOATS),
    Case("resnet56_cifar10", "cifar10", DROP, 4096, ratio=4.0, quick=True, options=FLOATS),
    Case("squeezenet1_1_imagenet", "imagenet", DROP, 500, ratio=2.5, same_type=True, options=FLOATS),
    Case("mobilenet_v1_025_imagenet", "imagenet", DROP, 500, ratio=2.5, same_type=True, options=FLOATS),
    Case("shufflenet_v2_imagenet", "imagenet", DROP, 500, ratio=2.5, same_type=True, options=FLOATS),
    Case("resnet56_cifar10", "cifar10", FASTER, 4096, speedup=1.5),
    Case("squeezenet1_1_imagenet", "imagenet", FASTER, 500, speedup=1.5),
    Case("resnet56_cifar10", "cifar10", {"speedup": 2.2, "max_drop": "3%"}, 4096, speedup=2.2),
    Case("resnet56_cifar10", "cifar10", FEASIBLE, 4096, speedup=1.2),
    Case("lenet5_dense", "mnist", {"speedup": 2.0, "max_drop": "1%"}, 6000, speedup=2.0),
)


def main() -> int:
    """Run what was asked for."""
    arguments = _arguments()
    take_two_cores()
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else CORES
    rows = read_rows(arguments.results, "goals")
    requested = [case for case in CASES if case.name in arguments.only]
    for case in [] if arguments.render else requested:
        task = {"kind": "goals", "shared": str(arguments.shared), "data": case.data, "model": case.model}
        options = {"goals": {**case.goals, **case.options}, "limit": case.limit, "threads": threads}
        rows[case.name] = run_task({**task, "seed": 0, **options})
        keep_rows(arguments.results, "goals", rows)
        print(case.name, json.dumps(rows[case.name])[:400], flush=True)
    _render(arguments.results, rows)
    missed = [f"{case.name}: {miss}" for case in requested for miss in _misses(rows, case)]
    return report_misses(arguments.results / "goals.md", missed)


def _arguments() -> argparse.Namespace:
    parser = row_parser(__doc__, "goals", shared="models and data", only="names of rows, or parts of them")
    arguments = parser.parse_args()
    arguments.only = matching(parser, arguments.only, [case.name for case in CASES])
    return arguments


def _misses(rows: dict[str, Row], case: Case) -> list[str]:
    """What a row falls short of, as far as it was measured."""
    row = rows.get(case.name)
    if row is None:
        return ["not run"]
    if row["status"] != "ok":
        return [] if _nearest(row, case) else [row["error"]]
    limit, shortfalls = row["goals"]["max_drop"], []
    if row["test"]["low"] > limit:
        shortfalls.append(f"drop {row['test']['drop']:.2%} on the test split, at least {row['test']['low']:.2%}")
    if case.ratio and row["ratio"] < case.ratio:
        shortfalls.append(f"file ÷ {row['ratio']:.1f}, must be {case.ratio:g}")
    if case.same_type and case.ratio and row["ratio_same_type"] < case.ratio:
        shortfalls.append(f"file ÷ {row['ratio_same_type']:.2f} of the dense one in float16, must be {case.ratio:g}")
    if case.quick and row["stages"]["search"] > SECONDS:
        shortfalls.append(f"search of {row['stages']['search']:.0f} s, at most {SECONDS:g}")
    return shortfalls + _slow(row, case)


def _nearest(row: Row, case: Case) -> bool:
    """Whether the two goals cannot be met together, and the command has said what can."""
    return row["status"] == "infeasible" and bool(case.speedup)


def _slow(row: Row, case: Case) -> list[str]:
    timed, shortfalls = row["latency"], []
    if 1.0 / timed["interval"][1] > AS_FAST:
        shortfalls.append(f"slower than the dense model: ÷ {timed['ratio']:.2f}")
    if case.speedup and timed["interval"][1] < case.speedup:
        shortfalls.append(f"latency ÷ {timed['ratio']:.2f}, must be {case.speedup:g}")
    predicted = row.get("predicted_ms")
    if predicted and abs(timed["small_ms"] / predicted - 1.0) > PREDICTED:
        shortfalls.append(f"{timed['small_ms']:.3g} ms, predicted {predicted:.3g}")
    return shortfalls


def _render(folder: Path, rows: dict[str, Row]) -> None:
    titles = (
        "model", "goals", "guide: drop (at most)", "proven", "test: drop (80 % interval)", "inputs", "file ÷",
        "÷ float16 file", "latency batch 1 (95 %)", "predicted", "tried", "minutes (of a core)", "reached",
    )  # fmt: skip
    lines = [_line(rows, case) for case in CASES if case.name in rows]
    legend = (
        "Drop of top-1 in points. `--quantize none` searches on floats; what integers give beside it is in "
        "quantize.md. Half of the calibration inputs (with labels) guide the search, at most 2,048 others "
        "are corrected on; where that half is too little to tell (ImageNet without a goal of time) the halves take "
        "turns, and the delivered model is corrected on both. The test split is measured once, at the end, and decides "
        "nothing but the last check. `at most` is the one-sided 90 % paired bound. The test interval joins the two "
        "one-sided 90 % bounds. Inputs: corrected on / guiding / test. `÷ float16 file`: against the dense file if its "
        "weights were stored as float16. Latency: dense and small in turn in one process, `÷` how many times faster. "
        "Predicted: of the chosen structure before it was corrected, in the same unit. Minutes: the whole command, on "
        "a machine that other programs used, too. Rows come from several commits."
    )
    head = (
        "# Goals on real models\n\n"
        "This page shows what searches for a goal find on real models, and whether the goal holds on the test split."
    )
    write(folder / "goals.md", "\n\n".join([head, legend, table(titles, lines)]) + "\n")


def _line(rows: dict[str, Row], case: Case) -> list[str]:
    row, options = rows[case.name], {**case.goals, **case.options}
    goals = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in options.items())
    missed = _misses(rows, case)
    verdict = "no: " + "; ".join(missed).replace("|", "\\|") if missed else "yes"
    if row["status"] != "ok":
        return [case.model, goals, *[""] * 10, f"not feasible: {row['error']}" if _nearest(row, case) else verdict]
    guide, test, timed = row["guide"], row["test"], row["latency"]
    return [
        case.model,
        goals,
        f"{100 * guide['drop']:.2f} ({100 * guide['high']:.2f})",
        "yes" if row["proven"] else f"no: about {row['needed']:,} inputs needed" if row["needed"] else "no",
        f"{100 * test['drop']:.2f} ({100 * test['low']:.2f} to {100 * test['high']:.2f})",
        f"{row['corrected']:,} / {guide['samples']:,} / {test['samples']:,}",
        f"{row['ratio']:.1f}",
        f"{row['ratio_same_type']:.2f}",
        f"{timed['dense_ms']:.2f} → {timed['small_ms']:.2f} ms (÷ {timed['ratio']:.2f}, {timed['interval'][0]:.2f} to "
        f"{timed['interval'][1]:.2f}), {row['threads']} thread{'s' * (row['threads'] > 1)}",
        f"{row['predicted_ms']:.2f} ms" if row.get("predicted_ms") else "",
        str(row["tried"]),
        f"{row['seconds'] / 60:.1f}" + (f" ({row['cpu_seconds'] / 60:.1f})" if "cpu_seconds" in row else ""),
        verdict,
    ]


if __name__ == "__main__":
    sys.exit(main())
