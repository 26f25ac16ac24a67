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
from _training import LENET, SURGERY, Facts, error_of, must, open_mnist, run_rows, trained, trimmed

from netsurgeon.models.export import INPUT_NAME
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.data.training_data import TrainingData
from netsurgeon.pipeline.training.exporting import export
from netsurgeon.pipeline.training.retraining import retrain
from netsurgeon.pipeline.training.training_run import Training


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
        trimmed: how many times fewer parameters network trimming leaves first; None = it removes nothing.
        recipe: further lines of its recipe.
        allocation: how the ratio is spread over the layers; auto = three rules are tried.
        length: its steps, as a multiple of --steps.
    """

    network: str
    dense: str
    ratio: float
    error: float | None
    rate: float
    start: float | None = None
    trimmed: float | None = None
    recipe: str = ""
    allocation: str = "auto"
    length: float = 1.0

    @property
    def name(self) -> str:
        """Network and ratio."""
        return f"{self.network}/{self.ratio:g}"


MOVED = "weight_decay = 1e-4\nshift = 1\n"
"""Pictures are moved, and few weights may become large."""
ROWS = (
    Row("lenet300", "lenet300100_dense", 56.01, 1.99, 0.05),
    Row("lenet300", "lenet300100_dense", 80, 1.99, 0.05, start=7),
    Row("lenet300", "lenet300100_dense", 110.03, 1.99, 0.05, allocation="lamp", length=0.4),
    Row("lenet5", "lenet5_dense", 108, 0.91, 0.03),
    Row("lenet5", "lenet5_dense", 280, 0.91, 0.03, trimmed=12, recipe=MOVED, allocation="lamp", length=0.25),
)
STEPS = 20_000
TRIMMING_STEPS = 1_000
"""Of each round where the network is trimmed first."""
CALIBRATION = 2048
"""Training pictures on which the packed model is corrected."""


def _run(row: Row, arguments: argparse.Namespace, folder: Path) -> Facts:
    steps = round(row.length * arguments.steps)
    out = folder / f"{row.name.replace('/', '-')}-{steps}-{arguments.seed}"
    settings = folder / f"{out.name}.toml"
    recipe = SURGERY.format(rate=row.rate) + row.recipe
    settings.write_text(f'{recipe}[surgery]\nallocation = "{row.allocation}"\n', "utf-8")
    start = _start(row, arguments, folder, out)
    result = trained(
        row.network,
        arguments,
        out,
        init=start.init,
        surgery_ratio=start.ratio,
        settings=settings,
        steps=steps,
        seed=arguments.seed,
    )
    export(out, out / "model.onnx")
    data = open_mnist(arguments.shared)
    error = error_of(out / "model.onnx", data)
    packed = _packed(out / "model.onnx", data)
    dense = arguments.shared / "models" / f"{row.dense}.onnx"
    return {
        "steps": steps,
        "seed": arguments.seed,
        "start": row.start,
        **_facts(row, start, result),
        "dense_error": error_of(dense, data),
        "error": error,
        "bytes_dense": dense.stat().st_size,
        "bytes_packed": packed.stat().st_size,
        "error_packed": error_of(packed, data),
        "reached": None if row.error is None else error <= row.error + 1e-9,
    }


@dataclasses.dataclass(frozen=True)
class Start:
    """What surgery starts from.

    Attributes:
        init: an ONNX file, or the folder of a run.
        ratio: parameters of that per parameter kept.
        widths: those of the trimmed network; empty where none was.
        parameters: of the dense network, where it was trimmed.
    """

    init: Path
    ratio: float
    widths: tuple[int, ...] = ()
    parameters: int | None = None


def _start(row: Row, arguments: argparse.Namespace, folder: Path, out: Path) -> Start:
    dense = arguments.shared / "models" / f"{row.dense}.onnx"
    if row.trimmed is not None:
        run = folder / f"trimming-{row.network}-{row.trimmed:g}-{TRIMMING_STEPS}-{arguments.seed}"
        narrow = trimmed(row.network, dense, row.trimmed, arguments, run, steps=TRIMMING_STEPS)
        whole, last = narrow.widths[0].parameters, narrow.widths[-1].round
        widths = tuple(width.units for width in narrow.widths if width.round == last)
        return Start(narrow.folder, narrow.parameters / (whole // row.ratio), widths, whole)
    if row.start is None:
        return Start(dense, row.ratio)
    mnist = arguments.shared / "data" / "mnist"
    return Start(_pruned(dense, row.start, mnist, out.with_suffix(".onnx"), arguments.seed), row.ratio)


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


def _facts(row: Row, start: Start, result: Training) -> Facts:
    parameters = start.parameters or result.parameters
    return {
        "parameters": parameters,
        "kept": result.nonzero,
        "ratio": round(parameters / result.nonzero, 1),
        "must_reach": row.error,
        "trimmed": start.widths,
        "allocation": {"allocation": row.allocation, **result.found},
        "layers": {layer.name: layer.kept for layer in result.layers},
        "validation_error": round(100 * result.validation_error, 2),
    }


def _page(rows: dict[str, Facts]) -> str:
    lines = [
        "# Dynamic network surgery",
        "",
        "This page shows how few weights training with masks leaves the LeNets, and at what error.",
        "",
        "From the authors' dense weights, or what L-OBS and 500 steps of retraining, or network trimming, make of "
        "them; MNIST; errors in percent on the test split, in ONNX Runtime. `python benchmarks/surgery.py --shared "
        "DIR` makes this table. The "
        "authors trained on all training pictures: the error on the validation split starts below what it will be on "
        "new pictures, and only compares runs.",
        "",
        "| network / ratio | from | steps | kept | ratio | dense error | error | at most | validation | spread | "
        "bytes | packed, error |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {_origin(row)} | {row['steps']:,} | {row['kept']:,} of {row['parameters']:,} | "
            f"{row['ratio']} | {row['dense_error']:.2f} | {row['error']:.2f} | {must(row)} | "
            f"{row['validation_error']:.2f} | {row['allocation'].get('allocation', '-')} | {row['bytes_dense']:,} | "
            f"{row['bytes_packed']:,} (÷ {row['bytes_dense'] / row['bytes_packed']:.0f}), "
            f"{row['error_packed']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _origin(row: Facts) -> str:
    if row.get("trimmed"):
        return "trimmed to " + "-".join(map(str, row["trimmed"]))
    return f"L-OBS, {row['start']:g} %" if row.get("start") else "dense"


if __name__ == "__main__":
    sys.exit(run_rows("surgery", about=__doc__, rows=ROWS, run=_run, page=_page, steps=STEPS))
