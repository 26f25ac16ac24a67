"""Dense against compressed in ONNX Runtime: accuracy, fidelity, and what must be equal."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from netsurgeon.pipeline.data import Samples, import_function
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.options import Metric
from netsurgeon.pipeline.runtime import Session


@dataclasses.dataclass(frozen=True)
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


@dataclasses.dataclass(frozen=True)
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
    """

    samples: int
    held_out: bool
    outputs: tuple[Fidelity, ...]
    agreement: float | None
    lost: int | None
    gained: int | None
    dense: Scores
    compressed: Scores

    def is_alike(self, output: Fidelity) -> bool:
        """Whether the dense model gives one and the same output to most of the samples."""
        return 2 * output.alike > self.samples > 1


class _Scoring:
    """Counts of one model's correct answers, and its outputs where a metric wants them."""

    def __init__(self, keep: bool):
        self.keep = keep
        self.top1 = self.top5 = 0
        self.right: list[npt.NDArray[np.bool_]] = []
        self.kept: list[dict[str, Any]] = []

    def update(self, outputs: dict[str, Any], scores: npt.NDArray[np.floating] | None, labels: Any) -> None:
        if self.keep:
            self.kept.append(outputs)
        if scores is None or labels is None:
            return
        ranked = np.argsort(-scores, axis=1, kind="stable")[:, :5]
        hits = ranked == labels[:, None]
        self.right.append(hits[:, 0])
        self.top1 += int(hits[:, 0].sum())
        self.top5 += int(hits.any(axis=1).sum())

    def result(self, count: int, labelled: bool, classes: int, metric: float | None) -> Scores:
        top1 = self.top1 / count if labelled else None
        return Scores(top1, self.top5 / count if labelled and classes > 5 else None, metric)


def _only_right(one: _Scoring, other: _Scoring) -> int:
    """Samples that one model gets right and the other does not."""
    return sum(int((mine & ~theirs).sum()) for mine, theirs in zip(one.right, other.right, strict=True))


def validate(
    dense: Session,
    compressed: Session,
    samples: Samples,
    *,
    held_out: bool,
    metric: Metric | None = None,
    label_offset: int = 0,
) -> Validation:
    """Run both models over the samples, one pass, nothing kept but sums (and outputs where `metric` wants them).

    Raises:
        CheckFailedError: the compressed model's outputs are not finite where the dense one's are, or change type.
        InputError: a label is no class of the model, or the metric cannot be used.
    """
    function = load_metric(metric)
    scoring = (_Scoring(function is not None), _Scoring(function is not None))
    sums: dict[str, _Sums] = {}
    agreed = seen_count = classes = 0
    labels_seen: list[npt.NDArray[np.int64]] = []
    for feed, labels in zip(samples.batches(), samples.batch_labels(), strict=True):
        both_outputs = (dense.run(feed), compressed.run(feed))
        _accumulate(sums, *both_outputs, len(feed[samples.specs[0].name]) if samples.batched else 1)
        scores = [class_scores(outputs, feed, samples) for outputs in both_outputs]
        if labels is not None:
            labels = labels + label_offset
            labels_seen.append(labels)
            if scores[0] is not None:
                _check_labels(labels, scores[0].shape[1], label_offset)
        for side, outputs, score in zip(scoring, both_outputs, scores, strict=True):
            side.update(outputs, score, labels)
        if scores[0] is not None and scores[1] is not None:
            classes = scores[0].shape[1]
            seen_count += len(scores[0])
            agreed += int((scores[0].argmax(axis=1) == scores[1].argmax(axis=1)).sum())
    joined = np.concatenate(labels_seen) if labels_seen else None
    labelled = joined is not None and seen_count > 0
    values = [_apply(function, side.kept, joined) if function else None for side in scoring]
    results = [side.result(max(seen_count, 1), labelled, classes, v) for side, v in zip(scoring, values, strict=True)]
    return Validation(
        samples=samples.count,
        held_out=held_out,
        outputs=tuple(output_sums.fidelity(name) for name, output_sums in sums.items()),
        agreement=agreed / seen_count if seen_count else None,
        lost=_only_right(*scoring) if labelled else None,
        gained=_only_right(*scoring[::-1]) if labelled else None,
        dense=results[0],
        compressed=results[1],
    )


