"""Dense against compressed in ONNX Runtime: accuracy, fidelity, and what must be equal."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.options import Metric
from netsurgeon.pipeline.runtime import Feed, Session
from netsurgeon.pipeline.verification.promise import Promise, make_promise, margin_losses
from netsurgeon.pipeline.verification.scoring import (
    Answers,
    Classes,
    Outputs,
    apply_metric,
    class_scores,
    hits_in_top,
    load_metric,
    measurable,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fidelity:
    """How close one float output of the compressed model is to the dense one's.

    Attributes:
        output: its name.
        relative_error: ‖compressed − dense‖ / ‖dense‖ over all samples; NaN where shapes differ.
        snr_db: signal-to-noise ratio in decibels; infinite for equal outputs.
        alike: most samples to which the dense model gives one and the same output: they say little.
    """

    output: str
    relative_error: float
    snr_db: float
    alike: int


@dataclasses.dataclass(frozen=True)
class Scores:
    """How good a model is on labelled samples.

    Attributes:
        top1: share with the right class on top; None without labels or class scores.
        top5: share with the right class among the first five; None without labels, or with fewer than six classes.
        metric: what the user's own metric gives; None without one.
    """

    top1: float | None
    top5: float | None
    metric: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Validation:
    """Dense against compressed on the same samples.

    Attributes:
        samples: how many.
        held_out: whether calibration never saw them.
        outputs: one entry a float output.
        agreement: share of samples with the same top class; None where no output looks like class scores.
        lost: samples that the dense model gets right and the compressed one wrong; None without labels.
        gained: the reverse.
        dense: scores of the dense model.
        compressed: scores of the compressed model.
        promise: what this says of other inputs like the samples.
        folds: 1 = of one compressed model; 2 = the inputs were few: each half was given to a model corrected on the
            other half, and the delivered model is corrected on both.
    """

    samples: int
    held_out: bool
    outputs: tuple[Fidelity, ...]
    agreement: float | None
    lost: int | None
    gained: int | None
    dense: Scores
    compressed: Scores
    promise: Promise
    folds: int = 1

    def is_alike(self, output: Fidelity) -> bool:
        """Whether the dense model gives one and the same output to most of the samples."""
        return 2 * output.alike > self.samples > 1


class _Side:
    """What one of the two models says, batch by batch."""

    def __init__(self, *, keeps_outputs: bool):
        self.outputs: list[Outputs] = []
        self._keeps_outputs = keeps_outputs
        self._classes: list[Classes] = []
        self._class_count = self._hits_in_top5 = 0

    def update(self, outputs: Outputs, scores: npt.NDArray[np.floating] | None, labels: Classes | None) -> None:
        if self._keeps_outputs:
            self.outputs.append(outputs)
        if scores is None:
            return
        self._class_count = scores.shape[1]
        self._classes.append(scores.argmax(axis=1))
        if labels is not None:
            self._hits_in_top5 += hits_in_top(5, scores, labels)

    def answers(self, labels: Classes | None) -> Answers | None:
        return Answers(np.concatenate(self._classes), labels) if self._classes else None

    def scores(self, labels: Classes | None, metric: float | None) -> Scores:
        answers = self.answers(labels)
        if answers is None or labels is None:
            return Scores(None, None, metric)
        top5 = self._hits_in_top5 / len(answers.classes) if self._class_count > 5 else None
        return Scores(answers.top1, top5, metric)


def validate(
    dense: Session,
    compressed: Session,
    samples: Samples,
    *,
    held_out: bool,
    metric: Metric | None = None,
    label_offset: int = 0,
    class_outputs: Collection[str] | None = None,
) -> Validation:
    """Run both models over the samples, one pass; kept are sums and a number an input (and outputs for `metric`).

    Raises:
        CheckFailedError: the compressed model's outputs are not finite where the dense one's are, or change type.
        InputError: a label is no class of the model, or the metric cannot be used.
    """
    return validate_folds(
        dense,
        [(compressed, samples)],
        held_out=held_out,
        metric=metric,
        label_offset=label_offset,
        class_outputs=class_outputs,
    )


def validate_folds(
    dense: Session,
    folds: Sequence[tuple[Session, Samples]],
    *,
    held_out: bool,
    metric: Metric | None = None,
    label_offset: int = 0,
    class_outputs: Collection[str] | None = None,
) -> Validation:
    """The same over several compressed models that were made alike, each on its part of the inputs.

    Raises:
        CheckFailedError: the compressed model's outputs are not finite where the dense one's are, or change type.
        InputError: a label is no class of the model, or the metric cannot be used.
    """
    function = load_metric(metric)
    sums: dict[str, _Sums] = {}
    sides = (_Side(keeps_outputs=function is not None), _Side(keeps_outputs=function is not None))
    batch_labels: list[Classes] = []
    losses: list[npt.NDArray[np.float64]] = []
    for compressed, samples, feed, labels in _feeds(folds):
        both_outputs = (dense.run(feed), compressed.run(feed))
        _accumulate(sums, *both_outputs, len(feed[samples.specs[0].name]) if samples.batched else 1)
        scores = [class_scores(outputs, feed, samples, class_outputs) for outputs in both_outputs]
        if scores[0] is not None and scores[1] is not None:
            losses.append(margin_losses(scores[0], scores[1]))
        if labels is not None:
            labels = labels + label_offset
            batch_labels.append(labels)
            if scores[0] is not None:
                _check_labels(labels, scores[0].shape[1], label_offset)
        for side, outputs, scores_of_side in zip(sides, both_outputs, scores, strict=True):
            side.update(outputs, scores_of_side, labels)
    all_labels = np.concatenate(batch_labels) if batch_labels else None
    answers, changed_answers = (side.answers(all_labels) for side in sides)
    both = None if answers is None or changed_answers is None else (answers, changed_answers)
    metrics = [_metric_of_batches(function, side.outputs, all_labels) if function else None for side in sides]
    results = [side.scores(all_labels, metric) for side, metric in zip(sides, metrics, strict=True)]
    count = sum(samples.count for _, samples in folds)
    return Validation(
        samples=count,
        held_out=held_out,
        outputs=tuple(output_sums.fidelity(name) for name, output_sums in sums.items()),
        agreement=both[1].agreement(both[0]) if both else None,
        lost=both[0].only_right(both[1]) if both and all_labels is not None else None,
        gained=both[1].only_right(both[0]) if both and all_labels is not None else None,
        dense=results[0],
        compressed=results[1],
        promise=make_promise(
            count,
            held_out=held_out,
            folds=len(folds),
            changes={name: changes for name, output_sums in sums.items() if (changes := output_sums.changes(count))},
            margin_losses=np.concatenate(losses) if losses else None,
            agreeing=both[1].agreeing(both[0]) if both else None,
        ),
        folds=len(folds),
    )


def _feeds(folds: Sequence[tuple[Session, Samples]]) -> Iterator[tuple[Session, Samples, Feed, Classes | None]]:
    """Each feed with its labels, and the compressed model that it is for."""
    for session, samples in folds:
        for feed, labels in zip(samples.batches(), samples.batch_labels(), strict=True):
            yield session, samples, feed, labels


@dataclasses.dataclass
class _Sums:
    """Of one output: squared error and energy, that of each input, and how often each value of a sample was given."""

    error: float = 0.0
    energy: float = 0.0
    squares: list[npt.NDArray[np.float64] | None] = dataclasses.field(default_factory=list)
    repeats: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)

    def fidelity(self, name: str) -> Fidelity:
        alike = max(self.repeats.values())
        if np.isnan(self.error):
            return Fidelity(output=name, relative_error=float("nan"), snr_db=float("nan"), alike=alike)
        if self.error == 0.0:
            return Fidelity(output=name, relative_error=0.0, snr_db=float("inf"), alike=alike)
        if self.energy == 0.0:
            return Fidelity(output=name, relative_error=float("inf"), snr_db=float("-inf"), alike=alike)
        relative, decibels = np.sqrt(self.error / self.energy), 10.0 * np.log10(self.energy / self.error)
        return Fidelity(output=name, relative_error=float(relative), snr_db=float(decibels), alike=alike)

    def changes(self, count: int) -> tuple[float, npt.NDArray[np.float64]] | None:
        """Energy, and the squared error of each of so many inputs; None where errors are not those of single inputs."""
        squares = [part for part in self.squares if part is not None]
        if np.isnan(self.error) or len(squares) < len(self.squares) or sum(map(len, squares)) != count:
            return None
        return self.energy, np.concatenate(squares)


def _accumulate(sums: dict[str, _Sums], dense: dict[str, Any], compressed: dict[str, Any], count: int) -> None:
    for name in dense:
        value, other = measurable(dense[name]), measurable(compressed[name])
        if value is None or value.dtype.kind != "f":
            continue
        if other is None:
            raise CheckFailedError(f"output {name!r} of the compressed model is of another kind than the dense one's")
        if value.dtype != other.dtype:
            raise CheckFailedError(f"output {name!r} has type {other.dtype} after compression, {value.dtype} before")
        output_sums = sums.setdefault(name, _Sums())
        output_sums.repeats.update(hash(row.tobytes()) for row in (value if value.shape[:1] == (count,) else [value]))
        if value.shape != other.shape:
            output_sums.error = np.nan
            continue
        wide, narrow = value.astype(np.float64), other.astype(np.float64)
        usable = np.isfinite(wide)
        if not np.isfinite(narrow[usable]).all():
            raise CheckFailedError(f"output {name!r} of the compressed model is NaN or infinite where it was not")
        squares = (narrow[usable] - wide[usable]) ** 2
        output_sums.error += float(np.sum(squares))
        output_sums.squares.append(_by_input(squares, usable, count))
        output_sums.energy += float(np.sum(wide[usable] ** 2))


def _by_input(
    squares: npt.NDArray[np.float64], usable: npt.NDArray[np.bool_], count: int
) -> npt.NDArray[np.float64] | None:
    """Sums of an output's squares for each input, (count,); None where its axis 0 does not count them."""
    if usable.shape[:1] == (count,):
        whole = np.zeros(usable.shape)
        whole[usable] = squares
        return np.asarray(whole.reshape(count, -1).sum(axis=1))
    return np.array([squares.sum()]) if count == 1 else None


