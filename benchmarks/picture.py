"""Draw the picture of README.md from the figures in results: ``python benchmarks/picture.py``.

Left: points of top-1 lost against how many times smaller the file is, with onnxsim's SparseGPT where it was measured.
Right: points lost against how many times as fast the model runs, for the default goal, for goals on floats and for
trimming.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl
from _cases import DEFAULT, GOALS, MODELS, Goal
from matplotlib.axes import Axes
from matplotlib.figure import Figure

HERE = Path(__file__).parent
PICTURE = HERE.parent / "docs" / "images" / "results.svg"
NAMES = ("LeNet-300-100", "LeNet-5", "ResNet-20", "ResNet-56", "SqueezeNet 1.1", "MobileNet 0.25", "ShuffleNet v2")
COLOURS = ("#000000", "#0072b2", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#e69f00")
"""Okabe and Ito's, which colour-blind readers tell apart."""
STYLE = dict(zip(MODELS, zip(NAMES, COLOURS, strict=True), strict=True))
LOSSES = (0, 1, 2, 5, 10, 20, 50, 90)


@dataclasses.dataclass(frozen=True)
class Mark:
    """One point of the picture.

    Attributes:
        model: file name without suffix.
        factor: how many times smaller, or as fast.
        loss: points of top-1 lost.
        interval: of `factor`, or none.
    """

    model: str
    factor: float
    loss: float
    interval: tuple[float, float] | None = None


def size_marks(rows: list[dict[str, Any]]) -> tuple[list[Mark], list[Mark]]:
    """What the default method and the rival lose at each number of weights kept.

    The size of the rival's files was not measured: its marks lie at the size of ours with as many weights.
    """
    ours, rivals = [], []
    for goal in GOALS:
        runs = [row for row in rows if _is_run(row, goal)]
        if not runs:
            continue
        dense, factor = runs[0]["top1_dense"], statistics.median(row["ratio"] for row in runs)
        ours.append(Mark(goal.model, factor, dense - statistics.median(row["top1"] for row in runs)))
        if goal.rival is not None:
            top1 = 100 - goal.rival if goal.measure == "error" else goal.rival
            rivals.append(Mark(goal.model, factor, dense - top1))
    return ours, rivals


def _is_run(row: dict[str, Any], goal: Goal) -> bool:
    same = (row.get("model"), row.get("kept"), row.get("method")) == (goal.model, goal.kept, DEFAULT)
    return same and row["status"] == "ok" and row["seed"] in goal.seeds


def default_marks(quantized: dict[str, dict[str, Any]]) -> list[Mark]:
    """What the default goal loses, on integers where they are faster, at batch 1 and on one thread."""
    rows = [row for name, row in quantized.items() if name.split("/")[1] == "--max-drop 1%" and row["status"] == "ok"]
    marks = []
    for row in rows:
        timing = next(timing for timing in row["latency"] if timing["batch"] == 1)
        low, high = timing["interval"]
        marks.append(Mark(row["model"], 1 / timing["ratio"], row["top1_dense"] - row["top1"], (1 / high, 1 / low)))
    return marks


def speed_marks(goals: dict[str, dict[str, Any]], trims: dict[str, dict[str, Any]]) -> tuple[list[Mark], list[Mark]]:
    """What searches for a goal on floats, and trimming, lose at batch 1 and on two threads."""
    searches = [
        _timed(name.split()[0], 100 * row["test"]["drop"], row["latency"])
        for name, row in goals.items()
        if row["status"] == "ok"
    ]
    trimmed = [
        _timed(name.split()[0], row["top1_dense"] - row["top1"], row["latency"][0])
        for name, row in trims.items()
        if row["status"] == "ok" and row.get("latency") and name.split()[0] in STYLE
    ]
    return searches, trimmed


def _timed(model: str, loss: float, latency: dict[str, Any]) -> Mark:
    low, high = latency["interval"]
    return Mark(model, latency["ratio"], loss, (low, high))


def _draw(axes: Axes, marks: list[Mark], symbol: str, *, joined: bool = False, filled: bool = True) -> None:
    for model, (_, colour) in STYLE.items():
        row = sorted((mark for mark in marks if mark.model == model), key=lambda mark: mark.factor)
        axes.plot(
            [mark.factor for mark in row],
            [mark.loss for mark in row],
            color=colour,
            marker=symbol,
            markerfacecolor=colour if filled else "white",
            linestyle="-" if joined else "none",
        )
        for mark in row:
            if mark.interval:
                axes.plot(mark.interval, [mark.loss] * 2, color=colour, linewidth=0.8)


def _prepare(axes: Axes, title: str, label: str, ticks: tuple[float, ...]) -> None:
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yscale("symlog", linthresh=1, linscale=0.6)
    axes.set_yticks(LOSSES, [f"{loss}" for loss in LOSSES])
    axes.set_ylim(100, -0.6)
    axes.set_xlabel(label)
    axes.set_ylabel("points of top-1 lost (top is better)")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, size: Axes, speed: Axes) -> None:
    for axes, entries in (
        (size, (("o", "#555555", "netsurgeon"), ("x", "#555555", "onnxsim SparseGPT, as many weights kept"))),
        (
            speed,
            (
                ("o", "#555555", "--max-drop 1%, the default"),
                ("^", "white", "goals on floats"),
                ("s", "white", "--trim on floats"),
            ),
        ),
    ):
        for symbol, fill, text in entries:
            axes.plot([], [], symbol, color="#555555", markerfacecolor=fill, label=text)
        axes.legend(loc="lower right", fontsize=8, framealpha=0.9)
    colours = [size.plot([], [], "o", color=colour, label=name)[0] for name, colour in STYLE.values()]
    figure.legend(handles=colours, loc="lower center", ncols=len(colours), fontsize=8.5, frameon=False)


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def draw(results: Path) -> Figure:
    """The picture of the figures in a folder of results."""
    rows, goals, trims, quantized = (_read(results / f"{name}.json") for name in ("lobs", "goals", "trim", "quantize"))
    figure = Figure(figsize=(11, 4.9))
    size, speed = figure.subplots(1, 2)
    ours, rivals = size_marks(rows["rows"])
    _draw(size, ours, "o", joined=True)
    _draw(size, rivals, "x")
    searches, trimmed = speed_marks(goals, trims)
    _draw(speed, trimmed, "s", filled=False)
    _draw(speed, searches, "^", filled=False)
    _draw(speed, default_marks(quantized), "o")
    speed.axvline(1, color="#888888", linewidth=0.8)
    _prepare(size, "Size: --sparsity, no retraining", "times smaller than the dense file", (2.5, 5, 10, 20, 40))
    _prepare(speed, "Speed: batch 1", "times as fast as the dense model", (0.7, 1, 1.5, 2, 3))
    _legend(figure, size, speed)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    return figure


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the JSON files")
    parser.add_argument("--output", type=Path, default=PICTURE, help="an .svg or .png file")
    arguments = parser.parse_args()
    mpl.rcParams["svg.hashsalt"] = "netsurgeon"  # the same figures give the same bytes
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None} if arguments.output.suffix == ".svg" else None
    draw(arguments.results).savefig(arguments.output, dpi=120, facecolor="white", metadata=metadata)
    print(arguments.output)


if __name__ == "__main__":
    main()
