"""Several compressed models beside each other: their figures as a table, their frontier, and a page of both."""

from netsurgeon.pipeline.side_by_side.figure_table import Figure, dense_figures, figures
from netsurgeon.pipeline.side_by_side.page import render_runs
from netsurgeon.pipeline.side_by_side.reading import read_report
from netsurgeon.pipeline.side_by_side.runs import Run, name_apart, name_by_files, run_of

__all__ = [
    "Figure",
    "Run",
    "dense_figures",
    "figures",
    "name_apart",
    "name_by_files",
    "read_report",
    "render_runs",
    "run_of",
]
