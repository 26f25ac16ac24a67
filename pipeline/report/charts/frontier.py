"""How good models are against their bytes, and against the milliseconds of a run."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from netsurgeon.pipeline.report.charts.canvas import LIGHT, SERIES, STAND_INS, WIDTH, Chart, as_svg, canvas, shortened
from netsurgeon.pipeline.report.spots import Frontier, Spot, with_common_times

PANEL_HEIGHT = 3.2
"""Inches."""
WIDE = 8.0
"""The least factor between the largest and the smallest model from which on the axis is logarithmic."""
_LONG = 1000.0
"""The factor from which on such an axis has room for powers of ten alone."""
_SHAPES = "osD^v"
"""Of spots, one a form of weights, or one a run."""
_ROOM = (150.0, 12.0)
"""Width and height of a label, in the figure's dots."""
_MOST_STEPS = 5
"""Between the numbers under an axis: of nearly equal times each is six or seven digits long."""
_MEGABYTE = 1e6
Colours = Mapping[str, str]


def frontier_charts(frontiers: Sequence[Frontier], salt: str = "frontier") -> list[str]:
    """One run with all that it has tried, or several runs beside each other: <svg> elements of a page.

    Args:
        frontiers: of one axis.
        salt: tells the charts of one page apart.

    Returns:
        The chart by bytes, and where anything was timed the one by milliseconds.
    """
    frontiers, charts = with_common_times(frontiers), []
    for number, panel in enumerate(_panels(frontiers)):
        with canvas(PANEL_HEIGHT) as figure:
            _draw(figure, figure.subplots(), frontiers, panel=panel, colours=STAND_INS)
            charts.append(as_svg(figure, f"{salt}-{number}"))
    return charts


def plot_frontier(frontiers: Sequence[Frontier]) -> Chart:
    """The same as one figure of matplotlib."""
    frontiers = with_common_times(frontiers)
    panels = _panels(frontiers)
    with canvas(1.15 * PANEL_HEIGHT, LIGHT, WIDTH * len(panels)) as figure:
        for panel, axes in zip(panels, figure.subplots(1, len(panels), squeeze=False).flat, strict=True):
            _draw(figure, axes, frontiers, panel=panel, colours=LIGHT)
        return figure


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Panel:
    """One axis that scores are drawn against.

    Attributes:
        title: what is written under it.
        unit: of its numbers, in short.
        place: where a spot lies on it.
        of_dense: where the dense model does.
        is_labelled: whether spots say what they gave up.
    """

    title: str
    unit: str
    place: Callable[[Spot], float | None]
    of_dense: Callable[[Frontier], float | None]
    is_labelled: bool

    def spots(self, frontier: Frontier) -> list[tuple[float, Spot]]:
        """What can be shown of a run: where it lies, and the spot."""
        places = ((self.place(spot), spot) for spot in frontier.spots)
        return [(x, spot) for x, spot in places if x is not None and _is_shown(x, spot.score)]


def _panels(frontiers: Sequence[Frontier]) -> list[_Panel]:
    """By bytes, and by milliseconds where anything was timed."""
    largest = max((spot.bytes for frontier in frontiers for spot in frontier.spots), default=0.0)
    unit, name = (_MEGABYTE, "MB") if largest >= _MEGABYTE else (1000.0, "kB")
    by_size = _Panel(
        title=f"file, {name}",
        unit=name,
        place=lambda spot: spot.bytes / unit,
        of_dense=lambda frontier: frontier.dense_bytes / unit,
        is_labelled=True,
    )
    by_time = _Panel(
        title="milliseconds a run",
        unit="ms",
        place=lambda spot: spot.milliseconds,
        of_dense=lambda frontier: frontier.dense_milliseconds,
        is_labelled=False,
    )
    return [by_size, *([by_time] if any(by_time.spots(frontier) for frontier in frontiers) else [])]


def _three_digits(number: float) -> str:
    """At least so many, and no power of ten."""
    return f"{number:,.0f}" if number >= 1000.0 else f"{number:.3g}"


def _is_shown(x: float, score: float) -> bool:
    return math.isfinite(score) and 0.0 < x < math.inf


def _draw(figure: Figure, axes: Axes, frontiers: Sequence[Frontier], *, panel: _Panel, colours: Colours) -> None:
    if len(frontiers) == 1:
        _draw_run(axes, frontiers[0], panel, colours)
    else:
        _draw_runs(axes, frontiers, panel, colours)
    if axes.get_xscale() == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(_MOST_STEPS))
        axes.ticklabel_format(axis="x", useOffset=False)
    axes.set_xlabel(panel.title)
    axes.set_ylabel(frontiers[0].axis)
    axes.margins(x=0.08, y=0.1)
    axes.ticklabel_format(axis="y", useOffset=False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, fontsize=8, columnspacing=1.2)
    if len(frontiers) == 1 and panel.is_labelled:
        figure.draw_without_rendering()  # labels have to know where spots come to lie
        _label(axes, frontiers[0], panel)


