"""The report as people look at it: the verdict, charts, and a page; JSON is that of its record."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

<<<<<<< HEAD
from netsurgeon.pipeline.report.format import inputs_measured
from netsurgeon.pipeline.report.goal_sentences import goal_summary
from netsurgeon.pipeline.report.integer_sentences import integer_summary
from netsurgeon.pipeline.report.page import plot_frontiers, render
from netsurgeon.pipeline.report.record import ReportRecord
=======
from netsurgeon.passes.layers import Declined
from netsurgeon.pipeline.compression import StepRecord
from netsurgeon.pipeline.error_bound import Bound
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files import DataFacts, ModelFacts
from netsurgeon.pipeline.profiling import Profile
from netsurgeon.pipeline.quantization import IntegerFacts
from netsurgeon.pipeline.repair import RepairFacts
from netsurgeon.pipeline.report.format import comparison_rows, inputs_measured
from netsurgeon.pipeline.report.spots import Frontier, find_frontier
>>>>>>> 37aa17f (Repair: tune the weights that pruning leaves towards the dense model, without labels)
from netsurgeon.pipeline.result import Overview, Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
<<<<<<< HEAD
class Report(ReportRecord, Result):
    """The evidence: what a compression found and did, with the verdict, charts and a page of it."""
=======
class Report(Result):
    """The evidence.

    Attributes:
        versions: of netsurgeon and the libraries it stands on.
        options: as given.
        dense: the model that came in.
        compressed: the model that goes out.
        sparsity: fraction of zeros over all weights of the layers that took part.
        calibration: the inputs that guided the corrections.
        test: the inputs of `validation`; None where they are a part of `data`, or all of it where it is too small.
        layers: what was pruned.
        tables: what rows are looked up in, such as embeddings.
        declined: nodes with weights that were left alone.
        search: how the goals were met; None where it was said what to do.
        trim: the units that were removed, chosen or left unread by pruning; None where all were to stay.
        repair: how the weights that were left were tuned; None where they were not.
        integers: what runs on integers; None where all stays on floats.
        validation: dense against compressed.
        bound: the L-OBS bound and the error measured on the same samples.
        steps: what became of each step of the compression, in turn.
        notes: what was done to the model on the way.
        warnings: what the user should know.
        seconds: time by stage.
        peak_bytes: most resident memory of the process.
        latency: both models timed in turn; None where that was not asked for.
        on_the_cpu: nodes of the compressed model that the CPU runs though another execution provider was asked for.
    """

    json_properties: ClassVar[tuple[str, ...]] = ("ratio",)

    versions: dict[str, str]
    options: dict[str, Any]
    dense: ModelFacts
    compressed: ModelFacts
    sparsity: float
    calibration: DataFacts
    test: DataFacts | None
    layers: tuple[LayerFacts, ...]
    tables: tuple[TableFacts, ...] = ()
    declined: tuple[Declined, ...]
    search: SearchFacts | None
    trim: TrimFacts | None
    repair: RepairFacts | None = None
    integers: IntegerFacts | None
    validation: Validation
    bound: Bound
    steps: tuple[StepRecord, ...]
    notes: tuple[Message, ...]
    warnings: tuple[Message, ...]
    seconds: dict[str, float]
    peak_bytes: int
    latency: Profile | None
    on_the_cpu: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """How many times smaller the file is."""
        return self.dense.bytes / self.compressed.bytes

    @property
    def doubts(self) -> tuple[Message, ...]:
        """Warnings that every figure has to be read with, and that therefore stand before them all."""
        return tuple(warning for warning in self.warnings if warning.code == "answers-alike")

    @property
    def headline(self) -> str:
        """The verdict, in one line."""
        name, hardly = self.dense.name or "The model", bool(self.doubts)
        if self.ratio >= 1.05:
            return f"{name} is {self.ratio:.1f} times smaller, {'but hardly' if hardly else 'and'} verified"
        return f"{name} is {'hardly ' if hardly else ''}verified"

    def frontier(self, name: str | None = None) -> Frontier:
        """The run as spots on a chart: what was tried and what is delivered, by bytes and milliseconds.

        Args:
            name: of the run; None = that of the delivered file.
        """
        return find_frontier(
            name or self.compressed.name or "the model",
            dense=self.dense,
            compressed=self.compressed,
            validation=self.validation,
            latency=self.latency,
            timed=self.integers.timed if self.integers else None,
            search=self.search,
        )
>>>>>>> 37aa17f (Repair: tune the weights that pruning leaves towards the dense model, without labels)

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
