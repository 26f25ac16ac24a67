"""Measures of the top class: by labels, by the dense model's answers, and F1."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np

from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.verification.measures.base import Array, Batch, CorpusMeasure, Measure, Outputs, RowReading
from netsurgeon.pipeline.verification.measures.confidence import DropEstimate
from netsurgeon.pipeline.verification.measures.scales import Scale
from netsurgeon.pipeline.verification.measures.scoring import Answers, check_classes, class_scores


class _TopClass(Measure):
    """What is read is the top class of each sample, and its label where there are labels of classes."""

    def __init__(self, class_outputs: Collection[str] | None = None, label_offset: int = 0):
        """Keep which outputs may be scores, and what is added to a label."""
        self._class_outputs, self._offset = class_outputs, label_offset

    def reading(self) -> RowReading:
        """An empty one."""
        return RowReading(self._read)

    def _read(self, outputs: Outputs, batch: Batch, dense: Outputs | None = None) -> Array:
        scores = class_scores(outputs, batch, self._class_outputs)
        if scores is None:
            raise CheckFailedError(
                "an output is class scores for some inputs and none for others: give a --metric, or inputs of one shape"
            )
        answers = scores.argmax(axis=1).astype(np.float64)
        if not self.needs_labels:
            return np.asarray(answers[:, None])
        assert batch.labels is not None
        return np.stack([answers, batch.labels + self._offset], axis=1)

    def check_labels(self, samples: Samples) -> None:
        """Check that there is one class a sample.

        Raises:
            InputError: there is none.
        """
        super().check_labels(samples)
        if self.needs_labels and samples.classes is None:
            raise InputError(
                f"the metric {self.name} needs the class of each input as its label: integers, one a sample"
            )


class _Answers(_TopClass):
    """Right or wrong, the same or not."""

    def figures(self, dense: RowReading, other: RowReading) -> tuple[float, float]:
        """Shares of the samples."""
        before, after = self._answers(dense), self._answers(other)
        if before.labels is None:
            return 1.0, after.agreement(before)
        return before.top1 or 0.0, after.top1 or 0.0

    def estimate(self, dense: RowReading, other: RowReading, seed: int) -> DropEstimate:
        """How many answers are lost, and gained."""
        return self._answers(other).drop_from(self._answers(dense))

    def _answers(self, side: RowReading) -> Answers:
        classes = side.rows.astype(np.int64)
        return Answers(classes[:, 0], classes[:, 1] if self.needs_labels else None)


class Top1(_Answers):
    """Share of the samples with the right class on top."""

    name = "top-1"
    needs_labels = True


class TopAgreement(_Answers):
    """Share of the samples with the dense model's class on top."""

    name = "agreement"


class F1(_TopClass, CorpusMeasure):
    """F1 = 2 tp / (2 tp + fp + fn): of class 1 where the model tells two classes apart, else the mean over them.

    Classes that no label and no answer names are left out of the mean (van Rijsbergen, Information Retrieval, 1979).
    """

    name = "f1"
    needs_labels = True

    def __init__(self, class_count: int, class_outputs: Collection[str] | None = None, label_offset: int = 0):
        """Keep how many classes the model tells apart, which outputs may be scores, and what is added to a label."""
        super().__init__(class_outputs, label_offset)
        self._class_count = class_count

    @property
    def scale(self) -> Scale:
        """How its figures are read: the title says of which classes they are."""
        of_classes = "class 1" if self._class_count == 2 else f"{self._class_count:,} classes, their mean"
        return dataclasses.replace(super().scale, title=f"F1 of {of_classes}")

    def check_labels(self, samples: Samples) -> None:
        """Check that there is a class of the model for each sample.

        Raises:
            InputError: there is none.
        """
        super().check_labels(samples)
        assert samples.classes is not None
        check_classes(samples.classes + self._offset, self._class_count, self._offset)

    def figure(self, rows: Array) -> Array:
        """Of (draws, samples, answer and label)."""
        draws, count = len(rows), self._class_count
        answers, labels = (rows[..., at].astype(np.int64) + count * np.arange(draws)[:, None] for at in (0, 1))
        right, answered, labelled = (
            np.bincount(chosen.ravel(), minlength=draws * count).reshape(draws, count)
            for chosen in (answers[answers == labels], answers, labels)
        )
        scores = 2.0 * right / np.maximum(answered + labelled, 1)
        if count == 2:
            return np.asarray(scores[:, 1])
        named = answered + labelled > 0
        return np.asarray(scores.sum(axis=1) / named.sum(axis=1))
