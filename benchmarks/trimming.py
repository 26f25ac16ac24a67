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

from _training import Facts, error_of, must, open_mnist, run_rows

from netsurgeon.pipeline.training.exporting import export
from netsurgeon.pipeline.training.training_run import Training, train

SETTINGS = """[recipe]
schedule = "cosine"
learning_rate = 0.02
shift = 1
log_every = 500
[trimming]
ratio = {ratio}
tolerance = 0.01
"""
"""The authors trained on all pictures: validation errors start too low to end the loop within a tenth of a point."""


@dataclasses.dataclass(frozen=True)
class Row:
    """LeNet-5 with so many times fewer parameters.

    Attributes:
        ratio: at which the loop ends.
        error: test error in percent that must be reached.
    """

    ratio: float
    error: float

    @property
    def name(self) -> str:
        """Network and ratio."""
        return f"lenet5/{self.ratio:g}"


ROWS = (Row(3.85, 0.8), Row(12, 0.9))
STEPS = 1_000


def _run(row: Row, arguments: argparse.Namespace, folder: Path) -> Facts:
    mnist = arguments.shared / "data" / "mnist"
    out = folder / f"trimming-{row.ratio:g}-{arguments.steps}-{arguments.seed}"
    settings = folder / f"{out.name}.toml"
    settings.write_text(SETTINGS.format(ratio=row.ratio), "utf-8")
    result = train(
        "lenet5",
        mnist,
        out,
        init=arguments.shared / "models" / "lenet5_dense.onnx",
        trimming=True,
        settings=settings,
        steps=arguments.steps,
        seed=arguments.seed,
    )
    if result is None:
        raise SystemExit("not for torchrun")
    export(out, out / "model.onnx")
    error = error_of(out / "model.onnx", open_mnist(arguments.shared))
    facts = _facts(result)
    return {
        **facts,
        "steps": arguments.steps,
        "seed": arguments.seed,
        "error": error,
        "must_reach": row.error,
        "reached": error <= row.error + 1e-9 and facts["ratio"] >= row.ratio,
    }


def _facts(result: Training) -> Facts:
    rounds: dict[int, Facts] = {}
    for width in result.widths:
        entry = rounds.setdefault(
            width.round, {"widths": [], "parameters": width.parameters, "validation": round(100 * width.error, 2)}
        )
        entry["widths"].append(width.units)
    dense = rounds[0]["parameters"]
    return {
        "dense": dense,
        "parameters": result.parameters,
        "ratio": round(dense / result.parameters, 3),
        "validation_error": round(100 * result.validation_error, 2),
        "rounds": list(rounds.values()),
    }


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
        "| row | steps a round | parameters | ratio | validation error | test error | at most |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {row['steps']:,} | {row['parameters']:,} of {row['dense']:,} | {row['ratio']:.2f} | "
            f"{row['validation_error']:.2f} | {row['error']:.2f} | {must(row)} |"
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
