"""Several runs as one HTML page that needs nothing else: no network, and no script but the one it is made with."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from netsurgeon.pipeline.messages import printable
from netsurgeon.pipeline.report import (
    Frontier,
    LayerFacts,
    changed_options,
    draw_bars,
    draw_frontiers,
    invocation,
    page_template,
)
from netsurgeon.pipeline.side_by_side.figure_table import Figure, dense_figures, figures
from netsurgeon.pipeline.side_by_side.runs import Run

TEMPLATES = Path(__file__).parent / "templates"
MOST_BARS = 12
"""Most layers in a chart, those that had most bytes; the table has all."""


@dataclasses.dataclass(frozen=True)
class LayerRow:
    """One layer in every run.

    Attributes:
        name: its node.
        operator: its operator type.
        cells: of each run; None where it pruned no layer of that name.
    """

    name: str
    operator: str
    cells: tuple[LayerFacts | None, ...]

    @property
    def bytes_before(self) -> int:
        """Of the dense weight, in the run where it was largest."""
        return max(cell.bytes_before for cell in self.cells if cell is not None)


def render_runs(runs: Sequence[Run], missing: Mapping[str, str] | None = None) -> str:
    """The page, as HTML.

    Args:
        runs: what lies side by side, one or more.
        missing: what would lie beside it, had it not failed, and why: sentences by name.

    Its one script sorts tables and sets two runs against each other. The page's policy names it by its digest, so that
    no other would run whatever a report holds; what it shows it takes from a block of JSON, and writes as text.
    """
    script = (TEMPLATES / "side_by_side.js").read_text("utf-8")
    layers, listed = _layers(runs), figures(runs)
    return page_template(TEMPLATES / "side_by_side.html").render(
        runs=runs,
        missing=missing or {},
        figures=listed,
        frontiers=_frontier_charts(runs),
        layers=layers,
        bars=_bar_charts(layers, len(runs)),
        invocations=[invocation(run.report) if run.report else None for run in runs],
        dense=list(dict.fromkeys(map(dense_figures, runs))),
        has_same_inputs=_has_same_inputs(runs),
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=_as_json_block(_differing(runs, listed, layers)),
    )


def _has_same_inputs(runs: Sequence[Run]) -> bool:
    """Whether all runs were measured on the same inputs, as far as is known."""
    inputs = {(run.report.test or run.report.calibration).sha256 for run in runs if run.report is not None}
    return len(inputs) <= 1 and len({run.validation.samples for run in runs}) == 1


def _layers(runs: Sequence[Run]) -> list[LayerRow]:
    """Every layer that some run has pruned, in order."""
    by_run = [{layer.name: layer for layer in (run.report.layers if run.report else ())} for run in runs]
    operators = {name: layer.operator for layers in by_run for name, layer in layers.items()}
    return [
        LayerRow(name, operator, tuple(layers.get(name) for layers in by_run)) for name, operator in operators.items()
    ]


def _frontier_charts(runs: Sequence[Run]) -> list[Markup]:
    """A chart for each measure that runs are judged by."""
    by_axis: dict[str, list[Frontier]] = {}
    for run in runs:
        by_axis.setdefault(run.frontier.axis, []).append(run.frontier)
    return [chart for at, group in enumerate(by_axis.values()) for chart in draw_frontiers(group, f"frontier-{at}")]


def _bar_charts(layers: Sequence[LayerRow], count: int) -> list[Markup]:
    """What the largest layers keep of their weights, and their bytes in the file."""
    largest = sorted(layers, key=lambda layer: -layer.bytes_before)[:MOST_BARS]
    shown = [layer for layer in layers if layer in largest]
    if not shown:
        return []
    names, columns = [layer.name for layer in shown], [[layer.cells[at] for layer in shown] for at in range(count)]
    kept = [[math.nan if cell is None else 100.0 * cell.kept / cell.weights for cell in cells] for cells in columns]
    size = [[math.nan if cell is None else cell.bytes_after / 1000.0 for cell in cells] for cells in columns]
    return [draw_bars(names, kept, "% of weights kept", "kept"), draw_bars(names, size, "kB in the file", "size")]


def _differing(runs: Sequence[Run], listed: Sequence[Figure], layers: Sequence[LayerRow]) -> dict[str, Any]:
    """What the script sets against each other: the figures, options and layers of each run."""
    return {
        "figures": [dataclasses.asdict(figure) for figure in listed],
        "runs": [
            {"name": run.name, "options": {k: str(v) for k, v in changed_options(run.report).items()}}
            if run.report
            else {"name": run.name, "options": {}}
            for run in runs
        ],
        "layers": [
            {
                "name": layer.name,
                "kept": [cell and cell.kept / cell.weights for cell in layer.cells],
                "bytes": [cell and cell.bytes_after for cell in layer.cells],
            }
            for layer in layers
        ],
    }


def _as_json_block(values: Any) -> Markup:
    """JSON that ends no element and opens none, with control characters shown as everywhere on the page."""
    text = json.dumps(_printable(values), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _printable(values: Any) -> Any:
    if isinstance(values, str):
        return printable(values, keep="\n")
    if isinstance(values, dict):
        return {printable(key): _printable(entry) for key, entry in values.items()}
    return [_printable(entry) for entry in values] if isinstance(values, list | tuple) else values
