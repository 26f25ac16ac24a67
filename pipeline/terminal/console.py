"""Tables on the terminal (rich)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from netsurgeon.passes.quantization import QuantizedLayer
from netsurgeon.pipeline.compare import Comparison, Comparisons
from netsurgeon.pipeline.error_bound import Bound
from netsurgeon.pipeline.inspect import Inspection, UnitInspection
from netsurgeon.pipeline.inspect_sensitivity import SensitivityInspection
from netsurgeon.pipeline.messages import Message, printable
from netsurgeon.pipeline.model_files import ModelFacts
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.report import (
    BOUND_OF_PRUNING,
    COMPARED_INPUTS,
    Report,
    cluster_summary,
    goal_summary,
    inputs_measured,
    integer_summary,
    promise_summary,
)
from netsurgeon.pipeline.side_by_side import dense_figures, figures
from netsurgeon.pipeline.tables import TableFacts
from netsurgeon.pipeline.terminal.safe_text import Text
from netsurgeon.pipeline.trimming import TrimFacts
from netsurgeon.pipeline.verification import Validation

LISTED = 24
"""Most layers listed on the terminal; the report has all."""


def print_report(report: Report, console: Console) -> None:
    """The result of `compress`."""
    print_warnings(report.doubts, console)
    console.print(_layers(report))
    if len(report.layers) > LISTED:
        console.print(f"… and {len(report.layers) - LISTED} smaller, listed in the report")
    _print_tables(report.tables, report.table_loss_title, console)
    _print_declined([(d.operator, d.node, d.reason) for d in report.declined], console)
    if report.trim is not None:
        _print_trim(report.trim, str(report.options["save"]), console)
    for what, repair in (("weights", report.repair), ("integers", report.integer_repair)):
        if repair is not None:
            console.print(Text(f"{what}: {repair}"))
    console.print(_models(report.dense, report.compressed, report.validation))
    for sentence in goal_summary(report):
        console.print(Text(sentence, style="bold"))
    for sentence in integer_summary(report.integers, report.latency):
        console.print(Text(sentence))
    source = inputs_measured(report.validation)
    console.print(
        f"measured on {report.validation.samples:,} {source}; "
        f"weights that are zero {report.sparsity:.1%}{of_what(report)}"
    )
    _print_fidelity(report.validation, console)
    for sentence in promise_summary(report.validation.promise):
        console.print(Text(sentence))
    _print_bound(report.bound, "calibration inputs", console)
    if report.integers is not None:
        console.print(Text(BOUND_OF_PRUNING))
    print_notes(report.notes, console)
    print_warnings([warning for warning in report.warnings if warning not in report.doubts], console)
    print_fallbacks(report.on_the_cpu, console)
    for sentence in cluster_summary(report.cluster):
        console.print(Text(sentence))
    total = sum(report.seconds.values())
    console.print(f"{total:.1f} s, most memory {report.peak_bytes / 2**20:,.0f} MiB")


def print_warnings(warnings: Iterable[Message], console: Console) -> None:
    """What the user should know, a line each."""
    for warning in warnings:
        console.print(Text(f"warning: {warning}", style="yellow"))


def of_what(report: Report) -> str:
    """Of how many weights a share is, where the layers that took part hold few of the model's parameters."""
    prunable, parameters = sum(layer.weights for layer in report.layers), report.dense.parameters
    return (
        "" if prunable > 0.9 * parameters else f" of the {prunable:,} that took part, out of {parameters:,} parameters"
    )


def print_fallbacks(nodes: Sequence[str], console: Console) -> None:
    """Nodes that another provider than the one that was asked for runs."""
    if nodes:
        listed = ", ".join(nodes[:LISTED]) + (", …" if len(nodes) > LISTED else "")
        console.print(Text(f"{counted(len(nodes), 'node')} fell back to the CPU: {listed}", style="yellow"))


