"""What integers do, on the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from netsurgeon.pipeline.inspect_quantization import LayerQuantization, QuantizationInspection
from netsurgeon.pipeline.report import old_and_new, stay_summary, times_as_fast
from netsurgeon.pipeline.terminal.safe_text import Text


def print_quantization(inspection: QuantizationInspection, console: Console) -> None:
    """The result of `inspect --quantization`."""
    measured = f"measured on {inspection.samples:,} inputs" if inspection.samples else "nothing measured: no inputs"
    console.print(Text(f"{inspection.name}: {measured}"))
    console.print(_table(inspection))
    if inspection.samples:
        bits = " or ".join(f"{number}-bit" for number in inspection.bits)
        console.print(f"errors: share of the energy of a layer's output that {bits} weights cost it, all layers so")
    else:
        console.print("ranges and errors need inputs: give them with --data")
    stay = [(layer.name, layer.reason) for layer in inspection.layers if layer.reason is not None]
    for sentence in stay_summary(stay):
        console.print(Text(sentence))
    for sentence in _whole_model(inspection):
        console.print(Text(sentence, style="bold"))
    for note in inspection.notes:
        console.print(Text(f"note: {note}"))


def _table(inspection: QuantizationInspection) -> Table:
    table = Table(title="layers on integers", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("layer", overflow="fold")
    table.add_column("operator", no_wrap=True)
    table.add_column("input", justify="right", overflow="fold")
    errors = (f"error\n{bits} bit" for bits in inspection.bits)
    for name in ("zero", *errors, "float\nms", "int8\nms"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("runs as", overflow="fold")
    for layer in inspection.layers:
        table.add_row(Text(layer.name), *_cells(layer, len(inspection.bits)))
    return table


def _cells(layer: LayerQuantization, sizes: int) -> tuple[str, ...]:
    input_range = "" if layer.low is None else f"{_figure(layer.low)} to {_figure(layer.high)}"
    zero = "" if layer.zero_point is None else str(layer.zero_point)
    errors = [f"{error:.2g}" for error in layer.errors] or [""] * sizes
    times = (_figure(layer.floats_ms), _figure(layer.integers_ms))
    runs_as = (layer.kernel or "floats") if layer.reason is None else "floats"
    return (layer.operator, input_range, zero, *errors, *times, runs_as)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _whole_model(inspection: QuantizationInspection) -> tuple[str, ...]:
    """The model's times, and what `compress --quantize` would choose."""
    count, timed = len(inspection.layers), inspection.timed
    if timed is None:
        able = sum(layer.kernel is not None for layer in inspection.layers)
        remedy = ": give inputs with --data" if able and not inspection.samples else ""
        can = f"{able} of {count} layers can run on integers"
        return (can, f"not timed: {inspection.untimed}{remedy}") if inspection.untimed else (can,)
    best = f"the whole model is {times_as_fast(timed)} on integers ({old_and_new(timed)})"
    if not inspection.gains:
        return (f"{best}: --quantize would leave it on floats",)
    on_integers = sum(layer.reason is None for layer in inspection.layers)
    return (f"{best}: --quantize would put {on_integers} of {count} layers on them",)