def check_labels(dense: Session, samples: Samples, label_offset: int = 0) -> None:
    """Check all labels against the classes that the model tells apart on the first batch; a look before long work.

    Raises:
        InputError: a label is no class of the model.
        RunError: the model cannot run on the first batch.
    """
    if samples.labels is None:
        return
    feed = next(samples.batches())
    scores = class_scores(dense.run(feed), feed, samples)
    if scores is not None:
        _check_labels(samples.labels + label_offset, scores.shape[1], label_offset)


def _check_labels(labels: npt.NDArray[np.int64], classes: int, offset: int) -> None:
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        worst = int(labels.max() if labels.max() >= classes else labels.min())
        raise InputError(
            f"label {worst - offset} (with label offset {offset}) is no class of the model, which has {classes}: "
            "check the labels, or give --label-offset"
        )


def _metric_of_batches(function: Callable[..., float], kept: list[dict[str, Any]], labels: Any) -> float:
    try:
        joined = {name: np.concatenate([np.atleast_1d(batch[name]) for batch in kept]) for name in kept[0]}
    except Exception as error:
        raise InputError(
            f"outputs of several runs cannot be joined for the metric ({error}): give a --batch-size that takes all "
            "inputs at once"
        ) from error
    return apply_metric(function, joined, labels)