def _print_trim(trim: TrimFacts, save: str, console: Console) -> None:
    if trim.groups:
        table = Table(title="units removed", title_justify="left", box=SIMPLE_HEAD)
        table.add_column("made by", overflow="fold")
        table.add_column("operators", overflow="fold")
        for name in ("units", "removed"):
            table.add_column(name, justify="right", no_wrap=True)
        for group in sorted(trim.groups, key=lambda group: -group.removed)[:LISTED]:
            operators = ", ".join(group.operators)
            table.add_row(Text(group.node), Text(operators), f"{group.units:,}", f"{group.removed:,}")
        console.print(table)
        if len(trim.groups) > LISTED:
            console.print(f"… and {counted(len(trim.groups) - LISTED, 'more group')}, listed in the report")
    if trim.asked is not None or trim.groups:
        console.print(trim.summary(save))
    for group_name, reason in trim.failed:
        console.print(Text(f"units of {group_name} stay: {reason}", style="yellow"))
    if trim.proof is not None:
        console.print(Text(f"masked against trimmed model: {trim.proof}"))
        console.print(f"multiply-adds {trim.macs / max(trim.macs_dense, 1.0):.1%} of the dense model's")


def print_comparison(comparison: Comparison, console: Console) -> None:
    """The result of `compare`."""
    print_warnings(comparison.warnings, console)
    console.print(_models(comparison.dense, comparison.compressed, comparison.validation))
    console.print(f"measured on {counted(comparison.validation.samples, 'input')}")
    _print_fidelity(comparison.validation, console)
    for sentence in promise_summary(comparison.validation.promise, COMPARED_INPUTS):
        console.print(Text(sentence))
    if comparison.bound is None:
        console.print("no error bound: the graphs differ in more than their weights (the report of compress has one)")
    else:
        _print_bound(comparison.bound, "inputs", console)
    print_fallbacks(comparison.on_the_cpu, console)
    print_notes(comparison.notes, console)


