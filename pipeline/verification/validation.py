"""Dense against compressed in ONNX Runtime: accuracy, fidelity, and what must be equal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.options import Metric
from netsurgeon.pipeline.progress import Ticks, no_ticks, ticking
from netsurgeon.pipeline.runtime import Feed, Session, counted
from netsurgeon.pipeline.verification.confidence import DropEstimate, Measure, paired_proportion_ci
from netsurgeon.pipeline.verification.fidelity import Agreement, Fidelity, OutputComparison
from netsurgeon.pipeline.verification.promise import Promise, make_promise, margin_losses
from netsurgeon.pipeline.verification.scoring import (
    Answers,
    Classes,
    Outputs,
    apply_metric,
    class_scores,
    hits_in_top,
    join_outputs,
    load_metric,
)


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
        outputs: one entry an output with floating-point numbers, of a tensor, a sequence or the values of maps.
        agreements: one entry an output and kind of what it holds besides: integers, truth values, texts, keys of maps.
        measure: what the models are judged by: "top-1", "agreement" with the dense model, the user's "metric", or,
            where no output is class scores, the error of the "outputs".
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
    agreements: tuple[Agreement, ...]
    measure: Measure
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


def withhold_promise(validation: Validation, examined: Sequence[Message]) -> Validation:
    """The same without a word about other inputs, where the dense model was found to give hardly varying answers.

    Args:
        validation: what was measured.
        examined: what `examine_dense_model` has to say.
    """
    if not any(message.code == "answers-alike" for message in examined):
        return validation
    text = "the dense model's answers hardly vary over the inputs measured: others may be nothing like them"
    withheld = Message(text, "answers-alike", samples=validation.samples)
    return dataclasses.replace(validation, promise=Promise.none(withheld))


def counted_drop(validation: Validation) -> DropEstimate | None:
    """The drop by answers, which are right or wrong, the same or not; None where the models are judged otherwise."""
    count, agreement = validation.samples, validation.agreement
    if validation.measure == "top-1" and validation.lost is not None and validation.gained is not None:
        right = round((validation.dense.top1 or 0.0) * count)
        return paired_proportion_ci("top-1", count, right, validation.lost, validation.gained)
    if validation.measure == "agreement" and agreement is not None:
        return paired_proportion_ci("agreement", count, count, count - round(agreement * count), 0)
    return None


class _Side:
    """What one of the two models says, batch by batch."""

    def __init__(self, *, keeps_outputs: bool):
        self.outputs: list[Outputs] = []
        self._keeps_outputs = keeps_outputs
        self._classes: list[Classes] = []
        self._widths: set[int] = set()
        self._hits_in_top5 = 0

    def update(self, outputs: Outputs, scores: npt.NDArray[np.floating] | None, labels: Classes | None) -> None:
        if self._keeps_outputs:
            self.outputs.append(outputs)
        self._widths.add(0 if scores is None else scores.shape[1])
        if scores is None:
            return
        self._classes.append(scores.argmax(axis=1))
        if labels is not None:
            self._hits_in_top5 += hits_in_top(5, scores, labels)

    @property
    def classes(self) -> int:
        """How many classes there are scores of."""
        return max(self._widths, default=0)

    def answers(self, labels: Classes | None) -> Answers | None:
        """None where not all samples have scores of the same classes."""
        has_classes = self._widths != {0} and len(self._widths) == 1
        return Answers(np.concatenate(self._classes), labels) if has_classes else None

    def scores(self, labels: Classes | None, metric: float | None) -> Scores:
        answers = self.answers(labels)
        if answers is None or labels is None:
            return Scores(None, None, metric)
        top5 = self._hits_in_top5 / len(answers.classes) if self.classes > 5 else None
        return Scores(answers.top1, top5, metric)


class _BothModels:
    """What both models say on the same inputs, batch by batch.

    Attributes:
        dense: what the dense model says.
        compressed: what the compressed one says.
        comparisons: of their outputs, by name.
        margin_losses: of each batch with class scores, (samples,) each.
    """

    def __init__(self, *, keeps_outputs: bool, label_offset: int, class_outputs: Collection[str] | None):
        self.dense, self.compressed = _Side(keeps_outputs=keeps_outputs), _Side(keeps_outputs=keeps_outputs)
        self.comparisons: dict[str, OutputComparison] = {}
        self.margin_losses: list[npt.NDArray[np.float64]] = []
        self._labels: list[Classes] = []
        self._orders: list[npt.NDArray[np.intp]] = []
        self._label_offset, self._class_outputs = label_offset, class_outputs

    def start(self, samples: Samples) -> None:
        """Go on with other samples."""
        self._orders.append(samples.order + sum(map(len, self._orders)))

    def update(self, outputs: tuple[Outputs, Outputs], feed: Feed, samples: Samples, labels: Classes | None) -> None:
        dense, compressed = outputs
        count = len(feed[samples.specs[0].name]) if samples.batched else 1
        for name, value in dense.items():
            self.comparisons.setdefault(name, OutputComparison(name)).update(value, compressed[name], count)
        scores = [class_scores(of_model, feed, samples, self._class_outputs) for of_model in outputs]
        if scores[0] is not None and scores[1] is not None:
            self.margin_losses.append(margin_losses(scores[0], scores[1]))
        if labels is not None:
            labels = labels + self._label_offset
            self._labels.append(labels)
        self.dense.update(dense, scores[0], labels)
        self.compressed.update(compressed, scores[1], labels)

    @property
    def labels(self) -> Classes | None:
        """Of all samples, with the offset; None where there are none."""
        return np.concatenate(self._labels) if self._labels else None

    def answers(self) -> tuple[Answers, Answers] | None:
        """Of the dense and of the compressed model; None where one gives no class scores.

        Raises:
            InputError: a label is no class of the model.
        """
        dense, compressed = self.dense.answers(self.labels), self.compressed.answers(self.labels)
        if dense is not None and dense.labels is not None:
            _check_labels(dense.labels, self.dense.classes, self._label_offset)
        return None if dense is None or compressed is None else (dense, compressed)

    def scores(self, function: Callable[..., float] | None) -> tuple[Scores, Scores]:
        """Of the dense and of the compressed model; with the user's metric where there is one."""
        sides, labels = (self.dense, self.compressed), self.labels
        order = np.concatenate(self._orders)
        metrics = [_metric_of_batches(function, side.outputs, labels, order) if function else None for side in sides]
        dense, compressed = (side.scores(labels, metric) for side, metric in zip(sides, metrics, strict=True))
        return dense, compressed


