"""A metric of the user's: a function of all outputs, or of those of each batch."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from netsurgeon.pipeline.data import Samples, import_function
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.notation import MEASURES, counted
from netsurgeon.pipeline.options import Metric
from netsurgeon.pipeline.verification.measures.base import (
    Array,
    Batch,
    Measure,
    Outputs,
    Reading,
    all_lost,
    check_dense,
)
from netsurgeon.pipeline.verification.measures.confidence import DropEstimate, bootstrap_ci
from netsurgeon.pipeline.verification.measures.scales import Scale
from netsurgeon.pipeline.verification.measures.scoring import join_outputs

Function = Callable[..., Any]
Places = npt.NDArray[np.intp]
FEWEST_GROUPS = 4
"""Of a metric: with fewer, groups that are drawn anew hardly differ, and any figure would seem sure."""


class OwnReading(Reading):
    """What a function of the user's needs, and what it gives for all samples or some of them."""

    def __init__(self, function: Function, offset: int):
        self._function, self._offset = function, offset
        self._kept: list[Any] = []
        self._labels: list[npt.NDArray[Any]] = []
        self._numbers: list[Places] = []
        self._pairs: list[Places] = []

    def add(self, outputs: Outputs, batch: Batch, dense: Outputs | None = None) -> None:
        """Take what is needed of a batch."""
        labels = batch.labels
        if labels is not None:
            labels = labels + self._offset if labels.dtype.kind in "iu" and labels.ndim == 1 else labels
            self._labels.append(labels)
        self._numbers.append(batch.numbers)
        if batch.pairs is not None:
            self._pairs.append(batch.pairs)
        self._kept.append(self._needed(outputs, labels, batch.count))

    @property
    def count(self) -> int:
        """Samples."""
        return sum(map(len, self._numbers))

    @functools.cached_property
    def labels(self) -> Any:
        """A row a sample, in the order of the source, as a list where their lengths vary; None without labels."""
        if not self._labels:
            return None
        return join_outputs([{"labels": labels} for labels in self._labels], self.order)["labels"]

    @functools.cached_property
    def order(self) -> Places:
        """Where the samples stand, in the order of the source, (samples,)."""
        return np.argsort(np.concatenate(self._numbers), kind="stable")

    @functools.cached_property
    def units(self) -> Places:
        """Numbers of the samples of each unit in the order of the source, (units, samples of one): of whole pairs."""
        if not self._pairs:
            return np.arange(self.count)[:, None]
        pairs = np.concatenate(self._pairs)[self.order]
        first = np.flatnonzero(pairs[1:] == pairs[:-1])
        return np.stack([first, first + 1], axis=1)

    @abc.abstractmethod
    def figure(self, places: Places | None = None) -> float:
        """What the function gives for samples of these numbers, in their order; None = for all."""

    @abc.abstractmethod
    def check_bounded(self) -> None:
        """Check that samples can be drawn.

        Raises:
            InputError: they cannot.
        """

    @abc.abstractmethod
    def _needed(self, outputs: Outputs, labels: npt.NDArray[Any] | None, count: int) -> Any:
        """What is kept of a batch."""


class Whole(OwnReading):
    """All outputs, for a function of all of them."""

    @functools.cached_property
    def _outputs(self) -> dict[str, Any]:
        try:
            return join_outputs(self._kept, self.order)
        except Exception as error:
            raise InputError(
                f"outputs of several runs cannot be joined for the metric ({error}): give a --batch-size that takes "
                "all inputs at once, or a metric that is called batch by batch (docs/data.md)"
            ) from error

    def figure(self, places: Places | None = None) -> float:
        """What the function gives."""
        if places is None and not self._pairs:
            return as_number(self._function, self._outputs, self.labels)
        places = self.units.ravel() if places is None else places
        labels = None if self.labels is None else _drawn(self.labels, places[:: 2 if self._pairs else 1])
        return as_number(self._function, {name: _drawn(rows, places) for name, rows in self._outputs.items()}, labels)

    def check_bounded(self) -> None:
        """Check that samples can be drawn.

        Raises:
            InputError: outputs have no batch axis.
        """
        if any(len(array) != self.count for array in self._outputs.values()):
            raise InputError(
                "the metric's drop has no confidence bound, because the model's outputs have no batch axis: "
                "give --sparsity or --trim in place of a goal"
            )

    def _needed(self, outputs: Outputs, labels: npt.NDArray[Any] | None, count: int) -> Outputs:
        return outputs


class PerSample(OwnReading):
    """What the function has given for each sample of each batch."""

    @functools.cached_property
    def _rows(self) -> Array:
        return np.asarray(np.concatenate(self._kept)[self.order])

    def figure(self, places: Places | None = None) -> float:
        """The mean of what was given, or what the user's `figure` makes of it."""
        rows = self._rows if places is None else self._rows[places]
        summary = getattr(self._function, "figure", None)
        return float(np.mean(rows)) if summary is None else as_number(summary, rows)

    def check_bounded(self) -> None:
        """Samples can always be drawn."""

    def _needed(self, outputs: Outputs, labels: npt.NDArray[Any] | None, count: int) -> Array:
        rows = np.asarray(called(self._function, outputs, labels))
        if rows.ndim not in (1, 2) or len(rows) != count or rows.dtype.kind not in "biuf":
            raise InputError(
                f"the metric {_name(self._function)} says per_sample and gave {rows.dtype} of shape {rows.shape} for "
                f"{counted(count, 'sample')}: expected a number, or a row of numbers, for each"
            )
        return rows.astype(np.float64)


