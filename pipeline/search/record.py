"""What a search has tried and found, for the report."""

from __future__ import annotations

import dataclasses

from netsurgeon.pipeline.model_files import DataFacts
from netsurgeon.pipeline.options import Goals
from netsurgeon.pipeline.profiling import Timed
from netsurgeon.pipeline.verification import DropEstimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """Something the search has tried.

    Attributes:
        kind: "structure" (units out, nothing corrected, to be timed), "rehearsal" (pruned with little effort, on few
            inputs) or "candidate" (pruned and corrected for real).
        macs: multiply-adds of one sample; None where no units were chosen.
        milliseconds: of a run before correction; None where no goal is timed.
        speedup: time of the dense model over that.
        kept: share of the weights kept; None for structures.
        bits: of a weight that is kept, on average over the layers on integers; None where none are, or for structures.
        form: how its weights are kept: as integers (int8, w4a8) or a type of numbers; None where they are not rounded.
        repaired: whether its weights were tuned by gradient descent.
        bytes: of the file that is delivered, or would be, about; None where there is none.
        drop: on the guiding inputs, of a rehearsal in a first look on a quarter of them where these show that it is too
            large; None for structures.
        bound: one-sided 90 % bound of the drop.
        chosen: whether it was.
    """

    kind: str
    macs: float | None
    milliseconds: float | None
    speedup: float | None
    kept: float | None = None
    bits: float | None = None
    form: str | None = None
    repaired: bool = False
    bytes: int | None = None
    drop: float | None = None
    bound: float | None = None
    chosen: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchFacts:
    """How the goals were met.

    Attributes:
        goals: what was wanted.
        guide: the inputs that guided the search; the final measurement saw none of them.
        folds: 1 = corrections saw none of them either; 2 = they were few: each half was judged on by models that were
            corrected on the other half, and the delivered model is corrected on both.
        evidence: of the drop on them; with two folds of the two models of halves, which are expected to lose no less
            than the delivered one.
        form: how the weights of the delivered model are kept: that asked for, or a finer one where the goal is
            missed with the default's even by the model that keeps every weight.
        proven: whether that drop is within the goal by its one-sided 90 % bound; None without such a goal.
        needed: inputs that would prove it if the drop stayed what it is; None where no number would, or without goal.
        measured: evidence of the drop on the inputs of the final measurement.
        timed: dense and chosen structure in turn, before correction: the prediction; None where no goal is timed.
        points: everything that was tried, in turn.
    """

    goals: Goals
    guide: DataFacts
    folds: int
    evidence: DropEstimate
    form: str
    proven: bool | None
    needed: int | None
    measured: DropEstimate
    timed: Timed | None
    points: tuple[Point, ...]
