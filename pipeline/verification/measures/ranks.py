"""Measures of an order: Spearman's correlation and the area under the ROC curve, over inputs or pairs of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import scipy.stats

from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.verification.measures.base import Array, Batch, CorpusMeasure, Outputs, Reading, RowReading
from netsurgeon.pipeline.verification.measures.confidence import DropEstimate
from netsurgeon.pipeline.verification.measures.scales import Scale
from netsurgeon.pipeline.verification.measures.scoring import check_classes, class_scores
from netsurgeon.pipeline.verification.measures.vectors import embeddings, single_numbers

TINY = float(np.finfo(np.float64).tiny)
MOST_PAIRS = 1 << 22
"""Pairs of a positive and a negative that are compared at once."""
PAIRED_UNITS = 200
"""Units for each class up to which comparing all pairs takes less time than sorting the units anew in each draw."""


def cosines(one: Array, other: Array) -> Array:
    """Cosine of each row with the same row of another array, (rows,); 1 for equal rows, zeros included."""
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.where((one == other).all(axis=1), 1.0, np.sum(one * other, axis=1) / np.maximum(norms, TINY))


class Pairs(Reading):
    """The cosine of each pair's embeddings, and its label; an embedding is kept until its partner comes.

    Batches may take the samples in any order, and part a pair: those of one length come together.
    """

    def __init__(self, names: Collection[str], title: str):
        self._names, self._title = names, title
        self._waiting: dict[int, Array] = {}
        self._cosines: list[float] = []
        self._labels: list[float] = []

    def add(self, outputs: Outputs, batch: Batch, dense: Outputs | None = None) -> None:
        """Read a batch, and close the pairs that are whole."""
        vectors = next(embeddings(outputs, batch, self._names), None)
        if vectors is None or batch.labels is None or batch.pairs is None:
            raise InputError(
                f"the metric {self._title} of pairs needs an embedding: a vector of numbers for each input"
            )
        for vector, pair, label in zip(vectors, batch.pairs.tolist(), batch.labels, strict=True):
            partner = self._waiting.pop(pair, None)
            if partner is None:
                self._waiting[pair] = vector
            else:
                self._cosines.append(float(cosines(vector[None], partner[None])[0]))
                self._labels.append(float(label))

    @property
    def rows(self) -> Array:
        """A pair's cosine and label, (pairs, 2)."""
        return np.stack([self._cosines, self._labels], axis=1)


class _OfNumbers(CorpusMeasure):
    """What is read is one number a sample or pair, and the label beside it."""

    needs_labels = True

    def __init__(self, *, is_paired: bool, embedding_outputs: Collection[str] = ()):
        """Keep whether two inputs share a label, and which outputs are embeddings."""
        self._is_paired, self._names = is_paired, embedding_outputs

    def reading(self) -> Reading:
        """An empty one."""
        return Pairs(self._names, self.name) if self._is_paired else RowReading(self._read)

    def _read(self, outputs: Outputs, batch: Batch, dense: Outputs | None = None) -> Array:
        numbers = single_numbers(outputs, batch)
        if numbers is None:
            raise InputError(
                f"the metric {self.name} needs one number for each input, which no output is; for pairs of inputs give "
                "half as many labels, one for each two"
            )
        assert batch.labels is not None
        return np.stack([numbers, batch.labels.astype(np.float64)], axis=1)

    def check_labels(self, samples: Samples) -> None:
        """Check that there is one number a label.

        Raises:
            InputError: there are more, or none.
        """
        super().check_labels(samples)
        if samples.labels is not None and samples.labels.ndim != 1:
            raise InputError(f"the metric {self.name} needs one number as a label, not {samples.labels.shape[1:]}")

    @property
    def inputs_of_a_unit(self) -> int:
        """Two where they are pairs."""
        return 2 if self._is_paired else 1


class Spearman(_OfNumbers):
    """Spearman's rank correlation with the labels, ties ranked by their mean (American Journal of Psychology 15, 1904).

    Of pairs it is that of the cosines of their embeddings, as of the Semantic Textual Similarity benchmarks.
    """

    name = "spearman"

    def figure(self, rows: Array) -> Array:
        """Of (draws, units, number and label); 0 where the numbers do not vary, NaN where the labels do not."""
        ranks = scipy.stats.rankdata(rows, axis=1)
        centred = ranks - ranks.mean(axis=1, keepdims=True)
        products = np.einsum("dua,dub->dab", centred, centred)
        with np.errstate(divide="ignore", invalid="ignore"):
            correlations = products[:, 0, 1] / np.sqrt(products[:, 0, 0] * products[:, 1, 1])
        return np.where((products[:, 0, 0] == 0.0) & (products[:, 1, 1] > 0.0), 0.0, correlations)


