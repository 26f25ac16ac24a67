"""The picture of a surgery: what each layer kept, pruned and spliced, over the steps."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from netsurgeon.models.atomic_write import replaced
from netsurgeon.models.surgery.masks import Count

PICTURE = "surgery.png"


def plot_history(rows: Sequence[Count], path: Path) -> None:
    """Write a PNG with the density of each layer above, and the parameters pruned and spliced below."""
    with warnings.catch_warnings():  # matplotlib tells about its own dependencies
        warnings.simplefilter("ignore", DeprecationWarning)
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 8), layout="constrained")
    FigureCanvasAgg(figure)
    density, changes = figure.subplots(2, 1, sharex=True)
    for name in dict.fromkeys(row.layer for row in rows):
        own = [row for row in rows if row.layer == name]
        steps = [row.step for row in own]
        (line,) = density.plot(steps, [max(row.kept, 0.5) / row.size for row in own], label=name)
        changes.plot(steps, [row.pruned for row in own], color=line.get_color())
        changes.plot(steps, [row.spliced for row in own], color=line.get_color(), linestyle="--")
    density.set(yscale="log", ylabel="share of parameters kept")
    changes.set(yscale="symlog", ylim=(0, None), xlabel="step", ylabel="pruned (solid), spliced (dashed)")
    for axes in (density, changes):
        axes.grid(visible=True, alpha=0.3)
    if len(density.lines) <= 12:
        density.legend(fontsize="small")
    with replaced(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100, metadata={"Software": None})
