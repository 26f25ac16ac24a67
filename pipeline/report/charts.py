"""Pictures of the report page: SVG without references to anything, in colours that the page's style gives."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from netsurgeon.pipeline.messages import printable

WIDTH = 5.6
"""Inches; the page scales pictures, so that this decides how large their text is."""
_COLOURS = {"ink": "#010101", "faint": "#020202", "accent": "#030303", "before": "#040404", "warn": "#050505"}
"""Stand-ins that become variables of the page's style, which knows light from dark."""
_LIGHT = {"ink": "#20242a", "faint": "#c9cdd3", "accent": "#0f766e", "before": "#8fa3b5", "warn": "#c2410c"}
"""The colours of pictures that stand alone."""
_SHAPES = "osD^v"
"""Of points, one a form of weights."""
LEAST_LOSS = 1e-6
"""Smaller ones are shown as this."""
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _COLOURS["faint"],
    "axes.labelcolor": _COLOURS["ink"],
    "text.color": _COLOURS["ink"],
    "text.parse_math": False,
    "xtick.color": _COLOURS["faint"],
    "ytick.color": _COLOURS["faint"],
    "xtick.labelcolor": _COLOURS["ink"],
    "ytick.labelcolor": _COLOURS["ink"],
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def layer_chart(kept: Sequence[float], errors: Sequence[float | None]) -> str:
    """Share of weights that each layer keeps, above the error each layer makes on its own."""
    places = range(1, len(kept) + 1)
    with _figure(3.6) as figure:
        above, below = figure.subplots(2, sharex=True, height_ratios=(3, 2))
        above.bar(places, 100.0, 0.8, color=_COLOURS["before"], label="removed")
        above.bar(places, [100.0 * share for share in kept], 0.8, color=_COLOURS["accent"], label="kept")
        above.set_ylim(0.0, 100.0)
        above.set_ylabel("% of weights")
        above.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
        points = [(at, error) for at, error in zip(places, errors, strict=True) if error]
        below.vlines([at for at, _ in points], 0.0, [error for _, error in points], color=_COLOURS["faint"], lw=1)
        below.plot([at for at, _ in points], [error for _, error in points], "o", color=_COLOURS["warn"], ms=4)
        below.set_ylim(bottom=0.0)
        below.set_ylabel("own error")
        below.set_xlabel("layer, in the order of the table")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        return _svg(figure, "layers")


def pair_chart(names: Sequence[str], before: Sequence[float], after: Sequence[float], unit: str, salt: str) -> str:
    """Two horizontal bars a name: of the dense and of the compressed model."""
    places = range(len(names))
    with _figure(0.9 + 0.36 * len(names)) as figure:
        axes = figure.subplots()
        axes.barh([at - 0.19 for at in places], before, 0.36, color=_COLOURS["before"], label="dense")
        axes.barh([at + 0.19 for at in places], after, 0.36, color=_COLOURS["accent"], label="compressed")
        axes.set_yticks(list(places), [_short(name) for name in names])
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_xlabel(unit)
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
        return _svg(figure, salt)


def frontier_chart(
    *,
    sizes: Sequence[float],
    drops: Sequence[float],
    bounds: Sequence[float],
    chosen: Sequence[bool],
    forms: Sequence[str],
    limit: float | None,
    labels: Sequence[str] = (),
) -> str:
    """Drop of each candidate and its bound, in points, over the bytes of its file; the goal as a line.

    Each form in which weights are kept has a shape of its own, which the legend names where there are several; `labels`
    stand beside the points.
    """
    with _figure(3.2) as figure:
        axes = figure.subplots()
        places = [size / 1000.0 for size in sizes]
        points, reach = ([100.0 * share for share in side] for side in (drops, bounds))
        axes.vlines(places, points, reach, color=_COLOURS["faint"], lw=2, zorder=1, label="to the 90 % bound")
        shapes = dict(zip(dict.fromkeys(forms), itertools.cycle(_SHAPES), strict=False))
        for picked, colour, label in ((False, "before", "tried"), (True, "accent", "chosen")):
            for form, shape in shapes.items():
                at = [
                    number for number, is_chosen in enumerate(chosen) if is_chosen == picked and forms[number] == form
                ]
                if at:
                    xs, ys = [places[number] for number in at], [points[number] for number in at]
                    name = label if len(shapes) == 1 else f"{label}: {form}"
                    axes.plot(xs, ys, shape, color=_COLOURS[colour], ms=7, label=name)
        for x, y, label in zip(places, points, labels, strict=bool(labels)):
            axes.annotate(label, (x, y), (5, 4), textcoords="offset points", fontsize=7)
        if limit is not None:
            axes.axhline(100.0 * limit, color=_COLOURS["warn"], lw=1.2, label="goal")
        axes.set_xlabel("file, kB")
        axes.set_ylabel("drop, points")
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4 if len(shapes) == 1 else 3)
        return _svg(figure, "frontier")