def _draw_run(axes: Axes, frontier: Frontier, panel: _Panel, colours: Colours) -> None:
    """One run: the dense model and the goal as lines, what was tried, the best of it as a staircase."""
    spots = panel.spots(frontier)
    candidates = [(x, spot) for x, spot in spots if spot.kind != "delivered"]
    _staircase(axes, [(x, spot.score) for x, spot in candidates], colours, lower_is_better=frontier.lower_is_better)
    for number, (x, spot) in enumerate(spots):
        label = "to the 90 % bound" if number == 0 else ""
        axes.vlines(x, spot.low, spot.high, color=colours["faint"], lw=2, zorder=1, label=label)
    shapes = dict(zip(dict.fromkeys(spot.form for _, spot in candidates), itertools.cycle(_SHAPES), strict=False))
    for kind, colour in (("tried", "before"), ("chosen", "accent")):
        for form, shape in shapes.items():
            group = [(x, spot.score) for x, spot in candidates if spot.kind == kind and spot.form == form]
            if group:
                name = kind if len(shapes) == 1 else f"{kind}: {form}"
                axes.plot(*zip(*group, strict=True), shape, color=colours[colour], ms=7, label=name)
    for x, spot in spots:
        if spot.kind == "delivered":
            axes.plot([x], [spot.score], "*", color=colours["ink"], ms=10, label="delivered, measured")
    if math.isfinite(frontier.dense_score):
        x_dense = panel.of_dense(frontier)
        name = "dense" if x_dense is None else f"dense, {_three_digits(x_dense)} {panel.unit}"
        axes.axhline(frontier.dense_score, color=colours["ink"], lw=1, ls="--", label=name)
    if frontier.goal is not None:
        axes.axhline(frontier.goal, color=colours["warn"], lw=1.2, label="goal")


def _label(axes: Axes, frontier: Frontier, panel: _Panel) -> None:
    """Say what the chosen model gave up, and others where that would cover nothing; a table has them all."""
    spots = sorted(panel.spots(frontier), key=lambda placed: placed[1].kind != "chosen")
    places = [tuple(axes.transData.transform((x, spot.score))) for x, spot in spots if spot.kind == "delivered"]
    for x, spot in spots:
        at, height = axes.transData.transform((x, spot.score))
        is_free = all(abs(at - x_other) > _ROOM[0] or abs(height - other) > _ROOM[1] for x_other, other in places)
        if spot.label and (is_free or spot.kind == "chosen"):
            is_left = axes.transAxes.inverted().transform((at, height))[0] < 0.5
            axes.annotate(
                spot.label,
                (x, spot.score),
                (6 if is_left else -6, 3),
                textcoords="offset points",
                fontsize=7,
                ha="left" if is_left else "right",
            )
            places.append((at, height))


def _draw_runs(axes: Axes, frontiers: Sequence[Frontier], panel: _Panel, colours: Colours) -> None:
    """Several runs: what each delivers, large, and has tried, small; and the dense models that they come from."""
    delivered: list[tuple[float, float]] = []
    dense: set[tuple[float, float]] = set()
    for number, frontier in enumerate(frontiers):
        colour, shape = colours[SERIES[number % len(SERIES)]], _SHAPES[number % len(_SHAPES)]
        for x, spot in panel.spots(frontier):
            if spot.kind != "delivered":
                axes.plot([x], [spot.score], ".", color=colour, ms=4, alpha=0.6, zorder=1)
                continue
            axes.vlines(x, spot.low, spot.high, color=colour, lw=1, alpha=0.6, zorder=1)
            axes.plot([x], [spot.score], shape, color=colour, ms=8, label=shortened(frontier.name))
            delivered.append((x, spot.score))
        x_dense = panel.of_dense(frontier)
        if x_dense is not None and _is_shown(x_dense, frontier.dense_score):
            dense.add((x_dense, frontier.dense_score))
    _staircase(axes, delivered, colours, lower_is_better=any(frontier.lower_is_better for frontier in frontiers))
    if dense:
        axes.plot(*zip(*sorted(dense), strict=True), "o", color=colours["ink"], mfc="none", ms=8, label="dense")
    places = [x for x, _ in (*delivered, *dense)]
    if places and max(places) > WIDE * min(places):
        axes.set_xscale("log")
        is_long = max(places) > _LONG * min(places)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if is_long else (1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())


def _staircase(axes: Axes, places: Sequence[tuple[float, float]], colours: Colours, *, lower_is_better: bool) -> None:
    """The frontier: the best score that so much buys."""
    steps: list[tuple[float, float]] = []
    sign = -1.0 if lower_is_better else 1.0
    for x, score in sorted(places):
        if not steps or sign * score > sign * steps[-1][1]:
            steps.append((x, score))
    if len(steps) > 1:
        axes.plot(*zip(*steps, strict=True), color=colours["before"], lw=1, drawstyle="steps-post", zorder=1)
