"""Trim real models and show what it costs: ``python benchmarks/trim.py --shared ../shared``.

Every run is a process of its own. Results are kept row by row in results/trim.json and shown in results/trim.md.
Exit code 1 if a row that was asked for misses its goal.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from _cases import Goal, zoo_names
from _lobs_tables import own_figure
from _process import Row, run_task, run_zoo, take_two_cores
from _rows import keep_rows, read_rows, refuse_unknown, report_misses, row_parser
from _tables import table, write

BATCHES = (1, 32)
AHEAD = 10.0
"""Points by which the large models have to beat onnxsim."""
FASTER, AT_LEAST = 1.3, 1.2
"""How many times faster than dense at batch 1, and the least the lower end of the interval may be."""
ZOO_LEAST, ZOO_COUNT, ZOO_MEDIAN = 0.10, 20, 0.45
WIDE_SHAPES = ("light_densenet121", "light_shufflenet", "light_squeezenet")
WIDE_LEAST = 0.30
TRANSFORMERS = ("vit_ibp", "vit_tracker")
"""Graphs whose attention has to get smaller."""
UNTOUCHED = ("dtln_1",)
"""Graphs of which nothing can be removed: the states of its cells are inputs and outputs of the model."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        goal: model, data, what accuracy must be reached; `kept` is the percentage of parameters left.
        trim: share of the parameters to remove, or of the multiply-adds where it has to be `fast`.
        sparsity: of what is left.
        round_to: counts of units left are multiples of this.
        fast: whether it has to be FASTER; so many parameters that `goal` names have to go, too.
    """

    goal: Goal
    trim: float
    sparsity: float = 0.0
    round_to: int = 1
    fast: bool = False

    @property
    def name(self) -> str:
        """Model and what is done to it."""
        text = f"{self.goal.model} -{100 * self.trim:.4g} %"
        text += " of the multiply-adds" if self.fast else ""
        text += f", then {100 * self.sparsity:g} % of the weights left" if self.sparsity else ""
        return text + (f", round to {self.round_to}" if self.round_to > 1 else "")

    @property
    def words(self) -> set[str]:
        """What it is chosen by on the command line."""
        return {self.goal.model, *(["fast"] if self.fast else []), *(["pruned"] if self.sparsity else [])}


def _mnist(divisor: float, must: float, rival: float | None = None) -> Case:
    return Case(Goal("lenet5_dense", "mnist", 100 / divisor, must, rival), 1 - 1 / divisor)


def _picture(model: str, data: str, share: float, must: float | None, rival: float | None, **how: Any) -> Case:
    return Case(Goal(model, data, 100 * (1 - share), must, rival), share, **how)


def _fast(model: str, data: str, share: float, round_to: int) -> Case:
    """At least 40 % of the parameters go with this share of the multiply-adds."""
    return Case(Goal(model, data, 60, None, None), share, round_to=round_to, fast=True)


def _ahead(model: str, share: float, rival: float) -> Case:
    return _picture(model, "imagenet", share, rival + AHEAD, rival)


CASES = (
    _mnist(2.65, 0.92),
    _mnist(3.85, 1.00),
    _mnist(7.8, 1.06),
    _mnist(14, 1.30),
    _picture("resnet20_cifar10", "cifar10", 0.2, 78.5, 51.76),
    _picture("resnet20_cifar10", "cifar10", 0.4, 73.5, 17.39),
    _picture("resnet56_cifar10", "cifar10", 0.2, 81.5, 71.54),
    _picture("resnet56_cifar10", "cifar10", 0.4, 77.0, 40.57),
    _fast("resnet56_cifar10", "cifar10", 0.38, 16),
    _picture("resnet56_cifar10", "cifar10", 0.2, None, None, sparsity=0.5),
    _ahead("squeezenet1_1_imagenet", 0.2, 17.8),
    _ahead("squeezenet1_1_imagenet", 0.4, 0.6),
    _fast("squeezenet1_1_imagenet", "imagenet", 0.46, 8),
    _ahead("mobilenet_v1_025_imagenet", 0.2, 0.0),
    _ahead("mobilenet_v1_025_imagenet", 0.4, 0.0),
    _ahead("shufflenet_v2_imagenet", 0.2, 33.8),
    _ahead("shufflenet_v2_imagenet", 0.4, 0.0),
)
MODELS = tuple(dict.fromkeys(case.goal.model for case in CASES))


def main() -> int:
    """Run what was asked for."""
    arguments = _arguments()
    take_two_cores()
    rows = read_rows(arguments.results, "trim")
    requested = [case for case in CASES if case.words & set(arguments.only)]
    for case in [] if arguments.render else requested:
        for seed in case.goal.seeds:
            key = f"{case.name}/{seed}"
            rows[key] = {"case": case.name, "seed": seed, **_case_row(arguments.shared, case, seed)}
            _keep(arguments.results, rows, key)
    if not arguments.render:
        _zoo(arguments, rows)
    _render(arguments.results, rows)
    missed = [f"{case.name}: {miss}" for case in requested for miss in _misses(rows, case)]
    missed += _zoo_misses(rows, zoo_names(arguments.shared)) if "zoo" in arguments.only else []
    return report_misses(arguments.results / "trim.md", missed)


def _arguments() -> argparse.Namespace:
    only = f"any of {', '.join(MODELS)}, fast, pruned, zoo, zoo/<graph>"
    parser = row_parser(__doc__, "trim", shared="models, data and zoo", only=only)
    arguments = parser.parse_args()
    arguments.only = arguments.only or [*MODELS, "zoo"]
    names = [*MODELS, "fast", "pruned", "zoo", *(f"zoo/{name}" for name in _graphs(arguments.shared))]
    refuse_unknown(parser, arguments.only, names)
    return arguments


def _case_row(shared: Path, case: Case, seed: int) -> Row:
    options: dict[str, Any] = {"trim": case.trim, "sparsity": case.sparsity, "round_to": case.round_to}
    options |= {"save": "macs"} if case.fast else {}
    task = {"kind": "trim", "shared": str(shared), "data": case.goal.data, "model": case.goal.model}
    batches = BATCHES if seed == case.goal.seeds[0] else ()
    return run_task({**task, "seed": seed, "options": options, "batches": batches})


def _graphs(shared: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    """File and inputs of the zoo's graphs, and of SqueezeNet's shape, which only the onnx package has."""
    manifest = json.loads((shared / "zoo" / "manifest.json").read_text("utf-8"))
    graphs = {name: (shared / "zoo" / f"{name}.onnx", manifest[name]["inputs"]) for name in zoo_names(shared)}
    package = importlib.util.find_spec("onnx")  # not imported: see _process
    assert package is not None
    assert package.origin is not None
    squeezenet = Path(package.origin).parent / "backend" / "test" / "data" / "light" / "light_squeezenet.onnx"
    return graphs | {squeezenet.stem: (squeezenet, {"data_0": {"shape": [1, 3, 224, 224], "dtype": "float"}})}


def _zoo(arguments: argparse.Namespace, rows: dict[str, Row]) -> None:
    for name, (path, inputs) in _graphs(arguments.shared).items():
        if "zoo" in arguments.only or f"zoo/{name}" in arguments.only:
            rows[f"zoo/{name}"] = {"case": f"zoo/{name}", **run_zoo("trim_zoo", path, inputs)}
            _keep(arguments.results, rows, f"zoo/{name}")


def _keep(folder: Path, rows: dict[str, Row], key: str) -> None:
    keep_rows(folder, "trim", rows)
    row = rows[key]
    facts = {name: row[name] for name in ("top1", "parameters_dense", "parameters", "seconds", "error") if name in row}
    print(key, row["status"], facts, row.get("latency", ""), flush=True)


def _of(rows: dict[str, Row], case: Case) -> list[Row]:
    return [row for row in rows.values() if row["case"] == case.name and row["status"] == "ok"]


def _figure(rows: list[Row], goal: Goal) -> float:
    return round(statistics.median(own_figure(row, goal) for row in rows), 4)


def _misses(rows: dict[str, Row], case: Case) -> list[str]:
    """What a row falls short of, as far as it was measured."""
    broken = [row["error"] for row in rows.values() if row["case"] == case.name and row["status"] != "ok"]
    runs = _of(rows, case)
    if not runs:
        return broken
    figure = _figure(runs, case.goal)
    if not case.goal.reached(figure):
        broken.append(f"{case.goal.measure} {figure:.2f}, must reach {case.goal.must}")
    single = next((timing for row in runs for timing in row["latency"] if timing["batch"] == 1), None)
    if case.fast and (single is None or single["ratio"] < FASTER or single["interval"][0] < AT_LEAST):
        broken.append(f"latency ÷ {single and single['ratio']} {single and single['interval']}, must be {FASTER}")
    if case.fast and 100 * (1 - _residual(runs[0])) > case.goal.kept:
        broken.append(f"{100 * _residual(runs[0]):.1f} % of the parameters lost, must be {100 - case.goal.kept:g} %")
    return broken


def _residual(row: Row) -> float:
    """Share of the parameters that a graph of the zoo lost."""
    return 1 - row["parameters"] / row["parameters_dense"] if "parameters" in row else 0.0


def _zoo_misses(rows: dict[str, Row], names: list[str]) -> list[str]:
    """What the zoo falls short of; `names` are its graphs, of which WIDE_SHAPES need not be."""
    row_of = {
        name: rows.get(f"zoo/{name}", {"status": "BROKEN", "error": "not run"}) for name in (*names, *WIDE_SHAPES)
    }
    missed = [f"zoo/{name}: {miss}" for name, row in row_of.items() if (miss := _graph_miss(name, row))]
    residual = [_residual(row_of[name]) for name in names]
    if sum(share >= ZOO_LEAST for share in residual) < ZOO_COUNT:
        missed.append(f"zoo: {sum(share >= ZOO_LEAST for share in residual)} graphs lose a tenth, must be {ZOO_COUNT}")
    if statistics.median(residual) < ZOO_MEDIAN:
        missed.append(f"zoo: median {statistics.median(residual):.1%}, must be {ZOO_MEDIAN:.0%}")
    return missed


def _graph_miss(name: str, row: Row) -> str:
    """What a graph of the zoo falls short of; empty where it does not."""
    if row["status"] != "ok":
        return str(row["error"])
    if not (_is_proven(row["proof"]) if row["proof"] else name in UNTOUCHED and not _residual(row)):
        return "it is not proven"
    if name in WIDE_SHAPES and _residual(row) < WIDE_LEAST:
        return f"loses {_residual(row):.1%}, must be {WIDE_LEAST:.0%}"
    before, after = row.get("products", (0, 0))
    return "its attention was not reached" if name in TRANSFORMERS and after >= before else ""


def _is_proven(proof: Row) -> bool:
    """Whether the trimmed graph ran, gave what the masked one gives, and that says something."""
    outputs = proof["outputs"]
    equal = all(output["difference"] <= proof["tolerance"] for output in outputs)
    return equal and not proof["failure"] and any(output["varies"] for output in outputs)


def _render(folder: Path, rows: dict[str, Row]) -> None:
    titles: tuple[str, ...] = (
        "model",
        "must reach",
        "got",
        "rival onnxsim",
        "reached",
        "parameters",
        "multiply-adds",
        "bytes",
    )
    titles += (*(f"ms batch {batch} (ratio, 95 %)" for batch in BATCHES), "seconds")
    lines = [_line(rows, case) for case in CASES if _of(rows, case)]
    graphs = [(key.removeprefix("zoo/"), row) for key, row in rows.items() if key.startswith("zoo/")]
    legend = (
        "LeNet-5: error in percent, median of the calibration seeds; the others: top-1 in percent. No retraining; "
        "calibrated on training pictures without labels (and, but for MNIST, on their mirror images), measured once on "
        "the test split. Latency: dense and trimmed in turn in one process, 2 threads, medians of 60 rounds, ratio of "
        "neighbours with Student's interval, on two idle cores of a machine that others share. Rows that cut every "
        "layer to any width (round to 1) are about parameters: kernels work in blocks of channels; many run no faster."
    )
    head = (
        "# Trimming real models\n\n"
        "This page shows what it costs and gains to remove neurons and channels of real models, without retraining."
    )
    parts = [head, legend, table(titles, lines)]
    if graphs:
        words = (
            "Trim up-to:0.5, round to 1, 16 random inputs; `light_*` with He weights, `light_squeezenet` from the onnx "
            "package. Every graph has to come out proven, but for dtln_1, of which nothing can be removed: the states "
            "of its cells are inputs and outputs. Attention: elements that enter products of two activations, dense "
            "over trimmed."
        )
        columns = ("graph", "status", "parameters lost", "groups", "attention", "frozen (parameters, why)", "proof")
        parts += ["## Zoo", words, table((*columns, "seconds"), [_zoo_line(name, row) for name, row in sorted(graphs)])]
    write(folder / "trim.md", "\n\n".join(parts) + "\n")


def _line(rows: dict[str, Row], case: Case) -> list[str]:
    runs = _of(rows, case)
    row = next((run for run in runs if run["latency"]), runs[0])
    missed = _misses(rows, case)
    return [
        f"{case.name} ({own_figure({'top1': row['top1_dense']}, case.goal):.2f})",
        "report" if case.goal.must is None else f"{case.goal.must:g}",
        f"{_figure(runs, case.goal):.2f}" + (f" ({len(runs)} seeds)" if len(case.goal.seeds) > 1 else ""),
        "-" if case.goal.rival is None else f"{case.goal.rival:g}",
        "no: " + "; ".join(missed) if missed else "yes",
        f"÷ {row['parameters_dense'] / row['parameters']:.2f}",
        f"÷ {row['macs_dense'] / row['macs']:.2f}",
        f"÷ {row['ratio']:.2f}",
        *(_latency(row, batch) for batch in BATCHES),
        f"{row['seconds']:.0f}",
    ]


def _latency(row: Row, batch: int) -> str:
    timing = next((entry for entry in row["latency"] if entry["batch"] == batch), None)
    if timing is None or "skipped" in timing:
        return timing["skipped"] if timing else ""
    low, high = timing["interval"]
    return f"{timing['dense_ms']:.2f} → {timing['small_ms']:.2f} (÷ {timing['ratio']:.2f}, {low:.2f} to {high:.2f})"


def _zoo_line(name: str, row: Row) -> list[str]:
    frozen = "; ".join(f"{count:,} {operator}: {reason}" for count, operator, reason in row.get("frozen", ())[:3])
    proof, (before, after) = row.get("proof"), row.get("products", (0, 0))
    unchanged = "nothing can be removed, unchanged" if row["status"] == "ok" and not _residual(row) else ""
    return [
        name,
        row["status"],
        f"{_residual(row):.1%}" if "parameters" in row else row.get("error", ""),
        str(row.get("trimmed_groups", "")),
        f"÷ {before / after:.2f}" if before else "",
        frozen,
        _proof(proof) if proof else unchanged,
        f"{row['seconds']:.0f}" if "seconds" in row else "",
    ]


def _proof(proof: Row) -> str:
    outputs = proof["outputs"]
    worst = max((output["difference"] for output in outputs), default=0.0)
    return f"{worst:.1e}" + ("" if any(output["varies"] for output in outputs) else " (constant outputs)")


if __name__ == "__main__":
    sys.exit(main())
