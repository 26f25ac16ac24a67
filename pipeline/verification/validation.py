"""Dense against compressed in ONNX Runtime: accuracy, fidelity, and what must be equal."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.notation import MeasureName
from netsurgeon.pipeline.progress import Ticks, no_ticks, ticking
from netsurgeon.pipeline.runtime import Session, counted
from netsurgeon.pipeline.verification.fidelity import Agreement, Fidelity, OutputComparison
from netsurgeon.pipeline.verification.judging import Judging
from netsurgeon.pipeline.verification.measures import (
    SCALES,
    Answers,
    Batch,
    DropEstimate,
    Measure,
    OwnMetric,
    Scale,
    batches_of,
    check_classes,
    class_scores,
    ends_of,
    hits_in_top,
    paired_proportion_ci,
)
from netsurgeon.pipeline.verification.measures.base import Outputs
from netsurgeon.pipeline.verification.measures.scoring import Classes
from netsurgeon.pipeline.verification.promise import Promise, make_promise, margin_losses


@dataclasses.dataclass(frozen=True)
class Scores:
    """How good a model is on labelled samples.

    Attributes:
        top1: share with the right class on top; None without labels or class scores.
        top5: share with the right class among the first five; None without labels, or with fewer than six classes.
        metric: figure of the measure that models are judged by; None where that is top-1, the agreement of the top
            class or the error of the outputs.
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
        measure: what the models are judged by: one of netsurgeon's measures, or the user's "metric".
        agreement: share of samples with the same top class; None where no output looks like class scores.
        lost: samples that the dense model gets right and the compressed one wrong; None without labels.
        gained: the reverse.
        dense: scores of the dense model.
        compressed: scores of the compressed model.
        promise: what this says of other inputs like the samples.
        folds: 1 = of one compressed model; 2 = the inputs were few: each half was given to a model corrected on the
            other half, and the delivered model is corrected on both.
        drop: how much worse the compressed model is by the measure, with the bounds of what that says of other inputs;
            None for a metric of the user's where no goal asks for bounds, and where a figure is no number.
        own_scale: how figures are read where the name of the measure does not tell: of the user's metric, and of F1,
            which is that of one class or the mean over several.
    """

    samples: int
    held_out: bool
    outputs: tuple[Fidelity, ...]
    agreements: tuple[Agreement, ...]
    measure: MeasureName
    agreement: float | None
    lost: int | None
    gained: int | None
    dense: Scores
    compressed: Scores
    promise: Promise
    folds: int = 1
    drop: DropEstimate | None = None
    own_scale: Scale | None = None

    @property
    def scale(self) -> Scale:
        """How figures of the measure are read."""
        return self.own_scale or SCALES[self.measure]

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


def bounded_drop(validation: Validation) -> DropEstimate | None:
    """The drop with its bounds, of earlier reports counted anew from answers; None where it is not known."""
    if validation.drop is not None:
        return validation.drop
    count, agreement = validation.samples, validation.agreement
    if validation.measure == "top-1" and validation.lost is not None and validation.gained is not None:
        right = round((validation.dense.top1 or 0.0) * count)
        return paired_proportion_ci("top-1", count, right, validation.lost, validation.gained)
    if validation.measure == "agreement" and agreement is not None:
        return paired_proportion_ci("agreement", count, count, count - round(agreement * count), 0)
    return None


class _Side:
    """What one of the two models says, batch by batch."""

    def __init__(self) -> None:
        self._classes: list[Classes] = []
        self._widths: set[int] = set()
        self._hits_in_top5 = 0

    def update(self, scores: npt.NDArray[np.floating] | None, labels: Classes | None) -> None:
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

    def __init__(self, measure: Measure, judging: Judging):
        self.dense, self.compressed = _Side(), _Side()
        self.comparisons: dict[str, OutputComparison] = {}
        self.margin_losses: list[npt.NDArray[np.float64]] = []
        self._labels: list[Classes] = []
        self._measure, self._judging = measure, judging
        self._readings = measure.reading(), measure.reading()

    def update(self, outputs: tuple[Outputs, Outputs], batch: Batch, labels: Classes | None) -> None:
        """Take what both say of a batch; `labels` are classes."""
        dense, compressed = outputs
        for name, value in dense.items():
            self.comparisons.setdefault(name, OutputComparison(name)).update(value, compressed[name], batch.count)
        scores = [class_scores(of_model, batch, self._judging.class_outputs) for of_model in outputs]
        if scores[0] is not None and scores[1] is not None:
            self.margin_losses.append(margin_losses(scores[0], scores[1]))
        if labels is not None:
            labels = labels + self._judging.label_offset
            self._labels.append(labels)
        self.dense.update(scores[0], labels)
        self.compressed.update(scores[1], labels)
        for reading, side in zip(self._readings, outputs, strict=True):
            if side is compressed or not self._measure.needs_dense:
                reading.add(side, batch, dense if self._measure.needs_dense else None)

    @property
    def labels(self) -> Classes | None:
        """Of all samples, with the offset; None where there are none."""
        return np.concatenate(self._labels) if self._labels else None

    def answers(self) -> tuple[Answers, Answers] | None:
        """Of the dense and of the compressed model; None where one gives no class scores.

        Raises:
            InputError: a label is not a class of the model.
        """
        dense, compressed = self.dense.answers(self.labels), self.compressed.answers(self.labels)
        if dense is not None and dense.labels is not None:
            check_classes(dense.labels, self.dense.classes, self._judging.label_offset)
        return None if dense is None or compressed is None else (dense, compressed)

    def scores(self) -> tuple[Scores, Scores]:
        """Of the dense and of the compressed model."""
        is_told = self._measure.name not in ("top-1", "agreement", "outputs")
        figures = self._measure.figures(*self._readings) if is_told else (None, None)
        dense, compressed = (
            side.scores(self.labels, figure)
            for side, figure in zip((self.dense, self.compressed), figures, strict=True)
        )
        return dense, compressed

    def drop(self, seed: int, *, is_wanted: bool) -> DropEstimate | None:
        """How much worse the compressed model is; of the user's metric, whose resamples may take long, if wanted.

        Raises:
            InputError: it is wanted, and no bound follows from the inputs.
        """
        if isinstance(self._measure, OwnMetric) and not is_wanted:
            return None
        try:
            return self._measure.estimate(*self._readings, seed)
        except InputError:
            if is_wanted:
                raise
            return None


def validate(
    dense: Session,
    compressed: Session,
    samples: Samples,
    *,
    judging: Judging,
    held_out: bool,
    seed: int = 0,
    ticks: Ticks = no_ticks,
) -> Validation:
    """Run both models over the samples, one pass; kept are sums and a few numbers an input.

    Outputs are kept only for a metric of the user's that wants all of them at once. Every batch is a tick.

    Args:
        dense: session of the model that outputs are compared with.
        compressed: session of the other one, which has the same inputs and outputs.
        samples: that both are run on.
        judging: the measure of their drop.
        held_out: whether no sample has guided what was done to the weights.
        seed: of the draws behind confidence limits.
        ticks: called for every batch.

    Raises:
        CheckFailedError: the compressed model's outputs are not finite where the dense one's are, or change type.
        InputError: a label is not a class of the model, or the metric cannot be used.
    """
    return validate_folds(dense, [(compressed, samples)], judging=judging, held_out=held_out, seed=seed, ticks=ticks)


def validate_folds(
    dense: Session,
    folds: Sequence[tuple[Session, Samples]],
    *,
    judging: Judging,
    held_out: bool,
    is_bounded: bool = False,
    seed: int = 0,
    ticks: Ticks = no_ticks,
) -> Validation:
    """The same over several compressed models that were made alike, each on its part of the inputs.

    Args:
        dense: the dense model.
        folds: compressed models, each with its inputs.
        judging: how models are judged.
        held_out: whether calibration never saw the inputs.
        is_bounded: whether a goal asks for the bounds of the drop, also of the user's metric.
        seed: of the samples that are drawn for bounds.
        ticks: called for every batch.

    Raises:
        CheckFailedError: the compressed model's outputs are not finite where the dense one's are, or change type.
        InputError: a label is not a class of the model, or the metric cannot be used.
    """
    measure, mask = judging.measure(folds[0][1]), folds[0][1].mask
    dense, folds = counted(dense, mask), [(counted(compressed, mask), samples) for compressed, samples in folds]
    models = _BothModels(measure, judging)
    for compressed, batch, classes in ticking(_batches(folds), ticks, sum(samples.batch_count for _, samples in folds)):
        models.update((dense.run(batch.feed), compressed.run(batch.feed)), batch, classes)
    answers, has_labels = models.answers(), models.labels is not None
    scores = models.scores()
    comparisons, losses = models.comparisons, models.margin_losses
    first_of = functools.partial(_first_of, [samples for _, samples in folds])
    count = sum(samples.count for _, samples in folds)
    return Validation(
        samples=count,
        held_out=held_out,
        outputs=tuple(filter(None, (comparison.fidelity(first_of) for comparison in comparisons.values()))),
        agreements=tuple(entry for comparison in comparisons.values() for entry in comparison.agreements()),
        measure=measure.name,
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
        drop=models.drop(seed, is_wanted=is_bounded),
        own_scale=None if measure.scale == SCALES[measure.name] else measure.scale,
    )


def _batches(folds: Sequence[tuple[Session, Samples]]) -> Iterator[tuple[Session, Batch, Classes | None]]:
    """Each batch with its labels, where they are classes, and the compressed model that it is for."""
    for session, samples in folds:
        has_classes = samples.classes is not None
        for batch in batches_of(samples):
            yield session, batch, batch.labels if has_classes else None


def _first_of(parts: Sequence[Samples], places: Sequence[int]) -> str:
    """The first in the data of places among the samples of all parts, of the first part that has any."""
    start = 0
    for samples in parts:
        own = [place - start for place in places if start <= place < start + samples.count]
        if own:
            return samples.first_of(np.array(own))
        start += samples.count
    raise ValueError(f"{places[0]} is no place among {start} samples")


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
        InputError: a label is not a class of the model.
        RunError: the model cannot run on the first batch.
    """
    if samples.classes is None:
        return
    scores = [class_scores(dense.run(batch.feed), batch) for batch in ends_of(samples)]
    widths = {0 if of_batch is None else of_batch.shape[1] for of_batch in scores}
    if widths != {0} and len(widths) == 1:  # others are as long as the input, and no scores
        check_classes(samples.classes + label_offset, widths.pop(), label_offset)
