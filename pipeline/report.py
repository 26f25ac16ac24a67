"""What `compress` found and did, as data: JSON for pipelines, tables for people (see `console.py`)."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netsurgeon.pipeline._promise import Evidence
from netsurgeon.pipeline.bound import Bound
from netsurgeon.pipeline.goals import Goals
from netsurgeon.pipeline.proof import Proof
from netsurgeon.pipeline.validate import Validation

if TYPE_CHECKING:
    from netsurgeon.pipeline.latency import Profile  # which reads the facts of models
    from netsurgeon.pipeline.timing_table import Timed, TimingTable

SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """A model file.

    Attributes:
        name: file name; empty where the model came from memory.
        sha256: of the file's bytes; of the serialised model where there is no file.
        bytes: on disk, external data included.
        gzip_bytes: after gzip.
        opset: version of the default operator set.
        parameters: elements of all float initializers.
        nonzero: those that are not zero.
    """

    name: str
    sha256: str
    bytes: int
    gzip_bytes: int
    opset: int
    parameters: int
    nonzero: int


@dataclasses.dataclass(frozen=True)
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
        seconds: time the solver took.
    """

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

    @property
    def sparsity(self) -> float:
        """Fraction of zeros."""
        return 1.0 - self.kept / self.weights


@dataclasses.dataclass(frozen=True)
class GroupFacts:
    """Units that lie on the same axes: the node that makes them, the operators they touch, how many, how many went."""

    node: str
    operators: tuple[str, ...]
    units: int
    removed: int


@dataclasses.dataclass(frozen=True)
class TrimFacts:
    """What became of the units.

    Attributes:
        asked: share of the parameters or multiply-adds to be saved; None where no units were to be trimmed.
        saved: share that all units that went save.
        unread: units that went because pruning had left nobody to read them.
        groups: those that lost units.
        frozen: axes of weights that no unit owns: value, axis, indices, parameters, node, operator, reason.
        failed: groups of which nothing was removed because the proof did not hold, and why.
        proof: masked against trimmed model; None where nothing was removed.
        macs_dense: multiply-adds of the dense model for one sample, of the operators that trimming knows.
        macs: of the compressed model.
    """

    asked: float | None
    saved: float
    macs_dense: float
    macs: float
    unread: int
    groups: tuple[GroupFacts, ...]
    frozen: tuple[dict[str, Any], ...]
    failed: tuple[tuple[str, str], ...]
    proof: Proof | None


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """A set of inputs: where from, how many, and the sha256 of their content."""

    source: str
    samples: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Point:
    """Something the search has tried.

    Attributes:
        kind: "structure" (units out, nothing corrected, to be timed), "rehearsal" (pruned in haste, on few inputs) or
            "candidate" (pruned and corrected for real).
        macs: multiply-adds of one sample; None where no units were chosen.
        milliseconds: of a run before correction; None where no goal is timed.
        speedup: time of the dense model over that.
        kept: share of the weights kept; None for structures.
        bytes: of the file that is delivered, or would be, about; None where there is none.
        drop: on the guiding inputs; None for structures.
        bound: one-sided 90 % bound of the drop.
        chosen: whether it was.
    """

    kind: str
    macs: float | None
    milliseconds: float | None
    speedup: float | None
    kept: float | None = None
    bytes: int | None = None
    drop: float | None = None
    bound: float | None = None
    chosen: bool = False


@dataclasses.dataclass(frozen=True)
class SearchFacts:
    """How the goals were met.

    Attributes:
        goals: what was wanted.
        guide: the inputs that guided the search; the final measurement saw none of them.
        folds: 1 = corrections saw none of them either; 2 = they were few: each half was judged on by models that were
            corrected on the other half, and the delivered model is corrected on both.
        evidence: of the drop on them; with two folds of the two models of halves, which are expected to lose no less
            than the delivered one.
        proven: whether that drop is within the goal by its one-sided 90 % bound; None without such a goal.
        needed: inputs that would prove it if the drop stayed what it is; None where no number would, or without goal.
        measured: evidence of the drop on the inputs of the final measurement.
        timed: dense and chosen structure in turn, before correction: the prediction; None where no goal is timed.
        points: everything that was tried, in turn.
        timings: the times that steered the search, to be replayed with `timings`.
    """

    goals: Goals
    guide: DataFacts
    folds: int
    evidence: Evidence
    proven: bool | None
    needed: int | None
    measured: Evidence
    timed: Timed | None
    points: tuple[Point, ...]
    timings: TimingTable


@dataclasses.dataclass(frozen=True)
class Report:
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
        declined: nodes with weights that were left alone: node, operator, reason, parameters.
        search: how the goals were met; None where it was said what to do.
        trim: the units that were removed, chosen or left unread by pruning; None where all were to stay.
        validation: dense against compressed.
        bound: the L-OBS bound and the error measured on the same samples.
        notes: what was done to the model on the way.
        warnings: what the user should know.
        seconds: time by stage.
        peak_bytes: most resident memory of the process.
        latency: both models timed in turn; None where that was not asked for.
        on_the_cpu: nodes of the compressed model that the CPU runs though another execution provider was asked for.
    """

    versions: dict[str, str]
    options: dict[str, Any]
    dense: ModelFacts
    compressed: ModelFacts
    sparsity: float
    calibration: DataFacts
    test: DataFacts | None
    layers: tuple[LayerFacts, ...]
    declined: tuple[dict[str, Any], ...]
    search: SearchFacts | None
    trim: TrimFacts | None
    validation: Validation
    bound: Bound
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    peak_bytes: int
    latency: Profile | None
    on_the_cpu: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """How many times smaller the file is."""
        return self.dense.bytes / self.compressed.bytes

    def to_json(self) -> str:
        """Everything, as JSON; numbers that are not finite become null."""
        return as_json(self)


def as_json(result: Any) -> str:
    """What a command found, as JSON: its fields and `schema`, the version of the form."""
    values = {"schema": SCHEMA, **dataclasses.asdict(result)}
    if isinstance(result, Report):
        values["ratio"] = result.ratio
        for layer, facts in zip(values["layers"], result.layers, strict=True):
            layer["sparsity"] = facts.sparsity
    return json.dumps(_plain(values), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def report_schema() -> dict[str, Any]:
    """The JSON schema (2020-12) that the report's JSON keeps to."""
    text = (Path(__file__).parent / "schemas" / f"report-{SCHEMA}.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool) or value is None else str(value)
