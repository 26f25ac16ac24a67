"""Repair on real models: ``python benchmarks/repair.py --shared ../shared``.

Every row is compressed twice, without and with `repair`, each in a process of its own, on calibration pictures without
labels; the test split is read once each. Results are kept row by row in results/repair.json and shown in
results/repair.md. Exit code 1 if a row that was asked for misses what it must reach.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from _process import Row, run_task, take_two_cores
from _rows import keep_rows, matching, read_rows, report_misses, row_parser
from _tables import table, write

MOST_MINUTES, MOST_BYTES = {"cifar10": 5.0, "imagenet": 15.0}, 3 << 30
"""Processor minutes of the repair, and of the whole run."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        model: of the shared ones.
        data: that it is run on.
        what: what is done, in words.
        options: of `compress`.
        must: top-1 in percent that repair must reach; None = what there is without it.
    """

    model: str
    data: str
    what: str
    options: dict[str, Any]
    must: float | None = None

    @property
    def name(self) -> str:
        """Model and what is done."""
        return f"{self.model}/{self.what}"


def _kept(model: str, data: str, percent: int, must: float | None) -> Case:
    return Case(model, data, f"{percent} % kept", {"sparsity": 1 - percent / 100}, must)


CASES = (
    _kept("resnet20_cifar10", "cifar10", 30, 80.5),
    _kept("resnet20_cifar10", "cifar10", 20, 79.2),
    _kept("resnet20_cifar10", "cifar10", 10, 76.2),
    Case("resnet20_cifar10", "cifar10", "1 : 4", {"pattern": "1:4"}, 79.2),
    Case("resnet20_cifar10", "cifar10", "trimmed by 40 %", {"trim": 0.4}, 77.8),
    _kept("resnet56_cifar10", "cifar10", 30, 82.9),
    _kept("resnet56_cifar10", "cifar10", 10, 79.8),
    Case("resnet56_cifar10", "cifar10", "trimmed by 40 %", {"trim": 0.4}, 80.5),
    Case("resnet56_cifar10", "cifar10", "4 : 16", {"pattern": "4:16"}, 82.0),
    _kept("squeezenet1_1_imagenet", "imagenet", 50, 57.0),
    _kept("squeezenet1_1_imagenet", "imagenet", 30, 52.0),
    _kept("mobilenet_v1_025_imagenet", "imagenet", 50, 56.0),
    _kept("shufflenet_v2_imagenet", "imagenet", 50, 81.0),
    _kept("shufflenet_v2_imagenet", "imagenet", 30, 70.0),
    Case("mobilenet_v1_025_imagenet", "imagenet", "w4a8", {"quantize": "w4a8", "target": "cpu-vnni"}),
)


def main() -> int:
    """Run what was asked for."""
    arguments = _arguments()
    take_two_cores()
    rows = read_rows(arguments.results, "repair")
    requested = [case for case in CASES if case.name in arguments.only]
    for case in [] if arguments.render else requested:
        for is_repaired in (False, True):
            key = f"{case.name}/{'repaired' if is_repaired else 'one-shot'}"
            if key not in rows or arguments.again or is_repaired:
                rows[key] = _run(arguments.shared, case, is_repaired)
                keep_rows(arguments.results, "repair", rows)
                print(key, json.dumps(rows[key])[:300], flush=True)
    _render(arguments.results, rows)
    missed = [f"{case.name}: {miss}" for case in requested for miss in _misses(rows, case)]
    return report_misses(arguments.results / "repair.md", missed)


def _run(shared: Path, case: Case, is_repaired: bool) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        model = shared / "models" / f"{case.model}.onnx"
        limit = {"cifar10": 1024, "imagenet": 500}[case.data]
        task: dict[str, Any] = {"kind": "repair", "shared": str(shared), "folder": folder}
        task |= {"model": str(model), "name": case.model}
        task |= {"data": case.data, "seed": 0, "options": case.options | {"limit": limit}, "repair": is_repaired}
        return run_task(task, "_repair_runs.py")


def _arguments() -> argparse.Namespace:
    parser = row_parser(__doc__, "repair", shared="models and data", only="names of rows, or parts of them")
    parser.add_argument("--again", action="store_true", help="run rows without repair again that are there")
    arguments = parser.parse_args()
    arguments.only = matching(parser, arguments.only, [case.name for case in CASES])
    return arguments


def _misses(rows: dict[str, Row], case: Case) -> list[str]:
    """What a row falls short of, as far as it was measured."""
    plain, repaired = (rows.get(f"{case.name}/{kind}") for kind in ("one-shot", "repaired"))
    if plain is None or repaired is None:
        return ["not run"]
    if bad := next((row for row in (plain, repaired) if row["status"] != "ok"), None):
        return [bad["error"]]
    shortfalls = []
    least = plain["top1"] if case.must is None else case.must
    if repaired["top1"] < least:
        shortfalls.append(f"top-1 {repaired['top1']:.2f}, must be {least:g}")
    if repaired["top1"] < plain["top1"]:
        shortfalls.append(f"top-1 {repaired['top1']:.2f}, {plain['top1']:.2f} without repair")
    if repaired["repair"] is None:
        return [*shortfalls, *repaired["warnings"]]
    if _minutes(plain, repaired) > MOST_MINUTES[case.data]:
        shortfalls.append(f"{_minutes(plain, repaired):.1f} minutes, at most {MOST_MINUTES[case.data]:g}")
    if repaired["peak_bytes"] > MOST_BYTES:
        shortfalls.append(f"{repaired['peak_bytes'] / 2**30:.1f} GiB, at most {MOST_BYTES >> 30}")
    return shortfalls


def _minutes(plain: Row, repaired: Row) -> float:
    """Processor minutes that repair has added."""
    return (float(repaired["cpu_seconds"]) - float(plain["cpu_seconds"])) / 60


def _render(folder: Path, rows: dict[str, Row]) -> None:
    titles = (
        "model", "what", "top-1: dense", "without repair", "repaired", "same answers", "error on held-out inputs",
        "file ÷", "steps (tries)", "processor minutes of repair", "MiB", "reached",
    )  # fmt: skip
    lines = [_line(rows, case) for case in CASES if f"{case.name}/repaired" in rows]
    legend = (
        "Top-1 and answers equal to the dense model's in percent of the test split, without and with repair; it was "
        "read once for each. Calibration: 1,024 (CIFAR-10) or 500 (ImageNet) pictures without labels, an eighth of "
        "which is held out of the repair. Error: squared, of the outputs, as a share of the dense ones' variance. "
        "Minutes: of the processor, on a machine that other programs used, too."
    )
    head = "# Repair on real models\n\nThis page shows how much of what pruning loses `--repair` wins back."
    write(folder / "repair.md", "\n\n".join([head, legend, table(titles, lines)]) + "\n")


def _line(rows: dict[str, Row], case: Case) -> list[str]:
    empty = {"status": "", "error": ""}
    plain, repaired = (rows.get(f"{case.name}/{kind}", empty) for kind in ("one-shot", "repaired"))
    missed = _misses(rows, case)
    verdict = "no: " + "; ".join(missed).replace("|", "\\|") if missed else "yes"
    if plain["status"] != "ok" or repaired["status"] != "ok":
        return [case.model, case.what, *[""] * 9, verdict]
    facts = repaired["repair"]
    details = ["", "", ""]
    if facts is not None:
        details = [
            f"{facts['error_before']:.4g} → {facts['error_after']:.4g}",
            f"{facts['steps']:,} ({facts['tries']})",
            f"{_minutes(plain, repaired):.1f}",
        ]
    return [
        case.model,
        case.what,
        f"{plain['top1_dense']:.2f}",
        f"{plain['top1']:.2f}",
        f"{repaired['top1']:.2f}",
        f"{plain['agreement']:.2f} → {repaired['agreement']:.2f}",
        details[0],
        f"{repaired['ratio']:.1f}",
        *details[1:],
        f"{repaired['peak_bytes'] / 2**20:,.0f}",
        verdict,
    ]


if __name__ == "__main__":
    sys.exit(main())
