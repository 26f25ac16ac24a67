"""Charts of layers, units, operators and outputs."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from netsurgeon.pipeline.report.charts.canvas import SERIES, STAND_INS, as_svg, canvas, shortened, standing_alone

LEAST_LOSS = 1e-6
"""Smaller ones are shown as this."""


def layer_chart(kept: Sequence[float], errors: Sequence[float | None]) -> str:
    """Share of weights that each layer keeps, above the error each layer makes on its own."""
    places = range(1, len(kept) + 1)
    with canvas(3.6) as figure:
        above, below = figure.subplots(2, sharex=True, height_ratios=(3, 2))
        above.bar(places, 100.0, 0.8, color=STAND_INS["before"], label="removed")
        above.bar(places, [100.0 * share for share in kept], 0.8, color=STAND_INS["accent"], label="kept")
        above.set_ylim(0.0, 100.0)
        above.set_ylabel("% of weights")
        above.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
        points = [(at, error) for at, error in zip(places, errors, strict=True) if error]
        below.vlines([at for at, _ in points], 0.0, [error for _, error in points], color=STAND_INS["faint"], lw=1)
        below.plot([at for at, _ in points], [error for _, error in points], "o", color=STAND_INS["warn"], ms=4)
        below.set_ylim(bottom=0.0)
        below.set_ylabel("own error")
        below.set_xlabel("layer, in the order of the table")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        return as_svg(figure, "layers")


def pair_chart(names: Sequence[str], before: Sequence[float], after: Sequence[float], unit: str, salt: str) -> str:
    """Two horizontal bars a name: of the dense and of the compressed model."""
    return _bars(names, {"dense": before, "compressed": after}, ("before", "accent"), unit=unit, salt=salt)


def bars_chart(names: Sequence[str], values: Sequence[Sequence[float]], unit: str, salt: str) -> str:
    """Horizontal bars, for each name one a run, in the colours of the runs; a page names these once for all charts.

    Args:
        names: of layers.
        values: of each run one a layer; NaN where it has none of that name.
        unit: of the values, under the axis.
        salt: tells the charts of one page apart.
    """
    colours = [SERIES[number % len(SERIES)] for number in range(len(values))]
    return _bars(names, {f"_{number}": row for number, row in enumerate(values)}, colours, unit=unit, salt=salt)


def _bars(
    names: Sequence[str], values: dict[str, Sequence[float]], colours: Sequence[str], *, unit: str, salt: str
) -> str:
    """Values by label; matplotlib leaves labels that begin with an underscore out of the legend."""
    places, width = range(len(names)), 0.76 / len(values)
    with canvas(0.9 + 0.18 * max(len(values), 2) * len(names)) as figure:
        axes = figure.subplots()
        for number, ((label, row), colour) in enumerate(zip(values.items(), colours, strict=True)):
            shift = (number - (len(values) - 1) / 2.0) * width
            axes.barh([at + shift for at in places], row, 0.95 * width, color=STAND_INS[colour], label=label)
        axes.set_yticks(list(places), [shortened(name) for name in names])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel(unit)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
        return as_svg(figure, salt)


def bound_chart(names: Sequence[str], measured: Sequence[float], bounds: Sequence[float | None]) -> str:
    """Measured error and bound of each output, on one logarithmic axis."""
    with canvas(0.9 + 0.3 * len(names)) as figure:
        axes = figure.subplots()
        for at, (error, limit) in enumerate(zip(measured, bounds, strict=True)):
            if limit:
                axes.hlines(at, error or limit / 10.0, limit, color=STAND_INS["faint"], lw=1)
        rows = [at for at, error in enumerate(measured) if error]
        axes.plot([measured[at] for at in rows], rows, "o", color=STAND_INS["accent"], ms=6, label="measured")
        limited = [(limit, at) for at, limit in enumerate(bounds) if limit]
        axes.plot(*zip(*limited, strict=True), "|", color=STAND_INS["warn"], ms=14, mew=2, label="bound")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=7))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.minorticks_off()
        axes.set_yticks(range(len(names)), [shortened(name) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("error of the output")
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
        return as_svg(figure, "bound")


def sensitivity_chart(names: Sequence[str], losses: Sequence[Sequence[float]], sparsities: Sequence[float]) -> str:
    """A file of its own: what the outputs lose at each sparsity, one line a layer, on a logarithmic axis."""
    colours = [STAND_INS[name] for name in ("before", "accent", "warn")]
    with canvas(1.0 + 0.22 * len(names)) as figure:
        axes = figure.subplots()
        for row, layer_losses in enumerate(losses):
            shown = [max(loss, LEAST_LOSS) for loss in layer_losses]
            axes.hlines(row, min(shown), max(shown), color=STAND_INS["faint"], lw=1, zorder=1)
        for at, (sparsity, colour) in enumerate(zip(sparsities, colours, strict=True)):
            shown = [max(layer_losses[at], LEAST_LOSS) for layer_losses in losses]
            axes.plot(shown, range(len(names)), "o", color=colour, ms=5, label=f"{sparsity:.0%} pruned")
        axes.set_xscale("log")
        axes.set_yticks(range(len(names)), [shortened(name, 28) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100.0 * value:g} %"))
        axes.minorticks_off()
        axes.set_xlabel("share of the information in the outputs that is lost")
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)
        return standing_alone(as_svg(figure, "sensitivity"))
