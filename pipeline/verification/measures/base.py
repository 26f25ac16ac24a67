"""What a measure is: small numbers of each batch, and from those of both models a figure each and a bounded drop."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.notation import MeasureName
from netsurgeon.pipeline.runtime import Feed
from netsurgeon.pipeline.verification.measures.confidence import DropEstimate, bootstrap_ci
from netsurgeon.pipeline.verification.measures.scales import SCALES, Scale

Array = npt.NDArray[np.float64]
Outputs = dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Inputs that are run together, and what is known of them.

    Attributes:
        feed: what the model is fed.
        count: samples in it.
        is_batched: whether axis 0 tells them apart.
        labels: a row a sample; None without labels.
        numbers: of the samples in their source, (count,).
        pairs: number of the pair that each sample belongs to, (count,); None where they are no pairs.
        kept: which positions count, (samples, positions); None = all that are fed, as far as is known.
    """

    feed: Feed
    count: int
    is_batched: bool
    labels: npt.NDArray[Any] | None
    numbers: npt.NDArray[np.intp]
    pairs: npt.NDArray[np.intp] | None = None
    kept: npt.NDArray[np.bool_] | None = None


def batches_of(samples: Samples) -> Iterator[Batch]:
    """The inputs, batch by batch, with what belongs to them."""
    mask = samples.mask
    for feed, labels, numbers in zip(samples.batches(), samples.batch_labels(), samples.batch_numbers(), strict=True):
        kept = None if mask is None else mask.kept(feed)
        yield Batch(
            feed=feed,
            count=len(numbers),
            is_batched=samples.batched,
            labels=labels,
            numbers=numbers,
            pairs=samples.pairs_of(numbers),
            kept=kept,
        )


def ends_of(samples: Samples) -> Iterator[Batch]:
    """The first batch, and where the shapes of samples differ others, between which every axis is at both its ends."""
    for end in samples.end_parts():
        yield from batches_of(end)


class Reading(abc.ABC):
    """What is kept of one model's outputs."""

    @abc.abstractmethod
    def add(self, outputs: Outputs, batch: Batch, dense: Outputs | None = None) -> None:
        """Take what is needed of a batch.

        Args:
            outputs: the model's.
            batch: what it was fed.
            dense: the dense model's, where the measure `needs_dense`.
        """


class RowReading(Reading):
    """A row of numbers a sample, or a unit of several."""

    def __init__(self, read: Callable[[Outputs, Batch, Outputs | None], Array]):
        self._read = read
        self._parts: list[Array] = []

    def add(self, outputs: Outputs, batch: Batch, dense: Outputs | None = None) -> None:
        """Read the rows of a batch."""
        self._parts.append(self._read(outputs, batch, dense))

    @property
    def rows(self) -> Array:
        """All of them, (units, numbers)."""
        return np.concatenate(self._parts)


class Measure(abc.ABC):
    """By what models are judged.

    Attributes:
        name: of the measure.
        needs_dense: whether the other model is read beside the dense one's outputs, and the dense one not by itself.
        needs_labels: whether the data must have labels.
        takes_pairs: whether labels may be those of pairs of inputs; where they do not count they may.
    """

    name: ClassVar[MeasureName]
    needs_dense: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    takes_pairs: ClassVar[bool] = True

    @property
    def scale(self) -> Scale:
        """How its figures are read."""
        return SCALES[self.name]

    @abc.abstractmethod
    def reading(self) -> Reading:
        """An empty one."""

    @abc.abstractmethod
    def figures(self, dense: Any, other: Any) -> tuple[float, float]:
        """Of the dense and of the other model, from what was read of both."""

    @abc.abstractmethod
    def estimate(self, dense: Any, other: Any, seed: int) -> DropEstimate:
        """How much worse the other model is, from what was read of both.

        Raises:
            InputError: no bound follows from the inputs.
        """

    def check_labels(self, samples: Samples) -> None:
        """Check that what the measure needs stands beside the inputs.

        Raises:
            InputError: it does not.
        """
        if self.needs_labels and samples.labels is None:
            raise InputError(f"the metric {self.name} needs labels beside the inputs, and the data has none: add them")
        if samples.is_paired and not self.takes_pairs:
            raise InputError(
                f"the metric {self.name} needs a label for each input, and the data has one for two of them: that is "
                "for spearman, auc or a metric of your own"
            )


class CorpusMeasure(Measure):
    """A measure of all inputs together, bounded by the paired bootstrap."""

    @abc.abstractmethod
    def figure(self, rows: Array) -> Array:
        """Of a model, from the rows of units that were drawn: (draws, units, numbers) -> (draws,)."""

    def figure_of_draws(self, rows: Array, drawn: npt.NDArray[np.int64]) -> Array:
        """Of a model, from all rows (units, numbers) and which were drawn: (draws, units) -> (draws,)."""
        return self.figure(rows[drawn])

    def width_of_draws(self, rows: Array) -> int:
        """Numbers that a unit takes in each draw."""
        return int(rows.shape[1])

    def figures(self, dense: RowReading, other: RowReading) -> tuple[float, float]:
        """Of the dense and of the other model."""
        before, after = (float(self.figure(side.rows[None])[0]) for side in (dense, other))
        return before, after

    def estimate(self, dense: RowReading, other: RowReading, seed: int) -> DropEstimate:
        """How much worse the other model is.

        Raises:
            InputError: the dense model has no figure.
        """
        before, after = self.figures(dense, other)
        check_dense(self.scale.title, before)
        if np.isnan(after):
            return all_lost(self.name, len(dense.rows), before)
        sides = dense.rows, other.rows
        units = len(sides[0])

        def again(drawn: npt.NDArray[np.int64]) -> Array:
            drops: Array = self.scale.drop(*(self.figure_of_draws(rows, drawn) for rows in sides))
            return drops

        return bootstrap_ci(
            self.name,
            units * self.inputs_of_a_unit,
            units=units,
            width=self.width_of_draws(sides[0]),
            dense=before,
            drop=float(self.scale.drop(before, after)),
            again=again,
            seed=seed,
        )

    @property
    def inputs_of_a_unit(self) -> int:
        """How many inputs share a row."""
        return 1


def check_dense(title: str, figure: float, inputs: str = "the inputs that decide") -> None:
    """Check that the dense model has a figure.

    Args:
        title: of the measure.
        figure: of the dense model.
        inputs: that it is of, in words.

    Raises:
        InputError: it has none.
    """
    if not np.isfinite(figure):
        raise InputError(
            f"the metric gives {'NaN' if np.isnan(figure) else 'no finite number'} for the dense model on {inputs} "
            f"({title}): repair it, or the labels"
        )


def all_lost(measure: MeasureName, samples: int, dense: float) -> DropEstimate:
    """Evidence of a model without a figure: more is lost than any goal allows."""
    return DropEstimate(measure=measure, samples=samples, dense=dense, drop=1.0, low=1.0, high=1.0, spread=0.0)