def print_comparisons(result: Comparisons, console: Console) -> None:
    """The result of `compare` with several models: one a column."""
    first = result.comparisons[0]
    print_warnings(dict.fromkeys(warning for entry in result.comparisons for warning in entry.warnings), console)
    runs = result.runs
    table = Table(title=f"against {printable(first.dense.name or 'it')}", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    for run in runs:
        table.add_column(Text(run.name), justify="right", overflow="fold")
    for figure in figures(runs):
        table.add_row(figure.title, *figure.texts)
    console.print(table)
    console.print(Text(f"{dense_figures(runs[0])}; measured on {counted(first.validation.samples, 'input')}"))
    for run, entry in zip(runs, result.comparisons, strict=True):
        if entry.on_the_cpu:
            console.print(Text(f"{run.name}:"))
            print_fallbacks(entry.on_the_cpu, console)
    print_notes(first.notes, console)


def print_inspection(inspection: Inspection, console: Console) -> None:
    """The result of `inspect`."""
    console.print(Text(f"{inspection.name}: {inspection.bytes:,} bytes, opset {inspection.opset}"))
    console.print(Text(f"inputs  {'; '.join(inspection.inputs)}"))
    console.print(Text(f"outputs {'; '.join(inspection.outputs)}"))
    table = Table(title="layers that can be pruned", title_justify="left", box=SIMPLE_HEAD)
    first, second, *numbers, last = inspection.titles
    table.add_column(first, overflow="fold")
    table.add_column(second, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=" " not in name)
    table.add_column(last, no_wrap=True)
    for layer in inspection.layers:
        table.add_row(*map(Text, layer.cells(inspection.tiles)))
    table.add_row("all", "", "", f"{sum(layer.weights for layer in inspection.layers):,}", style="bold")
    console.print(table)
    _print_quantized(inspection.quantized, console)
    _print_declined([(d.operator, d.node, d.reason) for d in inspection.declined], console)
    print_notes(inspection.notes, console)


def print_notes(notes: Iterable[Message], console: Console) -> None:
    """What was done on the way, a line each."""
    for note in notes:
        console.print(Text(f"note: {note}"))


def _print_quantized(layers: Sequence[QuantizedLayer], console: Console) -> None:
    """Weights that are integers, where a model has some."""
    if not layers:
        return
    table = Table(title="weights that are integers", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("layer", overflow="fold")
    for name in ("form", "bits", "scales", "weights", "zeros"):
        table.add_column(name, justify="left" if name in ("form", "scales") else "right", no_wrap=name != "scales")
    for layer in layers:
        cells = (layer.form, str(layer.bits), layer.scheme, f"{layer.weights:,}", f"{layer.zeros / layer.weights:.1%}")
        table.add_row(Text(layer.name), *cells)
    console.print(table)


def print_units(found: UnitInspection, console: Console) -> None:
    """The result of `inspect --units`."""
    console.print(Text(f"{found.name}: {found.parameters:,} parameters"))
    table = Table(title="groups of units that can be removed", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("made by", overflow="fold")
    table.add_column("operators", overflow="fold")
    for name in ("units", "parameters each"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in found.groups:
        row = (", ".join(group.operators), f"{len(group.units):,}", f"{group.parameters:,}")
        table.add_row(Text(group.node), *map(Text, row))
    console.print(table)
    print_notes(found.notes, console)
    if not found.frozen:
        return
    table = Table(title="frozen", title_justify="left", box=SIMPLE_HEAD)
    for name in ("weight", "indices", "reason"):
        table.add_column(name, overflow="fold", justify="right" if name == "indices" else "left")
    for frozen in found.frozen:
        place = f" ({frozen.operator} {frozen.node})" if frozen.node else ""
        row = (frozen.value, f"{frozen.indices:,} of axis {frozen.axis}", f"{frozen.reason}{place}")
        table.add_row(*map(Text, row))
    console.print(table)


def print_sensitivity(inspection: SensitivityInspection, console: Console) -> None:
    """The result of `inspect --sensitivity`: the layer that costs most first."""
    print_warnings(inspection.warnings, console)
    inputs = counted(inspection.samples, "input")
    console.print(Text(f"{inspection.name}: measured on {inputs}, one layer pruned at a time and corrected"))
    title = "share of the information in the outputs that is lost, where one layer alone is pruned"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("layer", overflow="fold")
    table.add_column("operator", no_wrap=True)
    for name in ("weights", "sensitivity", *(f"at {sparsity:.0%}" for sparsity in inspection.sparsities)):
        table.add_column(name, justify="right", no_wrap=True)
    for layer in sorted(inspection.layers, key=lambda layer: -layer.losses[0]):
        losses = (f"{100.0 * loss:.2g}%" for loss in layer.losses)
        table.add_row(Text(layer.name), layer.operator, f"{layer.weights:,}", f"{layer.sensitivity:.3g}", *losses)
    console.print(table)
    print_notes(inspection.notes, console)


def _layers(report: Report) -> Table:
    table = Table(title="layers", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("layer", overflow="fold")
    for name in ("weights", "kept", "own error"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("stored as", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    largest = sorted(report.layers, key=lambda layer: -layer.weights)[:LISTED]
    for layer in (layer_facts for layer_facts in report.layers if layer_facts in largest):
        error = "" if layer.error is None else f"{layer.error:.3g}"
        kept = f"{layer.kept / layer.weights:.1%}"
        cells = (f"{layer.weights:,}", kept, error, _short(layer.stored), f"{layer.bytes_after:,}")
        table.add_row(Text(layer.name), *cells)
    return table


def _print_tables(tables: Sequence[TableFacts], lose: str, console: Console) -> None:
    if not tables:
        return
    table = Table(title="tables that rows are looked up in", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("table", overflow="fold")
    for name in ("rows x columns", "rows seen", lose, "stored as", "bytes"):
        table.add_column(name, justify="left" if name == "stored as" else "right", no_wrap=name != "stored as")
    for facts in tables[:LISTED]:
        loss = "" if facts.loss is None else f"{facts.loss:.2g}"
        stored = facts.stored if facts.reason is None else f"{facts.stored}: {facts.reason}"
        if facts.tied:
            stored += f"; one tensor with {', '.join(facts.tied)}"
        if facts.rows_dropped:
            stored += f"; {counted(facts.rows_dropped, 'row')} dropped"
        if facts.columns_removed:
            stored += f"; {counted(facts.columns_removed, 'column')} removed"
        cells = (f"{facts.rows:,} x {facts.columns:,}", f"{facts.rows_seen:,}", loss, stored, f"{facts.bytes_after:,}")
        table.add_row(Text(facts.name), *map(Text, cells))
    console.print(table)


def _short(stored: str) -> str:
    """`gaps (8 bit), codebook of float16 (7 bit)` as `gaps, codebook`: how wide the fields are is in the report."""
    return re.sub(r" \([\d+and ]+ bit\)| of \w+", "", stored)


def _models(dense: ModelFacts, compressed: ModelFacts, validation: Validation) -> Table:
    table = Table(title="dense against compressed", title_justify="left", box=SIMPLE_HEAD)
    for name in ("", "dense", "compressed", ""):
        table.add_column(name, justify="left" if not name else "right")
    before, after = validation.dense, validation.compressed
    for name, old, new in (
        ("top-1", before.top1, after.top1),
        ("top-5", before.top5, after.top5),
    ):
        if old is not None and new is not None:
            table.add_row(name, f"{old:.2%}", f"{new:.2%}", f"{100 * (new - old):+.2f} points")
    if before.metric is not None and after.metric is not None:
        scale = validation.scale
        figures = scale.text(before.metric), scale.text(after.metric)
        table.add_row(Text(scale.title), *figures, scale.change(before.metric, after.metric))
    if validation.agreement is not None:
        table.add_row("same top class", "", f"{validation.agreement:.2%}", "")
    for name, was, now in (
        ("bytes", dense.bytes, compressed.bytes),
        ("bytes, gzip", dense.gzip_bytes, compressed.gzip_bytes),
        ("parameters not zero", dense.nonzero, compressed.nonzero),
    ):
        if was is None or now is None:  # a file of gigabytes
            continue
        table.add_row(name, f"{was:,}", f"{now:,}", f"÷ {was / max(now, 1):.2f}")
    return table


def _print_fidelity(validation: Validation, console: Console) -> None:
    for output in validation.outputs:
        alike = f"; the same for {output.alike} of {validation.samples} inputs" if validation.is_alike(output) else ""
        text = (
            f"output {output.output!r}: relative error {output.relative_error:.3g}, SNR {output.snr_db:.1f} dB{alike}"
        )
        console.print(Text(text))
    for agreement in validation.agreements:
        console.print(Text(str(agreement)))


def _print_bound(bound: Bound, inputs: str, console: Console) -> None:
    for output in bound.outputs:
        if math.isnan(output.measured) and output.ends_at is not None:  # texts and integers
            console.print(Text(f"{output.ends_at}: it has no error bound"))
            continue
        limit = (
            f"L-OBS bound {output.bound:.3g} (proven, for the worst case)"
            if output.bound is not None
            else f"not bounded: it ends at {output.ends_at}"
        )
        line = f"output {output.output!r} on {bound.samples} {inputs}: error {output.measured:.3g}, {limit}"
        console.print(Text(line))


def _print_declined(rows: list[tuple[str, str, str]], console: Console) -> None:
    if not rows:
        return
    table = Table(title="left alone", title_justify="left", box=SIMPLE_HEAD)
    for name in ("operator", "node", "reason"):
        table.add_column(name, overflow="fold")
    for row in rows[:LISTED]:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
    if len(rows) > LISTED:
        console.print(f"… and {len(rows) - LISTED} more")