def bound_chart(names: Sequence[str], measured: Sequence[float], bounds: Sequence[float | None]) -> str:
    """Measured error and bound of each output, on one logarithmic axis."""
    with _figure(0.9 + 0.3 * len(names)) as figure:
        axes = figure.subplots()
        for at, (error, limit) in enumerate(zip(measured, bounds, strict=True)):
            if limit:
                axes.hlines(at, error or limit / 10.0, limit, color=_COLOURS["faint"], lw=1)
        rows = [at for at, error in enumerate(measured) if error]
        axes.plot([measured[at] for at in rows], rows, "o", color=_COLOURS["accent"], ms=6, label="measured")
        limited = [(limit, at) for at, limit in enumerate(bounds) if limit]
        axes.plot(*zip(*limited, strict=True), "|", color=_COLOURS["warn"], ms=14, mew=2, label="bound")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=7))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.minorticks_off()
        axes.set_yticks(range(len(names)), [_short(name) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("error of the output")
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
        return _svg(figure, "bound")


def sensitivity_chart(names: Sequence[str], losses: Sequence[Sequence[float]], sparsities: Sequence[float]) -> str:
    """A file of its own: what the outputs lose at each sparsity, one line a layer, on a logarithmic axis."""
    colours = [_COLOURS[name] for name in ("before", "accent", "warn")]
    with _figure(1.0 + 0.22 * len(names)) as figure:
        axes = figure.subplots()
        for row, layer_losses in enumerate(losses):
            shown = [max(loss, LEAST_LOSS) for loss in layer_losses]
            axes.hlines(row, min(shown), max(shown), color=_COLOURS["faint"], lw=1, zorder=1)
        for at, (sparsity, colour) in enumerate(zip(sparsities, colours, strict=True)):
            shown = [max(layer_losses[at], LEAST_LOSS) for layer_losses in losses]
            axes.plot(shown, range(len(names)), "o", color=colour, ms=5, label=f"{sparsity:.0%} pruned")
        axes.set_xscale("log")
        axes.set_yticks(range(len(names)), [_short(name, 28) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100.0 * value:g} %"))
        axes.minorticks_off()
        axes.set_xlabel("share of what the outputs tell that is lost")
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)
        svg = _svg(figure, "sensitivity")
    light = "".join(f"--{name}:{colour};" for name, colour in _LIGHT.items())
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return svg.replace("<svg", f'<svg {spaces} style="{light}background:#fff"', 1)


@contextmanager
def _figure(height: float) -> Iterator[Figure]:
    with mpl.rc_context(_STYLE):
        yield Figure(figsize=(WIDTH, height))


def _short(name: str, most: int = 22) -> str:
    name = printable(name)
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _svg(figure: Figure, salt: str) -> str:
    """The picture as an <svg> element; what it refers to by number is its own."""
    target = io.StringIO()
    metadata: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": salt}):
        figure.savefig(target, format="svg", transparent=True, metadata=metadata)
    text = target.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    referred = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in referred else "", text)
    text = re.sub(r'<svg width="[^"]*" height="[^"]*"', "<svg", text)
    for name, stand_in in _COLOURS.items():
        text = text.replace(stand_in, f"var(--{name})")
    return text