class Auc(_OfNumbers):
    """Area under the ROC curve: how often a positive is above a negative, ties counted half (Mann and Whitney, 1947).

    Of more than two classes it is the mean over those of each class against the others.
    """

    name = "auc"

    def __init__(
        self,
        *,
        is_paired: bool,
        embedding_outputs: Collection[str] = (),
        class_outputs: Collection[str] | None = None,
        class_count: int = 0,
        label_offset: int = 0,
    ):
        """Keep how inputs and labels go together, which outputs are what, and how many classes they tell apart, if so.

        Args:
            is_paired: whether two inputs share a label.
            embedding_outputs: names of outputs that are embeddings, of pairs.
            class_outputs: names of the outputs that may be scores; None = all.
            class_count: scores of an input; 0 = it has one number in their place.
            label_offset: added to a label; of one number an input, and of pairs, what is above 0 then is positive.
        """
        super().__init__(is_paired=is_paired, embedding_outputs=embedding_outputs)
        self._class_outputs, self._class_count, self._offset = class_outputs, class_count, label_offset

    @property
    def scale(self) -> Scale:
        """How its figures are read: the title says of which classes they are."""
        if self._is_paired or self._class_count <= 2:
            return super().scale
        title = f"{super().scale.title} of {self._class_count:,} classes, their mean"
        return dataclasses.replace(super().scale, title=title)

    def _read(self, outputs: Outputs, batch: Batch, dense: Outputs | None = None) -> Array:
        scores = class_scores(outputs, batch, self._class_outputs)
        if scores is None or scores.shape[1] == 2:
            return super()._read(outputs, batch, dense)
        assert batch.labels is not None
        return np.column_stack([scores, batch.labels]).astype(np.float64)

    def check_labels(self, samples: Samples) -> None:
        """Check that labels are classes.

        Raises:
            InputError: they are not.
        """
        super().check_labels(samples)
        labels = samples.labels
        if labels is not None and (labels != np.floor(labels)).any():
            raise InputError("the metric auc needs labels of classes, such as 0 and 1: others have no such curve")
        if labels is not None and self._class_count and not self._is_paired:
            check_classes(labels.astype(np.int64) + self._offset, self._class_count, self._offset)

    def estimate(self, dense: RowReading, other: RowReading, seed: int) -> DropEstimate:
        """How much worse the other model is, with bounds that are wider where classes are rare.

        The bootstrap's variance of what n positives tell is (n - 1) / n of what it should be (Efron, The Jackknife, the
        Bootstrap and Other Resampling Plans, 1982, section 5), nothing for a single one. That of the mean over classes
        is therefore scaled by the sum of 1 / n over that of (n - 1) / n².

        Raises:
            InputError: the dense model has no figure.
        """
        evidence = super().estimate(dense, other, seed)
        labels = dense.rows[:, -1] + self._offset
        _, counts = np.unique(labels > 0 if dense.rows.shape[1] == 2 else labels, return_counts=True)
        share = float(np.sum((counts - 1) / counts**2) / np.sum(1.0 / counts))
        if not share:
            return dataclasses.replace(evidence, low=-1.0, high=1.0)
        low, high = (evidence.drop + (end - evidence.drop) / share**0.5 for end in (evidence.low, evidence.high))
        spread = evidence.spread / share**0.5
        return dataclasses.replace(evidence, low=max(low, -1.0), high=min(high, 1.0), spread=spread)

    def figure(self, rows: Array) -> Array:
        """Of (draws, units, scores and label); NaN where no class has positives and negatives.

        A class that a draw lacks is left out of its mean, for both models alike: of many classes few draws have all.
        """
        labels = rows[..., -1] + self._offset
        if rows.shape[-1] == 2:
            return _area(rows[..., 0], labels > 0)
        return _mean_of_told([_area(rows[..., at], labels == at) for at in np.unique(labels).astype(int)])

    def figure_of_draws(self, rows: Array, drawn: npt.NDArray[np.int64]) -> Array:
        """Of (units, scores and label) and the units of each draw; of many classes from how often a unit was drawn."""
        if not self._compares_pairs(rows):
            return super().figure_of_draws(rows, drawn)
        labels = rows[:, -1] + self._offset
        times = np.stack([np.bincount(draw, minlength=len(rows)) for draw in drawn]).astype(np.float32)
        return _mean_of_told([_area_of_draws(rows[:, at], labels == at, times) for at in np.unique(labels).astype(int)])

    def width_of_draws(self, rows: Array) -> int:
        """One number a unit where only how often it was drawn is asked for."""
        return 1 if self._compares_pairs(rows) else super().width_of_draws(rows)

    def _compares_pairs(self, rows: Array) -> bool:
        is_faster = rows.shape[1] > 2 and len(rows) <= PAIRED_UNITS * len(np.unique(rows[:, -1]))
        return is_faster and not np.isnan(rows).any()


def _mean_of_told(areas: Sequence[Array]) -> Array:
    """The mean over classes of the areas in each draw, (draws,), without those that are NaN."""
    stacked = np.stack(areas)
    told = ~np.isnan(stacked)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sum(stacked, axis=0, where=told) / told.sum(axis=0))


def _area_of_draws(scores: Array, positive: npt.NDArray[np.bool_], times: npt.NDArray[np.float32]) -> Array:
    """As `_area`, of scores (units,) and how often each draw has each of the units, (draws, units) -> (draws,)."""
    drawn, others = times[:, positive], times[:, ~positive]
    own, negatives = scores[positive], scores[~positive]
    above = np.zeros(len(times))
    step = max(1, MOST_PAIRS // max(len(negatives), 1))
    for start in range(0, len(own), step):
        part = own[start : start + step, None]
        # halves of numbers that small are exact in float32
        wins = (part > negatives).astype(np.float32) + np.float32(0.5) * (part == negatives)
        above += np.sum((others @ wins.T) * drawn[:, start : start + step], axis=1, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        pairs = drawn.sum(axis=1, dtype=np.float64) * others.sum(axis=1, dtype=np.float64)
        return np.asarray(above / pairs)


def _area(scores: Array, positive: npt.NDArray[np.bool_]) -> Array:
    """Share of the pairs of a positive and a negative in which the positive is above, (draws, units) -> (draws,).

    NaN where there are no such pairs.
    """
    ranks = scipy.stats.rankdata(scores, axis=1)
    count = positive.sum(axis=1)
    above = np.sum(ranks, axis=1, where=positive) - 0.5 * count * (count + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(above / (count * (positive.shape[1] - count)))