class OwnMetric(Measure):
    """A function of the user's, `function(outputs, labels)`; what it bears as attributes says how it is called.

    - `title`, `lower_is_better`, `relative`: how its figures are read (`Scale`).
    - `per_sample`: it is called for each batch and gives a number or a row of numbers a sample, and only those are
      kept; the figure is their mean, or what a function `figure(rows)` makes of them.
    - `groups`: a function that gives, of the labels, the group of each sample (or pair): groups are drawn, not samples.
    """

    name = "metric"

    def __init__(self, function: Function, label_offset: int = 0):
        """Keep the function, and what is added to labels that are classes."""
        self._function, self._offset = function, label_offset
        self._is_per_sample = bool(getattr(function, "per_sample", False))
        self._groups: Function | None = getattr(function, "groups", None)

    @property
    def scale(self) -> Scale:
        """How its figures are read."""
        function = self._function
        return Scale(
            title=str(getattr(function, "title", "metric")),
            lower_is_better=bool(getattr(function, "lower_is_better", False)),
            is_relative=bool(getattr(function, "relative", False)),
        )

    def check_labels(self, samples: Samples) -> None:
        """Check that the function can be called as it wants to be.

        Raises:
            InputError: it cannot.
        """
        if self._is_per_sample and samples.is_paired:
            raise InputError("a metric that is called batch by batch takes one label a sample, not one a pair")
        if self._groups is not None and samples.labels is None:
            raise InputError("the metric's groups are told by labels, and the data has none: add them")

    def reading(self) -> OwnReading:
        """An empty one."""
        return (PerSample if self._is_per_sample else Whole)(self._function, self._offset)

    def figures(self, dense: OwnReading, other: OwnReading) -> tuple[float, float]:
        """What the function gives for both."""
        return dense.figure(), other.figure()

    def estimate(self, dense: OwnReading, other: OwnReading, seed: int) -> DropEstimate:
        """How much worse the other model is, with the percentiles of a paired bootstrap.

        Raises:
            InputError: the metric gives NaN for the dense model, or there are no samples to draw from.
        """
        scale, (before, after) = self.scale, self.figures(dense, other)
        check_dense(scale.title, before)
        dense.check_bounded()
        other.check_bounded()
        if np.isnan(after):
            return all_lost(self.name, dense.count, before)
        members = self._members(dense)

        def again(drawn: npt.NDArray[np.int64]) -> Array:
            places = [np.concatenate([members[unit] for unit in units]) for units in drawn]
            return np.array([scale.drop(dense.figure(chosen), other.figure(chosen)) for chosen in places], np.float64)

        drop = float(scale.drop(before, after))
        return bootstrap_ci(self.name, dense.count, units=len(members), dense=before, drop=drop, again=again, seed=seed)

    def _members(self, reading: OwnReading) -> list[Places]:
        """Places of the samples of each unit that is drawn: a group, a pair or a sample."""
        if self._groups is None:
            return list(reading.units)
        assert reading.labels is not None
        groups = np.asarray(called(self._groups, _drawn(reading.labels, reading.units[:, 0])))
        if groups.shape != (len(reading.units),):
            raise InputError(
                f"the metric's groups are {groups.shape} for {counted(len(reading.units), 'label')}: expected "
                "one group a label"
            )
        names, group_of = np.unique(groups, return_inverse=True)
        if len(names) < FEWEST_GROUPS:
            raise InputError(
                f"the metric's groups are {len(names)}: expected at least {FEWEST_GROUPS}, since groups are what is "
                "drawn to tell how sure the figure is"
            )
        order = np.argsort(group_of, kind="stable")
        cuts = np.flatnonzero(np.diff(group_of[order])) + 1
        return [reading.units[members].ravel() for members in np.split(order, cuts)]


def load_metric(metric: Metric) -> Function:
    """The user's metric; "module:function" is imported with the current folder on the path.

    Raises:
        InputError: it cannot be imported, or is no function.
    """
    if callable(metric):
        return metric
    try:
        return import_function(metric)
    except InputError as error:
        names = "" if ":" in metric else f", or one of {', '.join(MEASURES)}"
        raise InputError(f"the metric {error}{names}") from error


def as_number(function: Function, *arguments: Any) -> float:
    """What a function of the user's gives, as one number.

    Raises:
        InputError: it fails, or gives something else.
    """
    return float(called(lambda *given: float(function(*given)), *arguments, named=function))


def called(function: Function, *arguments: Any, named: Function | None = None) -> Any:
    """What a function of the user's gives.

    Raises:
        InputError: it fails.
    """
    try:
        return function(*arguments)
    except (Exception, SystemExit) as error:
        outputs = arguments[0] if arguments and isinstance(arguments[0], Mapping) else {}
        names = f": expected function(outputs, labels) -> float, the outputs by name: {', '.join(outputs)}"
        raise InputError(
            f"the metric {_name(named or function)} failed with {type(error).__name__} ({error})"
            + (names if outputs else "")
        ) from error


def _drawn(rows: Any, places: Places) -> Any:
    """Some of the samples of an output, or their labels: an array, or a list of arrays where their shapes vary."""
    return [rows[at] for at in places] if isinstance(rows, list) else rows[places]


def _name(function: Function) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))
