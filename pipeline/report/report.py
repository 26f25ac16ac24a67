"""The report as people look at it: the verdict, charts, and a page; JSON is that of its record."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from netsurgeon.pipeline.report.format import inputs_measured
from netsurgeon.pipeline.report.page import plot_frontiers, render
from netsurgeon.pipeline.report.record import ReportRecord
from netsurgeon.pipeline.report.sentences.goals import goal_summary
from netsurgeon.pipeline.report.sentences.integers import integer_summary
from netsurgeon.pipeline.result import Overview, Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Report(ReportRecord, Result):
    """The evidence: what a compression found and did, with the verdict, charts and a page of it."""

    def plot(self, *others: Report) -> Figure:
        """Accuracy against bytes, and against milliseconds where the model was timed, as a matplotlib figure.

        One run is shown with all that its search has tried; several beside each other with what each delivers. Save it
        with `figure.savefig("frontier.png")`; a notebook shows it by itself.

        Args:
            others: further runs, in the legend by the names of their files.

        Raises:
            InputError: the runs are not judged by the same measure.
        """
        return plot_frontiers([report.frontier() for report in (self, *others)])

    def overview(self) -> Overview:
        """The verdict, what became of the goals, and dense against compressed."""
        measured = f"Measured on {self.validation.samples:,} {inputs_measured(self.validation)}"
        warnings = (*self.doubts, *(warning for warning in self.warnings if warning not in self.doubts))
        sentences = (*goal_summary(self), *integer_summary(self.integers, self.latency)[:1], measured)
        return Overview(
            headline=self.headline,
            sentences=(*sentences, *(f"warning: {warning}" for warning in warnings)),
            titles=("", "dense", "compressed", ""),
            rows=self.comparison(),
        )

    def to_html(self) -> str:
        """The report page, which needs nothing else."""
        return render(self)
