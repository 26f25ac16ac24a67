"""How answers are scored: top classes against labels and against another model's."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.verification.measures.base import Batch, Outputs
from netsurgeon.pipeline.verification.measures.confidence import DropEstimate, paired_proportion_ci

Classes = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """The top class that a model gives to each sample.

    Attributes:
        classes: one a sample, (samples,).
        labels: the right ones, (samples,); None where they are not known.
    """

    classes: Classes
    labels: Classes | None

    @property
    def top1(self) -> float | None:
        """Share of right answers; None without labels."""
        return None if self.labels is None else float(np.mean(self.classes == self.labels))

    @property
    def error(self) -> float | None:
        """Share of wrong answers; None without labels."""
        return None if self.labels is None else float(np.mean(self.classes != self.labels))

    def agreement(self, other: Answers) -> float:
        """Share of samples to which both models give the same answer."""
        return float(np.mean(self.classes == other.classes))

    def agreeing(self, other: Answers) -> int:
        """Samples to which both models give the same answer."""
        return int((self.classes == other.classes).sum())

    def only_right(self, other: Answers) -> int:
        """Samples that this model gets right and the other one wrong."""
        return int(((self.classes == self.labels) & (other.classes != self.labels)).sum())

    def drop_from(self, dense: Answers) -> DropEstimate:
        """How much worse these answers are than the dense model's; without labels its answers are the right ones."""
        count = len(self.classes)
        if self.labels is None:
            return paired_proportion_ci("agreement", count, count, int((self.classes != dense.classes).sum()), 0)
        right = int((dense.classes == self.labels).sum())
        return paired_proportion_ci("top-1", count, right, dense.only_right(self), self.only_right(dense))


def hits_in_top(count: int, scores: npt.NDArray[np.floating], labels: Classes) -> int:
    """Samples whose label is among the `count` classes with the largest scores (samples, classes)."""
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return int((ranked == labels[:, None]).any(axis=1).sum())


def check_classes(labels: Classes, count: int, offset: int) -> None:
    """Check that labels, to which an offset has been added, are among so many classes.

    Raises:
        InputError: one is not.
    """
    if labels.size and (labels.min() < 0 or labels.max() >= count):
        worst = int(labels.max() if labels.max() >= count else labels.min())
        raise InputError(
            f"label {worst - offset} (with label offset {offset}) is not a class of the model, which has {count}: "
            "check the labels, or give --label-offset"
        )


def class_scores(
    outputs: Outputs, batch: Batch, names: Collection[str] | None = None
) -> npt.NDArray[np.floating] | None:
    """The first float output with one vector a sample, (samples, classes); None where there is none.

    Args:
        outputs: of the model, by name.
        batch: what it was fed.
        names: of the outputs that may be class scores, see `find_class_outputs`; None = all.
    """
    if not batch.is_batched:
        return None
    count = batch.count
    for name, output in outputs.items():
        if names is not None and name not in names:
            continue
        value = measurable(output)
        if value is not None and value.dtype.kind == "f" and value.ndim >= 2 and len(value) == count:
            flat = value.reshape(count, -1)
            if flat.shape[1] >= 2 and max(value.shape[1:]) == flat.shape[1]:
                return flat
    return None


def measurable(value: Any) -> npt.NDArray[Any] | None:
    """An output as an array: itself, or the rows of a sequence of maps from 0, 1, 2, … to numbers (ZipMap).

    Returns:
        None for what holds no numbers that differ by more or less: other sequences and maps, texts in maps.
    """
    if isinstance(value, np.ndarray):
        return value
    if not isinstance(value, list) or not value or not all(isinstance(row, dict) for row in value):
        return None
    keys = list(range(len(value[0])))
    if not keys or any(sorted(row, key=str) != sorted(keys, key=str) for row in value):
        return None
    return np.array([[row[key] for key in keys] for row in value], np.float32)


def join_outputs(batches: Sequence[Outputs], order: npt.NDArray[np.intp]) -> Outputs:
    """The outputs of all batches for a metric, in the order that the user's data has the samples in.

    An output whose shape varies from sample to sample is a list of arrays, one a sample.

    Args:
        batches: outputs by name.
        order: places of the samples, see `Samples.order`; what is not one a sample stays in that of the batches.

    Raises:
        ValueError: shapes vary, and axis 0 does not tell samples apart.
    """
    is_sorted = bool(np.all(np.diff(order) == 1))
    joined: Outputs = {}
    for name in batches[0]:
        arrays = [np.atleast_1d(batch[name]) for batch in batches]
        if len({array.shape[1:] for array in arrays}) > 1:
            rows = [row for array in arrays for row in array]
            if len(rows) != len(order):
                raise ValueError(f"output {name!r} varies in shape and is not one a sample")
            joined[name] = [rows[place] for place in order]
        else:
            whole = np.concatenate(arrays)
            joined[name] = whole if is_sorted or len(whole) != len(order) else whole[order]
    return joined
