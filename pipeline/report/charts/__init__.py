"""Charts of the report, of several runs, and of what Python users draw: matplotlib, which takes a second to load."""

from netsurgeon.pipeline.report.charts.bars import (
    bars_chart,
    bound_chart,
    layer_chart,
    pair_chart,
    sensitivity_chart,
)
from netsurgeon.pipeline.report.charts.canvas import SERIES, Chart
from netsurgeon.pipeline.report.charts.frontier import frontier_charts, plot_frontier

__all__ = [
    "SERIES",
    "Chart",
    "bars_chart",
    "bound_chart",
    "frontier_charts",
    "layer_chart",
    "pair_chart",
    "plot_frontier",
    "sensitivity_chart",
]
