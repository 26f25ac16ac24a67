"""What a run has made, as spots on a chart: how good a model is, its bytes, and its milliseconds."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Literal

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.model_files import ModelFacts
from netsurgeon.pipeline.profiling import Profile, Timed
from netsurgeon.pipeline.report.sentences.integers import form_name
from netsurgeon.pipeline.search import Point, SearchFacts
from netsurgeon.pipeline.verification import Scale, Validation, bounded_drop


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spot:
    """A model on the chart.

    Attributes:
        kind: "tried" and "chosen" by the search, on the inputs that guided it; "delivered", on those of the final
            measurement.
        score: how good it is, in the unit of the axis.
        low: 90 % bound: over all inputs it is hardly worse.
        high: 90 % bound: over all inputs it is hardly better.
        bytes: of its file.
        milliseconds: of a run; None where it was not timed.
        form: how its weights are kept, in words.
        label: what it gave up, in words.
    """

    kind: Literal["tried", "chosen", "delivered"]
    score: float
    low: float
    high: float
    bytes: float
    milliseconds: float | None
    form: str = ""
    label: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frontier:
    """One run on the chart.

    Attributes:
        name: of the delivered model, or of the run.
        axis: what scores are of, with their unit.
        dense_digest: sha256 of the dense model.
        dense_score: of the dense model.
        dense_bytes: of its file.
        dense_milliseconds: of a run of it; None where it was not timed.
        goal: the worst score that was asked for; None without such a goal.
        spots: what was tried, then what is delivered.
        lower_is_better: whether a lower score is a better one.
    """

    name: str
    axis: str
    dense_digest: str
    dense_score: float
    dense_bytes: float
    dense_milliseconds: float | None
    goal: float | None
    spots: tuple[Spot, ...]
    lower_is_better: bool = False

    @property
    def delivered(self) -> Spot:
        """The delivered model."""
        return self.spots[-1]

    def scaled(self, factor: float) -> Frontier:
        """With all times multiplied by a factor."""

        def scaled(milliseconds: float | None) -> float | None:
            return None if milliseconds is None else factor * milliseconds

        spots = (dataclasses.replace(spot, milliseconds=scaled(spot.milliseconds)) for spot in self.spots)
        return dataclasses.replace(self, dense_milliseconds=scaled(self.dense_milliseconds), spots=tuple(spots))


def find_frontier(
    name: str,
    *,
    dense: ModelFacts,
    compressed: ModelFacts,
    validation: Validation,
    latency: Profile | None = None,
    timed: Timed | None = None,
    search: SearchFacts | None = None,
) -> Frontier:
    """A run as spots.

    Every time is that of the dense model over how many times faster a model was beside it: machines are faster and
    slower from one part of a run to the next. A drop of the search is taken from the dense model's score in the
    final measurement.

    Args:
        name: of the run.
        dense: the model that came in.
        compressed: the model that goes out.
        validation: the final measurement.
        latency: both models timed in turn.
        timed: the same by the search, or the step that put layers on integers, where there is no `latency`.
        search: what was tried.
    """
    scale = validation.scale
    dense_score, score = scores(validation)
    milliseconds, faster = times(latency, timed or (search.timed if search else None))
    drop = search.measured if search else bounded_drop(validation)
    delivered = Spot(
        kind="delivered",
        score=scale.factor * score,
        low=scale.factor * (score if drop is None else scale.after(dense_score, drop.high)),
        high=scale.factor * (score if drop is None else _at_most_all(scale.after(dense_score, drop.low), scale)),
        bytes=compressed.bytes,
        milliseconds=None if milliseconds is None or faster is None else milliseconds / faster,
    )
    points = [point for point in search.points if point.kind == "candidate"] if search else []
    limit = search.goals.max_drop if search else None
    return Frontier(
        name=name,
        axis=scale.axis,
        lower_is_better=scale.lower_is_better,
        dense_digest=dense.sha256,
        dense_score=scale.factor * dense_score,
        dense_bytes=dense.bytes,
        dense_milliseconds=milliseconds,
        goal=None if limit is None else scale.factor * scale.after(dense_score, limit),
        spots=(*_tried(points, dense_score, milliseconds, scale), delivered),
    )


def with_common_times(frontiers: Sequence[Frontier]) -> list[Frontier]:
    """The same runs, with one time for each dense model, the median: how often faster a model is stays what it is."""
    measured: dict[str, list[float]] = {}
    for frontier in frontiers:
        if frontier.dense_milliseconds is not None:
            measured.setdefault(frontier.dense_digest, []).append(frontier.dense_milliseconds)
    return [
        frontier.scaled(statistics.median(measured[frontier.dense_digest]) / frontier.dense_milliseconds)
        if frontier.dense_milliseconds
        else frontier
        for frontier in frontiers
    ]


def check_same_axis(frontiers: Sequence[Frontier]) -> None:
    """Check that runs can be drawn on one chart.

    Raises:
        InputError: they are not judged by the same measure.
    """
    axes = {frontier.axis: frontier.name for frontier in frontiers}
    if len(axes) > 1:
        listed = " and ".join(f"{name} by {axis.partition(',')[0]}" for axis, name in axes.items())
        raise InputError(f"the runs are judged by different measures, {listed}: draw them apart")


def scores(validation: Validation) -> tuple[float, float]:
    """How good the dense and the compressed model are by the measure they are judged by; NaN where it is not known.

    By the error of outputs that is the share of the outputs' energy that it leaves, on average.
    """
    before, after = validation.dense, validation.compressed
    if validation.measure == "top-1":
        return _known(before.top1), _known(after.top1)
    if validation.measure == "agreement":
        return 1.0, _known(validation.agreement)
    if validation.measure != "outputs":
        return _known(before.metric), _known(after.metric)
    errors = [output.relative_error**2 for output in validation.outputs]
    return 1.0, 1.0 - sum(errors) / len(errors) if errors else math.nan


def times(latency: Profile | None, timed: Timed | None) -> tuple[float | None, float | None]:
    """Milliseconds of the dense model, and how many times faster the compressed one is; None where it was not timed."""
    first = latency.timings[0] if latency and latency.timings else None
    if first is not None and first.speedup is not None:
        return first.model.median, first.speedup.value
    return (timed.dense, timed.speedup) if timed else (None, None)


def _at_most_all(score: float, scale: Scale) -> float:
    return score if scale.most is None else min(score, scale.most)


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _tried(points: Sequence[Point], dense_score: float, milliseconds: float | None, scale: Scale) -> Iterator[Spot]:
    """The candidates of a search."""
    for point in points:
        drop, bound = point.drop or 0.0, point.bound or 0.0
        yield Spot(
            kind="chosen" if point.chosen else "tried",
            score=scale.factor * scale.after(dense_score, drop),
            low=scale.factor * scale.after(dense_score, bound),
            high=scale.factor * scale.after(dense_score, drop),
            bytes=point.bytes or 0,
            milliseconds=milliseconds / point.speedup if milliseconds is not None and point.speedup else None,
            form=form_name(point.form),
            label=_what_is_left(point, points),
        )


def _what_is_left(point: Point, candidates: Sequence[Point]) -> str:
    """Bits of a weight, weights kept and, where candidates differ in them, multiply-adds: what a candidate gave up."""
    most = max((other.macs or 0.0 for other in candidates), default=0.0)
    parts = [] if point.bits is None else [f"{point.bits:.1f} bits"]
    parts += [] if point.kept is None else [f"{point.kept:.0%} of weights"]
    parts += [f"{point.macs / most:.0%} of work"] if point.macs is not None and 0.0 <= point.macs < most else []
    return ", ".join(parts)
