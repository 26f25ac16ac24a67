"""Network trimming on LeNet-5: from the authors' dense weights, by APoZ and retraining in rounds, in ONNX Runtime.

``python benchmarks/trimming.py --shared ../shared`` trains every row and writes ``results/trimming.json`` and
``results/trimming.md``; ``--only lenet5/12`` runs one row, ``--runs`` keeps the run folders, so that a run that was
stopped goes on. The test split is read at the end.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from _training import Facts, error_of, must, open_mnist, run_rows, trained, trimmed

from netsurgeon.pipeline.training.exporting import export
from netsurgeon.pipeline.training.training_run import Training


@dataclasses.dataclass(frozen=True)
class Row:
    """LeNet-5 with so many times fewer parameters.

    Attributes:
        ratio: at which the loop ends.
        error: test error in percent that must be reached.
        evenly: ratio up to which all layers lose units; from there on only the one with the most zeros. None = to the
            end.
        finish: steps of a last training; 0 = there is none.
    """

    ratio: float
    error: float
    evenly: float | None = None
    finish: int = 0

    @property
    def name(self) -> str:
        """Network and ratio."""
        return f"lenet5/{self.ratio:g}"


ROWS = (Row(3.85, 0.8), Row(12, 0.9), Row(25, 0.9, evenly=18, finish=6_000))
STEPS = 1_000
ONE_LAYER = 0.33
"""Share of the three layers."""
FINISH = '[recipe]\nschedule = "cosine"\nlearning_rate = 0.02\nweight_decay = 1e-4\nshift = 1\nlog_every = 500\n'
"""Settings of the last training."""


def _run(row: Row, arguments: argparse.Namespace, folder: Path) -> Facts:
    dense = arguments.shared / "models" / "lenet5_dense.onnx"
    name = f"lenet5-{row.ratio:g}-{arguments.steps}-{arguments.seed}"
    first = folder / f"trimming-lenet5-{row.evenly or row.ratio:g}-{arguments.steps}-{arguments.seed}"
    runs = [trimmed("lenet5", dense, row.evenly or row.ratio, arguments, first, steps=arguments.steps)]
    whole = runs[0].widths[0].parameters
    if row.evenly is not None:
        ratio = runs[0].parameters / (whole // row.ratio)
        out = folder / f"one-layer-{name}"
        runs.append(trimmed("lenet5", first, ratio, arguments, out, steps=arguments.steps, share=ONE_LAYER))
    result = runs[-1]
    if row.finish:
        settings = folder / f"finish-{name}.toml"
        settings.write_text(FINISH, "utf-8")
        result = trained(
            "lenet5",
            arguments,
            folder / f"finish-{name}",
            init=result.folder,
            settings=settings,
            steps=row.finish,
            seed=arguments.seed,
        )
    export(result.folder, result.folder / "model.onnx")
    error = error_of(result.folder / "model.onnx", open_mnist(arguments.shared))
    ratio = round(whole / result.parameters, 3)
    return {
        "dense": whole,
        "parameters": result.parameters,
        "ratio": ratio,
        "validation_error": round(100 * result.validation_error, 2),
        "rounds": [entry for number, run in enumerate(runs) for entry in _rounds(run)[bool(number) :]],
        "steps": arguments.steps,
        "finish": row.finish,
        "seed": arguments.seed,
        "error": error,
        "must_reach": row.error,
        "reached": error <= row.error + 1e-9 and ratio >= row.ratio,
    }


def _rounds(result: Training) -> list[Facts]:
    rounds: dict[int, Facts] = {}
    for width in result.widths:
        entry = rounds.setdefault(
            width.round, {"widths": [], "parameters": width.parameters, "validation": round(100 * width.error, 2)}
        )
        entry["widths"].append(width.units)
    return list(rounds.values())


def _page(rows: dict[str, Facts]) -> str:
    lines = [
        "# Network trimming",
        "",
        "This page shows how small LeNet-5 becomes by rounds of removing neurons and channels and retraining.",
        "",
        "LeNet-5 on MNIST, from the authors' dense weights (round 0), trimmed by APoZ and retrained in rounds of as "
        "many steps until the ratio is reached. Errors in percent; that of the test split in ONNX Runtime, once, at "
        "the end. The authors trained on all training pictures: validation errors start below what they are on new "
        "pictures. "
        "`python benchmarks/trimming.py --shared DIR` makes these tables.",
        "",
        "| row | steps a round, and at the end | parameters | ratio | validation error | test error | at most |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {row['steps']:,}, {row.get('finish', 0):,} | {row['parameters']:,} of {row['dense']:,} | "
            f"{row['ratio']:.2f} | {row['validation_error']:.2f} | {row['error']:.2f} | {must(row)} |"
        )
    for name, row in rows.items():
        lines += [
            "",
            f"| {name}: round | conv1-conv2-ip1 | parameters | ratio | validation error |",
            "|---|---|---|---|---|",
        ]
        for number, training_round in enumerate(row["rounds"]):
            lines.append(
                f"| {number} | {'-'.join(map(str, training_round['widths']))} | {training_round['parameters']:,} | "
                f"{row['dense'] / training_round['parameters']:.2f} | {training_round['validation']:.2f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(run_rows("trimming", about=__doc__, rows=ROWS, run=_run, page=_page, steps=STEPS))
