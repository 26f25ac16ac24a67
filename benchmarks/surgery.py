"""Dynamic network surgery on the LeNets: train from the authors' dense weights, export, measure in ONNX Runtime.

``python benchmarks/surgery.py --shared ../shared`` trains every row and writes ``results/surgery.json`` and
``results/surgery.md``; ``--only lenet5/108`` runs one row, ``--steps`` makes all shorter (and worse), ``--runs`` keeps
the run folders, so that a run that was stopped goes on. All choices are made on a validation split of the training
pictures; the test split is read at the end.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
from _runs import picture_options
from _training import LENET, SURGERY, Facts, error_of, must, open_mnist, run_rows

from netsurgeon.models.export import INPUT_NAME
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.data.training_data import TrainingData
from netsurgeon.pipeline.training.exporting import export
from netsurgeon.pipeline.training.retraining import retrain
from netsurgeon.pipeline.training.training_run import Training, train


@dataclasses.dataclass(frozen=True)
class Row:
    """One network at one ratio.

    Attributes:
        network: its name.
        dense: the model in ``models`` that it starts from.
        ratio: parameters per parameter kept.
        error: test error in percent that must be reached; None = only reported.
        rate: learning rate of the first step.
        start: percent of the weights that L-OBS keeps first, retrained for 500 steps; None = the dense weights.
    """

    network: str
    dense: str
    ratio: float
    error: float | None
    rate: float
    start: float | None = None

    @property
    def name(self) -> str:
        """Network and ratio."""
        return f"{self.network}/{self.ratio:g}"


ROWS = (
    Row("lenet300", "lenet300100_dense", 56.01, 1.99, 0.05),
    Row("lenet300", "lenet300100_dense", 80, 1.99, 0.05, start=7),
    Row("lenet5", "lenet5_dense", 108, 0.91, 0.03),
    Row("lenet5", "lenet5_dense", 280, None, 0.03, start=7),
)
STEPS = 20_000
CALIBRATION = 2048
"""Training pictures on which the packed model is corrected."""


def _run(row: Row, arguments: argparse.Namespace, folder: Path) -> Facts:
    mnist = arguments.shared / "data" / "mnist"
    dense = arguments.shared / "models" / f"{row.dense}.onnx"
    out = folder / f"{row.name.replace('/', '-')}-{arguments.steps}-{arguments.seed}"
    settings = folder / f"{out.name}.toml"
    settings.write_text(SURGERY.format(rate=row.rate), "utf-8")
    result = train(
        row.network,
        mnist,
        out,
        init=dense if row.start is None else _pruned(dense, row.start, mnist, out.with_suffix(".onnx"), arguments.seed),
        surgery_ratio=row.ratio,
        settings=settings,
        steps=arguments.steps,
        seed=arguments.seed,
    )
    if result is None:
        raise SystemExit("not for torchrun")
    export(out, out / "model.onnx")
    data = open_mnist(arguments.shared)
    error = error_of(out / "model.onnx", data)
    packed = _packed(out / "model.onnx", data)
    return {
        "steps": arguments.steps,
        "seed": arguments.seed,
        "start": row.start,
        **_facts(row, result),
        "dense_error": error_of(dense, data),
        "error": error,
        "bytes_dense": dense.stat().st_size,
        "bytes_packed": packed.stat().st_size,
        "error_packed": error_of(packed, data),
        "reached": None if row.error is None else error <= row.error + 1e-9,
    }


def _pruned(dense: Path, percent: float, mnist: Path, path: Path, seed: int) -> Path:
    """The dense model pruned by L-OBS and lightly retrained, as benchmarks/retrain.py does it."""
    pictures = picture_options(json.loads((dense.parent / "manifest.json").read_text("utf-8"))[dense.stem])
    if not path.is_file():
        retrain(dense, mnist, path, sparsity=1 - percent / 100, seed=seed, pictures=pictures, **LENET, steps=500)
    return path


def _packed(model: Path, data: TrainingData) -> Path:
    """The model as `compress --keep-zeros` packs it, on training pictures without labels."""
    inputs = data.train.inputs(np.arange(CALIBRATION))
    packed = model.with_name("packed.onnx")
    compress(model, {INPUT_NAME: inputs}, output=packed, keep_zeros=True, round_to=1)
    return packed


def _facts(row: Row, result: Training) -> Facts:
    return {
        "parameters": result.parameters,
        "kept": result.nonzero,
        "ratio": round(result.parameters / result.nonzero, 1),
        "must_reach": row.error,
        "allocation": result.found,
        "layers": {layer.name: layer.kept for layer in result.layers},
        "validation_error": round(100 * result.validation_error, 2),
    }


def _page(rows: dict[str, Facts]) -> str:
    lines = [
        "# Dynamic network surgery",
        "",
        "This page shows how few weights training with masks leaves the LeNets, and at what error.",
        "",
        "From the authors' dense weights, or what L-OBS and 500 steps of retraining make of them; MNIST; errors in "
        "percent on the test split, in ONNX Runtime. `python benchmarks/surgery.py --shared DIR` makes this table. The "
        "authors trained on all training pictures: the error on the validation split starts below what it will be on "
        "new pictures, and only compares runs.",
        "",
        "| network / ratio | from | steps | kept | ratio | dense error | error | at most | validation | spread | "
        "bytes | packed, error |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        start = f"L-OBS, {row['start']:g} %" if row.get("start") else "dense"
        lines.append(
            f"| {name} | {start} | {row['steps']:,} | {row['kept']:,} of {row['parameters']:,} | {row['ratio']} | "
            f"{row['dense_error']:.2f} | {row['error']:.2f} | {must(row)} | {row['validation_error']:.2f} | "
            f"{row['allocation'].get('allocation', '-')} | {row['bytes_dense']:,} | "
            f"{row['bytes_packed']:,} (÷ {row['bytes_dense'] / row['bytes_packed']:.0f}), "
            f"{row['error_packed']:.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(run_rows("surgery", about=__doc__, rows=ROWS, run=_run, page=_page, steps=STEPS))
