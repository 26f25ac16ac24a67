"""What all charts are drawn on: SVG without references to anything, in colours that the page's style gives."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from netsurgeon.pipeline.messages import printable

WIDTH = 5.6
"""Inches; the page scales charts, so that this decides how large their text is."""
SERIES = tuple(f"run-{number}" for number in range(1, 9))
"""Names of colours, one a run; beyond these they begin anew."""
STAND_INS = {
    "ink": "#010101",
    "faint": "#020202",
    "accent": "#030303",
    "before": "#040404",
    "warn": "#050505",
    **{name: f"#0{digit}0{digit}0{digit}" for name, digit in zip(SERIES, "6789abcd", strict=True)},
}
"""Become variables of the page's style, which knows light from dark."""
_OF_RUNS = ("#0f766e", "#c2410c", "#3b6fb6", "#a16207", "#7c3aed", "#be185d", "#4d7c0f", "#475569")
LIGHT = {
    "ink": "#20242a",
    "faint": "#c9cdd3",
    "accent": "#0f766e",
    "before": "#8fa3b5",
    "warn": "#c2410c",
    **dict(zip(SERIES, _OF_RUNS, strict=True)),
}
"""The colours of charts that stand alone."""
_IN_A_NOTEBOOK = 110
"""Dots an inch."""


class Chart(Figure):
    """A matplotlib figure, which saves itself (`savefig`) and which a notebook shows without more ado."""

    def _repr_png_(self) -> bytes:
        target = io.BytesIO()
        self.savefig(target, format="png", dpi=_IN_A_NOTEBOOK)
        return target.getvalue()


@contextmanager
def canvas(height: float, colours: Mapping[str, str] = STAND_INS, width: float = WIDTH) -> Iterator[Chart]:
    """A figure of so many inches; texts drawn on it while the context lasts are never formulas."""
    with mpl.rc_context(_style(colours)):
        yield Chart(figsize=(width, height))


def _style(colours: Mapping[str, str]) -> Any:
    return {
        "svg.fonttype": "none",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": colours["faint"],
        "axes.labelcolor": colours["ink"],
        "text.color": colours["ink"],
        "text.parse_math": False,
        "xtick.color": colours["faint"],
        "ytick.color": colours["faint"],
        "xtick.labelcolor": colours["ink"],
        "ytick.labelcolor": colours["ink"],
        "legend.frameon": False,
        "figure.constrained_layout.use": True,
    }


def shortened(name: str, most: int = 22) -> str:
    """A name that fits beside a chart: its end, which tells layers apart."""
    name = printable(name)
    return name if len(name) <= most else f"…{name[1 - most :]}"


def as_svg(figure: Figure, salt: str) -> str:
    """The chart as an <svg> element; what it refers to by number is its own."""
    target = io.StringIO()
    metadata: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": salt}):
        figure.savefig(target, format="svg", transparent=True, metadata=metadata)
    text = target.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    referred = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in referred else "", text)
    text = re.sub(r'<svg width="[^"]*" height="[^"]*"', "<svg", text)
    for name, stand_in in STAND_INS.items():
        text = text.replace(stand_in, f"var(--{name})")
    return text


def standing_alone(svg: str) -> str:
    """The chart as a file of its own, with colours of its own."""
    light = "".join(f"--{name}:{colour};" for name, colour in LIGHT.items())
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return svg.replace("<svg", f'<svg {spaces} style="{light}background:#fff"', 1)
