"""What `compress` found and did, as data."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from netsurgeon.passes.layers import Declined
from netsurgeon.pipeline.compression import StepRecord
from netsurgeon.pipeline.error_bound import Bound
from netsurgeon.pipeline.execution import ClusterFacts
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files import DataFacts, ModelFacts
from netsurgeon.pipeline.profiling import Profile, TimingTable
from netsurgeon.pipeline.quantization import IntegerFacts
from netsurgeon.pipeline.repair import RepairFacts
from netsurgeon.pipeline.report.format import Row, comparison_rows
from netsurgeon.pipeline.report.spots import Frontier, find_frontier
from netsurgeon.pipeline.search import SearchFacts
from netsurgeon.pipeline.tables import TableFacts
from netsurgeon.pipeline.trimming import TrimFacts
from netsurgeon.pipeline.verification import Validation

DOUBTS = ("answers-alike", "worse-than-chance")
"""Codes of warnings that all figures are to be read with."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerFacts:
    """One pruned layer.

    Attributes:
        name: its node.
        operator: its operator type.
        shape: (groups, rows, columns) of its weight matrix.
        weights: how many.
        kept: how many are not zero.
        sensitivity: relative error of the outputs per relative error of the layer; None where no budget was needed.
        damping: λ relative to the mean diagonal of the Hessian.
        samples: rows the statistics were taken from.
        error: √δE, the layer's own error per input, on the dense model's inputs.
        stored: representation in the file.
        bytes_before: of the dense weight in the file.
        bytes_after: of the stored weight in the file.
        seconds: time the solver took; where workers solved the rows side by side, for what these share.
        slots: with a pattern of tiles, weights that a sparse kernel has steps for: those kept and its padding.
    """

    json_properties: ClassVar[tuple[str, ...]] = ("sparsity",)

    name: str
    operator: str
    shape: tuple[int, int, int]
    weights: int
    kept: int
    sensitivity: float | None
    damping: float
    samples: int
    error: float | None
    stored: str
    bytes_before: int
    bytes_after: int
    seconds: float
    slots: int | None = None

    @property
    def sparsity(self) -> float:
        """Fraction of zeros."""
        return 1.0 - self.kept / self.weights


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class ReportRecord:
    """What a compression found and did.

    Attributes:
        versions: of netsurgeon and the libraries it stands on.
        options: as given.
        from_python: those of model, data, test, metric and steps that were objects of Python; none on a command line.
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
        integer_repair: how integers were, behind their rounding; None where they were not.
        integers: what runs on integers; None where all stays on floats.
        timings: the times that decided, to be replayed with `timings`; None without a goal or `quantize`.
        validation: dense against compressed.
        bound: the L-OBS bound and the error measured on the same samples.
        steps: what became of each step of the compression, in turn.
        notes: what was done to the model on the way.
        warnings: what the user should know.
        cluster: what ran on the workers of a cluster; None where nothing did.
        seconds: time by stage.
        peak_bytes: most resident memory of the process.
        latency: both models timed in turn; None where neither `profile` nor a goal of time was given.
        on_the_cpu: nodes of the compressed model that the CPU runs though another execution provider was asked for.
    """

    json_properties: ClassVar[tuple[str, ...]] = ("ratio",)

    versions: dict[str, str]
    options: dict[str, Any]
    from_python: tuple[str, ...] = ()
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
    integer_repair: RepairFacts | None = None
    integers: IntegerFacts | None
    timings: TimingTable | None = None
    validation: Validation
    bound: Bound
    steps: tuple[StepRecord, ...]
    notes: tuple[Message, ...]
    warnings: tuple[Message, ...]
    cluster: ClusterFacts | None = None
    seconds: dict[str, float]
    peak_bytes: int
    latency: Profile | None
    on_the_cpu: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """How many times smaller the file is."""
        return self.dense.bytes / self.compressed.bytes

    @property
    def table_loss_title(self) -> str:
        """What it is that a table's loss is a share of: a goal's measure has another one than the outputs' energy."""
        return "outputs lose" if self.search is None else "goal's measure loses"

    @property
    def doubts(self) -> tuple[Message, ...]:
        """Warnings that every figure has to be read with, and that therefore stand before them all."""
        return tuple(warning for warning in self.warnings if warning.code in DOUBTS)

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

    def comparison(self) -> tuple[Row, ...]:
        """Dense against compressed: what, before, after, how they compare."""
        macs = (self.trim.macs_dense, self.trim.macs) if self.trim else None
        rows = comparison_rows(self.dense, self.compressed, self.validation, latency=self.latency, macs=macs)
        return tuple(rows)