def validate(
    dense: Session,
    compressed: Session,
    samples: Samples,
    *,
    held_out: bool,
    metric: Metric | None = None,
    label_offset: int = 0,
    class_outputs: Collection[str] | None = None,
    ticks: Ticks = no_ticks,
) -> Validation:
    """Run both models over the samples, one pass; kept are sums and a number an input (and outputs for `metric`).

    Every batch is a tick.

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
        ticks=ticks,
    )


def validate_folds(
    dense: Session,
    folds: Sequence[tuple[Session, Samples]],
    *,
    held_out: bool,
    metric: Metric | None = None,
    label_offset: int = 0,
    class_outputs: Collection[str] | None = None,
    ticks: Ticks = no_ticks,
) -> Validation:
    """The same over several compressed models that were made alike, each on its part of the inputs.

    Raises:
        CheckFailedError: the compressed model's outputs are not finite where the dense one's are, or change type.
        InputError: a label is no class of the model, or the metric cannot be used.
    """
    function = load_metric(metric)
    mask = folds[0][1].mask
    dense, folds = counted(dense, mask), [(counted(compressed, mask), samples) for compressed, samples in folds]
    models = _BothModels(keeps_outputs=function is not None, label_offset=label_offset, class_outputs=class_outputs)
    batches = sum(samples.batch_count for _, samples in folds)
    for _, samples in folds:
        models.start(samples)
    for compressed, samples, feed, labels in ticking(_feeds(folds), ticks, batches):
        models.update((dense.run(feed), compressed.run(feed)), feed, samples, labels)
    answers, has_labels = models.answers(), models.labels is not None
    scores = models.scores(function)
    comparisons, losses = models.comparisons, models.margin_losses
    count = sum(samples.count for _, samples in folds)
    return Validation(
        samples=count,
        held_out=held_out,
        outputs=tuple(filter(None, (comparison.fidelity() for comparison in comparisons.values()))),
        agreements=tuple(entry for comparison in comparisons.values() for entry in comparison.agreements()),
        measure=_measure(function is not None, answers is not None, has_labels),
        agreement=answers[1].agreement(answers[0]) if answers else None,
        lost=answers[0].only_right(answers[1]) if answers and has_labels else None,
        gained=answers[1].only_right(answers[0]) if answers and has_labels else None,
        dense=scores[0],
        compressed=scores[1],
        promise=make_promise(
            count,
            held_out=held_out,
            folds=len(folds),
            changes={
                name: changes for name, comparison in comparisons.items() if (changes := comparison.changes(count))
            },
            margin_losses=np.concatenate(losses) if losses and answers else None,
            agreeing=answers[1].agreeing(answers[0]) if answers else None,
        ),
        folds=len(folds),
    )


def _measure(has_metric: bool, has_classes: bool, has_labels: bool) -> Measure:
    """What the models are judged by: the same order as in `DropEvaluator`."""
    if has_metric:
        return "metric"
    if not has_classes:
        return "outputs"
    return "top-1" if has_labels else "agreement"


def _feeds(folds: Sequence[tuple[Session, Samples]]) -> Iterator[tuple[Session, Samples, Feed, Classes | None]]:
    """Each feed with its labels, and the compressed model that it is for."""
    for session, samples in folds:
        for feed, labels in zip(samples.batches(), samples.batch_labels(), strict=True):
            yield session, samples, feed, labels


def check_finite(dense: Session, compressed: Session, samples: Samples) -> None:
    """Check that no output of the compressed model is NaN or infinite where the dense one's is finite.

    For a model that `validate_folds` does not run: the one corrected on all inputs, where each half had its own.

    Raises:
        CheckFailedError: one is.
    """
    dense, compressed = counted(dense, samples.mask), counted(compressed, samples.mask)
    for feed in samples.batches():
        expected, actual = dense.run(feed), compressed.run(feed)
        for name, value in expected.items():
            OutputComparison(name).update(value, actual[name], samples=1)


def check_labels(dense: Session, samples: Samples, label_offset: int = 0) -> None:
    """Check all labels against the classes that the model tells apart on the first batch; a look before long work.

    Raises:
        InputError: a label is no class of the model.
        RunError: the model cannot run on the first batch.
    """
    if samples.labels is None:
        return
    scores = [class_scores(dense.run(feed), feed, samples) for feed in samples.ends()]
    widths = {0 if of_feed is None else of_feed.shape[1] for of_feed in scores}
    if widths != {0} and len(widths) == 1:  # others are as long as the input, and no scores
        _check_labels(samples.labels + label_offset, widths.pop(), label_offset)


def _check_labels(labels: npt.NDArray[np.int64], classes: int, offset: int) -> None:
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        worst = int(labels.max() if labels.max() >= classes else labels.min())
        raise InputError(
            f"label {worst - offset} (with label offset {offset}) is no class of the model, which has {classes}: "
            "check the labels, or give --label-offset"
        )


def _metric_of_batches(
    function: Callable[..., float], kept: list[dict[str, Any]], labels: Any, order: npt.NDArray[np.intp]
) -> float:
    try:
        joined = join_outputs(kept, order)
    except Exception as error:
        raise InputError(
            f"outputs of several runs cannot be joined for the metric ({error}): give a --batch-size that takes all "
            "inputs at once"
        ) from error
    return apply_metric(function, joined, None if labels is None else labels[order])
