"""The figures of runs: one a column of the table that lies beside others."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterator, Sequence

from netsurgeon.pipeline.notation import MeasureName
from netsurgeon.pipeline.side_by_side.runs import Run
from netsurgeon.pipeline.verification import Scale

COMPARED: frozenset[MeasureName] = frozenset({"agreement", "token-agreement", "cosine", "outputs"})
"""Measures of how close a model is to the dense one, which has all of it."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """One figure of every run.

    Attributes:
        title: of the column.
        values: one a run, to sort by; None where it was not measured.
        texts: the same as people read them.
        is_counted: whether one value can be so many times another; shares are in points of a hundred.
    """

    title: str
    values: tuple[float | None, ...]
    texts: tuple[str, ...]
    is_counted: bool


@dataclasses.dataclass(frozen=True)
class _Column:
    title: str
    value: Callable[[Run], float | None]
    text: Callable[[float], str]
    is_counted: bool = True


def _score(run: Run) -> float | None:
    return run.scores[1]


def _lost(run: Run) -> float | None:
    return float(run.validation.scale.drop(*run.scores))


def _at_most(run: Run) -> float | None:
    return run.drop.high if run.drop else None


def _error(run: Run) -> float | None:
    errors = [output.relative_error for output in run.validation.outputs]
    return max(errors) if errors else None


def _milliseconds(run: Run) -> float | None:
    milliseconds, faster = run.times
    return milliseconds / faster if milliseconds is not None and faster else None


def _work(run: Run) -> float | None:
    trim = run.report.trim if run.report else None
    return trim.macs if trim else None


def _zeros(run: Run) -> float | None:
    return run.report.sparsity if run.report else None


def _seconds(run: Run) -> float | None:
    return sum(run.report.seconds.values()) if run.report else None


def _percent(value: Callable[[Run], float | None]) -> Callable[[Run], float | None]:
    def percent(run: Run) -> float | None:
        share = value(run)
        return None if share is None else 100.0 * share

    return percent


_BEFORE = (
    _Column("bytes", lambda run: run.model.bytes, "{:,.0f}".format),
    _Column("smaller", lambda run: run.ratio, "÷ {:.2f}".format),
)
_BEHIND = (
    _Column("same top class", _percent(lambda run: run.validation.agreement), "{:.2f}%".format, is_counted=False),
    _Column("relative error", _error, "{:.3g}".format),
    _Column("ms a run", _milliseconds, "{:.3g}".format),
    _Column("faster", lambda run: run.times[1], "÷ {:.2f}".format),
    _Column("bytes, gzip", lambda run: run.model.gzip_bytes, "{:,.0f}".format),
    _Column("parameters not zero", lambda run: run.model.nonzero, "{:,.0f}".format),
    _Column("weights that are zero", _percent(_zeros), "{:.1f}%".format, is_counted=False),
    _Column("multiply-adds", _work, "{:,.0f}".format),
    _Column("seconds", _seconds, "{:.1f}".format),
)


def figures(runs: Sequence[Run]) -> list[Figure]:
    """All figures that any of the runs has; where all are judged alike, scores bear the name of their measure."""
    listed = (
        _figure(column, runs) for column in (*_BEFORE, *_judged({run.validation.scale for run in runs}), *_BEHIND)
    )
    return [figure for figure in listed if any(value is not None for value in figure.values)]


def _judged(scales: Collection[Scale]) -> Iterator[_Column]:
    """Columns of the scores, and of what is lost: in points of a hundred where all are shares."""
    title = next(iter(scales)).axis.partition(",")[0] if len(scales) == 1 else "score"
    if all(scale.unit == "%" for scale in scales):
        yield _Column(title, _percent(_score), "{:.2f}%".format, is_counted=False)
        yield _Column("lost, points", _percent(_lost), "{:+.2f}".format, is_counted=False)
        yield _Column("at most", _percent(_at_most), "{:+.2f}".format, is_counted=False)
        return
    unit = {scale.unit for scale in scales}.pop() if len(scales) == 1 else ""
    yield _Column(title, _score, lambda score: f"{score:.4g} {unit}".rstrip(), is_counted=False)
    if all(scale.is_relative for scale in scales):
        yield _Column("lost, %", _percent(_lost), "{:+.2f}".format, is_counted=False)
        yield _Column("at most", _percent(_at_most), "{:+.2f}".format, is_counted=False)
    else:
        yield _Column("lost", _lost, "{:+.4g}".format, is_counted=False)
        yield _Column("at most", _at_most, "{:+.4g}".format, is_counted=False)


def _figure(column: _Column, runs: Sequence[Run]) -> Figure:
    values = tuple(_finite(column.value(run)) for run in runs)
    texts = tuple("" if value is None else column.text(value) for value in values)
    return Figure(column.title, values, texts, column.is_counted)


def dense_figures(run: Run) -> str:
    """The dense model in a few words."""
    score, scale = run.scores[0], run.validation.scale
    words = f"{run.dense.name or 'the dense model'} has {run.dense.bytes:,} bytes"
    if run.validation.measure in COMPARED or not math.isfinite(score):
        return words
    return f"{words}, {scale.title} {scale.text(score)}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