@dataclasses.dataclass
class _Sums:
    """Of one output: squared error and energy, and how often each value of a sample was given."""

    error: float = 0.0
    energy: float = 0.0
    given: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)

    def fidelity(self, name: str) -> Fidelity:
        alike = max(self.given.values())
        if np.isnan(self.error):
            return Fidelity(name, float("nan"), float("nan"), alike)
        if self.error == 0.0:
            return Fidelity(name, 0.0, float("inf"), alike)
        if self.energy == 0.0:
            return Fidelity(name, float("inf"), float("-inf"), alike)
        relative, decibels = np.sqrt(self.error / self.energy), 10.0 * np.log10(self.energy / self.error)
        return Fidelity(name, float(relative), float(decibels), alike)


def _accumulate(sums: dict[str, _Sums], dense: dict[str, Any], compressed: dict[str, Any], count: int) -> None:
    for name, value in dense.items():
        other = compressed[name]
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            continue
        if value.dtype != other.dtype:
            raise CheckFailedError(f"output {name!r} has type {other.dtype} after compression, {value.dtype} before")
        output_sums = sums.setdefault(name, _Sums())
        output_sums.given.update(hash(row.tobytes()) for row in (value if value.shape[:1] == (count,) else [value]))
        if value.shape != other.shape:
            output_sums.error = np.nan
            continue
        wide, narrow = value.astype(np.float64), other.astype(np.float64)
        usable = np.isfinite(wide)
        if not np.isfinite(narrow[usable]).all():
            raise CheckFailedError(f"output {name!r} of the compressed model is NaN or infinite where it was not")
        output_sums.error += float(np.sum((narrow[usable] - wide[usable]) ** 2))
        output_sums.energy += float(np.sum(wide[usable] ** 2))


def class_scores(outputs: dict[str, Any], feed: dict[str, Any], samples: Samples) -> npt.NDArray[np.floating] | None:
    """The first float output with one vector a sample, (samples, classes); None where there is none."""
    if not samples.batched:
        return None
    count = len(feed[samples.specs[0].name])
    for value in outputs.values():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim >= 2 and len(value) == count:
            flat = value.reshape(count, -1)
            if flat.shape[1] >= 2 and max(value.shape[1:]) == flat.shape[1]:
                return flat
    return None


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


def load_metric(metric: Metric | None) -> Callable[..., float] | None:
    """The user's metric; "module:function" is imported with the current folder on the path.

    Raises:
        InputError: it cannot be imported, or is no function.
    """
    if metric is None or callable(metric):
        return metric
    try:
        return import_function(metric)
    except InputError as error:
        raise InputError(f"the metric {error}") from error


def _apply(function: Callable[..., float], kept: list[dict[str, Any]], labels: Any) -> float:
    try:
        joined = {name: np.concatenate([np.atleast_1d(batch[name]) for batch in kept]) for name in kept[0]}
    except Exception as error:
        raise InputError(
            f"outputs of several runs cannot be joined for the metric ({error}): give a --batch-size that takes all "
            "inputs at once"
        ) from error
    return apply_metric(function, joined, labels)


def apply_metric(function: Callable[..., float], outputs: Mapping[str, Any], labels: Any) -> float:
    """The user's metric on the outputs of all samples.

    Raises:
        InputError: it fails.
    """
    try:
        return float(function(outputs, labels))
    except (Exception, SystemExit) as error:
        raise InputError(
            f"the metric {getattr(function, '__qualname__', type(function).__name__)} failed with "
            f"{type(error).__name__} ({error}): expected function(outputs, labels) -> float, the outputs by name: "
            f"{', '.join(outputs)}"
        ) from error
