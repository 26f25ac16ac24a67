"""What integers do, on the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from netsurgeon.pipeline.inspect_quantization import QuantizationInspection
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.terminal.console import print_notes, print_warnings
from netsurgeon.pipeline.terminal.safe_text import Text


def print_quantization(inspection: QuantizationInspection, console: Console) -> None:
    """The result of `inspect --quantization`."""
    measured = (
        f"measured on {counted(inspection.samples, 'input')}" if inspection.samples else "nothing measured: no inputs"
    )
    print_warnings(inspection.warnings, console)
    console.print(Text(f"{inspection.name}: {measured}"))
    console.print(_table(inspection))
    if inspection.samples:
        bits = " or ".join(f"{number}-bit" for number in inspection.bits)
        console.print(f"errors: share of the energy of a layer's output that {bits} weights cost it, all layers so")
    else:
        console.print("ranges and errors need inputs: give them with --data")
    for sentence in inspection.staying:
        console.print(Text(sentence))
    for sentence in inspection.verdict:
        console.print(Text(sentence, style="bold"))
    print_notes(inspection.notes, console)


def _table(inspection: QuantizationInspection) -> Table:
    table = Table(title="layers on integers", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("layer", overflow="fold")
    table.add_column("operator", no_wrap=True)
    table.add_column("input", justify="right", overflow="fold")
    errors = (f"error\n{bits} bit" for bits in inspection.bits)
    for name in ("zero", *errors, *(title.replace(", ", "\n") for title in inspection.titles_of_times)):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("runs as", overflow="fold")
    for layer in inspection.layers:
        table.add_row(*map(Text, layer.cells(len(inspection.bits), has_sparse=inspection.has_sparse)))
    return table
