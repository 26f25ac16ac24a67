"""What the commands that train print."""

from __future__ import annotations

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.terminal.safe_text import Text
from netsurgeon.pipeline.training import Exported, Retraining, Scores, Training


def print_training(training: Training, console: Console) -> None:
    """The result of `train`."""
    if training.layers:
        table = Table(title="surgery", title_justify="left", box=SIMPLE_HEAD)
        table.add_column("layer", overflow="fold")
        for name in ("parameters", "kept", "", "c"):
            table.add_column(name, justify="right", no_wrap=True)
        size, kept = (sum(getattr(layer, name) for layer in training.layers) for name in ("size", "kept"))
        for layer in training.layers:
            share = f"{layer.kept / layer.size:.2%}"
            table.add_row(Text(layer.name), f"{layer.size:,}", f"{layer.kept:,}", share, f"{layer.c:.2f}")
        table.add_row("all", f"{size:,}", f"{kept:,}", f"÷ {size / max(kept, 1):.1f}", "", style="bold")
        console.print(table)
    if training.widths:
        console.print(_widths(training))
    errors = [f"validation error {training.validation_error:.2%}"]
    errors += [] if training.test_error is None else [f"test error {training.test_error:.2%}"]
    console.print(
        Text(
            f"{training.network} after {counted(training.steps, 'step')}: {training.nonzero:,} of "
            f"{training.parameters:,} parameters not zero; {', '.join(errors)}"
        )
    )
    console.print(Text(f"in {training.folder}: `netsurgeon export` makes ONNX of it"))


def _widths(training: Training) -> Table:
    """A row for each round of trimming, the one that is delivered in bold."""
    table = Table(title="trimming", title_justify="left", box=SIMPLE_HEAD)
    layers = list(dict.fromkeys(width.layer for width in training.widths))
    for name in ("round", *layers, "parameters", "", "validation error"):
        table.add_column(Text(name), justify="right", overflow="fold")
    first = training.widths[0].parameters
    for number in dict.fromkeys(width.round for width in training.widths):
        width_of = {width.layer: width for width in training.widths if width.round == number}
        last = next(iter(width_of.values()))
        units = [str(width_of[layer].units) if layer in width_of else "" for layer in layers]
        delivered = last.parameters == training.parameters
        table.add_row(
            str(number),
            *units,
            f"{last.parameters:,}",
            f"÷ {first / last.parameters:.2f}",
            f"{last.error:.2%}",
            style="bold" if delivered else None,
        )
    return table


def print_retraining(result: Retraining, output: Path, console: Console) -> None:
    """The result of `retrain`: the measures held out, round by round, and of the test part."""
    table = Table(title=f"after {counted(result.steps, 'step')}", title_justify="left", box=SIMPLE_HEAD)
    columns: list[tuple[str, Scores | None]] = []
    if not result.rounds[0].is_as_given:
        columns.append(("held out, as given", result.before))
    for training_round in result.rounds:
        before = "held out, before" if training_round.sparsity is None else f"{training_round.sparsity:.2%} removed"
        before = before if training_round.quantize is None else f"on integers, {training_round.quantize}"
        after = "held out, after" if training_round.is_as_given else "retrained"
        columns += [
            (before, training_round.before),
            (after if training_round.taken else f"{after}: undone", training_round.after),
        ]
    columns.append(("test", result.test))
    for name in ("", *(name for name, _ in columns)):
        table.add_column(name, justify="right" if name else "left")
    for label, field in (
        ("error", "error"),
        ("same class as the dense model", "agreement"),
        ("squared distance to its outputs", "distance"),
    ):
        values = [None if scores is None else getattr(scores, field) for _, scores in columns]
        if values[0] is not None:
            table.add_row(label, *("" if value is None else f"{value:.2%}" for value in values))
    console.print(table)
    console.print(Text(f"weights trained: {result.trained}; zeros kept: {result.zeros:,}; written to {output}"))


def print_export(exported: Exported, output: Path, console: Console) -> None:
    """The result of `export`."""
    console.print(
        Text(
            f"{exported.nonzero:,} of {exported.parameters:,} parameters not zero; opset {exported.opset}; PyTorch and "
            f"ONNX Runtime differ by {exported.difference:.1g} of the output's scale on "
            f"{counted(exported.inputs, 'input')}"
        )
    )
    console.print(Text(f"{exported.bytes:,} bytes written to {output}"))
