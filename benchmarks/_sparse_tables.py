"""The rows of `sparse.py` as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from _process import Row
from _quantize_tables import NOISE
from _tables import table

SHAPE, LAYER, ZOO = "shape", "layer", "zoo"
MOST_STEPS = 1.0
"""How far integers of the outputs may lie from the CPU provider's, with what floats round."""
MOST_DIFFERENCE = 0.05
"""How far other outputs may lie from its, of the largest number: a dozen steps of 8-bit integers in front of them."""
TITLES = ("case", "zeros", "float32", "int8", "sparse", "over int8", "over float32", "equal to int8")


def page(rows: Mapping[str, Row], threads: int) -> str:
    """All rows: whole shapes, layers beside what the instructions allow, and the zoo."""
    processors = "; ".join(sorted({row["processor"] for row in rows.values() if "processor" in row}))
    parts = [
        "# Sparse layers: measured",
        "This page shows how much time zeros save in `netsurgeon-sparse`.",
        f"Milliseconds of {threads} thread{'s' if threads > 1 else ''}, and how many times as fast the sparse\n"
        f"provider is. The processor: {processors}.",
        *_shapes(_of(rows, SHAPE)),
        *_layers(_of(rows, LAYER)),
        *_zoo({name: row for name, row in rows.items() if row["part"] == ZOO}),
    ]
    return "\n\n".join(parts) + "\n"


def graph_miss(row: Row) -> str:
    """What a graph of the zoo falls short of; one in which there is nothing to quantize is not amiss."""
    if row["status"] != "ok":
        return "" if row["status"] == "declined" else str(row["error"])
    if not row["steps"] <= MOST_STEPS + 1e-3:
        return f"{row['steps']:.1f} steps from the CPU provider's outputs"
    if not row["difference"] <= MOST_DIFFERENCE:
        return f"{row['difference']:.1g} of an output's scale from the CPU provider's"
    is_slower = 1.0 / row["interval"][1] > NOISE
    return f"{1.0 / row['ratio']:.2f} times the time without it" if is_slower else ""


def _is_undecided(row: Row) -> bool:
    """Whether a graph seems slower, and its interval does not say so for sure."""
    return row["status"] == "ok" and not graph_miss(row) and 1.0 / row["ratio"] > NOISE


def _of(rows: Mapping[str, Row], part: str) -> list[Row]:
    return sorted((row for row in rows.values() if row["part"] == part), key=lambda row: (row["case"], row["zeros"]))


def _cells(row: Row) -> list[str]:
    """Of the titles that all rows but the zoo's have."""
    over = [f"{row[key] / row['sparse']:.2f}" for key in ("int8", "float32")]
    times = [f"{row[key]:.3f}" for key in ("float32", "int8", "sparse")]
    return [row["case"], f"{row['zeros']:.0%}", *times, *over, "yes" if row["equal"] else "no"]


def _shapes(rows: Sequence[Row]) -> list[str]:
    return ["## Whole shapes", table(TITLES, [_cells(row) for row in rows])] if rows else []


def _layers(rows: Sequence[Row]) -> list[str]:
    """Layers, and the roofline: slots that the kernel multiplies in a second beside those that it could."""
    if not rows:
        return []
    words = (
        "A step of the kernel has 64 *slots*: four weights of each of 16 rows, at one pixel. Slots a nanosecond:\n"
        "those of the layer's steps over the time of the sparse session, gathering and rounding included. Allowed:\n"
        "what the kernel's two instructions (choose, multiply) do with all they read in the nearest cache and nothing\n"
        "else to do, run in turn with the sessions."
    )
    lines = []
    for row in rows:
        slots = row["slots"] / (1e6 * row["sparse"])
        lines.append([*_cells(row), f"{slots:.0f}", f"{row['allowed']:.0f}", f"{slots / row['allowed']:.0%}"])
    return ["## Layers", words, table((*TITLES, "slots/ns", "allowed", "reached"), lines)]


def _zoo(rows: Mapping[str, Row]) -> list[str]:
    """The graphs of the zoo, as the provider's own choice of layers runs them."""
    if not rows:
        return []
    judged = [row for row in rows.values() if row["status"] != "declined"]
    undecided = sum(_is_undecided(row) for row in judged)
    good = sum(not graph_miss(row) for row in judged) - undecided
    equal = [row["equal"] for row in judged if row["status"] == "ok" and row["taken"]]
    words = (
        "`--quantize int8 --pattern k:64 --sparsity 80%`, 16 random inputs, `light_*` with He weights. The same file\n"
        "with the sparse provider, which chooses layer by layer, and without it, in turn; 95 % intervals. No graph\n"
        f"may be slower for sure ({NOISE:g} times the time), nor its outputs more than one integer away where\n"
        f"they are integers, else {MOST_DIFFERENCE:.0%} of their scale: {good} of {len(judged)} keep to that\n"
        f"(undecided: {undecided}; besides, graphs of which nothing can be quantized: {len(rows) - len(judged)}).\n"
        f"The provider takes layers in {len(equal)} graphs; in {sum(equal)} of them outputs are equal to the last bit."
    )
    titles = ("graph", "status", "layers taken", "int8", "sparse", "over int8", "outputs", "what is left, and why not")
    return ["## Zoo", words, table(titles, [_zoo_line(row) for _, row in sorted(rows.items())])]


def _zoo_line(row: Row) -> list[str]:
    name, miss = row["case"], graph_miss(row)
    if row["status"] != "ok":
        return [name, row["status"], *[""] * 5, _plain(row["error"])]
    outputs = "equal" if row["equal"] else f"{row['difference']:.1g} apart, {row['steps']:.0f} steps"
    left = [f"{count}: {reason}" for reason, count in row["left"].items()]
    return [
        name,
        row["status"],
        f"{row['taken']} of {row['layers']}",
        f"{row['int8']:.3f}",
        f"{row['sparse']:.3f}",
        f"{row['ratio']:.2f}, {row['interval'][0]:.2f} to {row['interval'][1]:.2f}",
        outputs,
        _plain("; ".join([*([miss] if miss else ["measure again"] if _is_undecided(row) else []), *left])),
    ]


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:240]


def goal_table(rows: Mapping[str, Any], processor: str) -> str:
    """Markdown: what each goal came to."""
    lines = [
        "# Goals for sparse kernels: measured",
        "",
        "Milliseconds of one thread: the float model, the file for dense kernels (`--target cpu`) and the one for",
        "sparse kernels (`--target cpu-sparse`), run in turn; points lost on the test split, weights kept, and layers",
        f"that run on sparse kernels. The processor: {processor}.",
        "",
        "| goal | float32 | cpu | cpu-sparse | over cpu | lost, cpu | lost, cpu-sparse | kept | sparse layers |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        if row["status"] != "ok":
            lines.append(f"| {name} | {row['error']} |" + " |" * 7)
            continue
        times = [f"{row[key]:.3f}" for key in ("float32", "int8", "sparse")]
        dense, sparse = (row["targets"][target] for target in ("cpu", "cpu-sparse"))
        lost = [f"{100.0 * target['drop']:.2f}" for target in (dense, sparse)]
        layers = f"{sparse['sparse_layers']} of {sparse['layers']}"
        cells = [name, *times, f"{row['int8'] / row['sparse']:.2f}", *lost, f"{sparse['kept']:.0%}", layers]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
