"""How much worse a candidate is than the dense model, on inputs that its corrections never saw."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.options import Metric
from netsurgeon.pipeline.progress import Ticks, no_ticks, ticking
from netsurgeon.pipeline.runtime import Feed, Session, counted
from netsurgeon.pipeline.verification.confidence import DropEstimate, bootstrap_ci, student_ci
from netsurgeon.pipeline.verification.scoring import (
    Answers,
    Outputs,
    apply_metric,
    class_scores,
    join_outputs,
    load_metric,
    measurable,
)

Array = npt.NDArray[np.float64]


class DropEvaluator:
    """Compares models with the dense one on the same inputs.

    The measure is the user's metric; else top-1 where there are labels and class scores; else the agreement with the
    dense model's top class; else the share of the outputs' energy that the difference has.
    """

    def __init__(
        self,
        dense: Session,
        samples: Samples,
        metric: Metric | None = None,
        label_offset: int = 0,
        seed: int = 0,
        class_outputs: Collection[str] | None = None,
        ticks: Ticks = no_ticks,
    ):
        """Run the dense model on all samples, with a tick for every batch."""
        dense = counted(dense, samples.mask)
        self._dense, self._samples, self._seed = dense, samples, seed
        self._metric, self._class_outputs = load_metric(metric), class_outputs
        self._labels = None if samples.labels is None else samples.labels + label_offset
        self._outputs: list[Outputs] = []
        self._answers: Answers | None = None
        if self._metric is None:
            self._answers = self._top(dense, ticks)
        else:
            self._outputs = self._run(dense, ticks)

    def estimate_drop(self, candidate: Session, ticks: Ticks = no_ticks) -> DropEstimate:
        """How much worse the candidate is; every batch is a tick.

        Raises:
            CheckFailedError: its outputs are not finite where the dense model's are.
            InputError: the metric cannot be used.
        """
        candidate = counted(candidate, self._samples.mask)
        if self._metric is not None:
            return self._by_metric(self._metric, self._run(candidate, ticks))
        if self._answers is not None:
            return self._by_answers(self._answers, self._top(candidate, ticks))
        return self._by_outputs(candidate, ticks)

    def _batches(self, ticks: Ticks) -> Iterator[Feed]:
        return ticking(self._samples.batches(), ticks, self._samples.batch_count)

    def _run(self, session: Session, ticks: Ticks) -> list[Outputs]:
        return [session.run(feed) for feed in self._batches(ticks)]

    def _top(self, session: Session, ticks: Ticks) -> Answers | None:
        """The model's answers; None where it gives no class scores."""
        classes, width = [], 0
        for feed in self._batches(ticks):
            scores = class_scores(session.run(feed), feed, self._samples, self._class_outputs)
            if scores is None or scores.shape[1] != (width := width or scores.shape[1]):
                return None
            classes.append(scores.argmax(axis=1))
        return Answers(np.concatenate(classes), self._labels)

    def _by_answers(self, dense: Answers, now: Answers | None) -> DropEstimate:
        if now is None or now.classes.shape != dense.classes.shape:
            raise CheckFailedError("a candidate gives no class scores any more: please report this")
        return now.drop_from(dense)

    def _by_metric(self, function: Callable[..., float], now: list[Outputs]) -> DropEstimate:
        order, count = self._samples.order, self._samples.count
        sides = [join_outputs(outputs, order) for outputs in (self._outputs, now)]
        all_labels = None if self._labels is None else self._labels[order]
        dense, candidate = (apply_metric(function, side, all_labels) for side in sides)
        if np.isnan(dense):
            raise InputError("the metric gives NaN for the dense model on the inputs that guide the search: repair it")

        def drop_of(drawn_samples: npt.NDArray[np.int64]) -> float:
            labels = None if all_labels is None else all_labels[drawn_samples]
            drawn = ({name: _drawn(rows, drawn_samples) for name, rows in side.items()} for side in sides)
            before, after = (apply_metric(function, outputs, labels) for outputs in drawn)
            return before - after

        if any(len(array) != count for side in sides for array in side.values()):
            raise InputError(
                "the metric's drop has no confidence bound, because the model's outputs have no batch axis: "
                "give --sparsity or --trim in place of a goal"
            )
        return bootstrap_ci(count, dense, dense - candidate, drop_of, self._seed)

    def _by_outputs(self, candidate: Session, ticks: Ticks = no_ticks) -> DropEstimate:
        """Share of the outputs' energy, averaged over the float outputs.

        One piece of evidence a sample; one a feed where axis 0 of an output does not tell its samples apart.
        """
        errors: dict[str, list[Array]] = {}
        energies: dict[str, list[Array]] = {}
        counts = []
        for feed in self._batches(ticks):
            before, after = self._dense.run(feed), candidate.run(feed)
            counts.append(len(feed[self._samples.specs[0].name]) if self._samples.batched else 1)
            for name in before:
                dense, now = measurable(before[name]), measurable(after[name])
                if dense is not None and now is not None and dense.dtype.kind == "f" and dense.shape == now.shape:
                    error, energy = _squares(dense.astype(np.float64), now.astype(np.float64))
                    errors.setdefault(name, []).append(error)
                    energies.setdefault(name, []).append(energy)
        if not errors:
            raise InputError("the model has no float output to compare: give --sparsity or --trim in place of a goal")
        apart = all([len(batch) if batch.ndim else None for batch in batches] == counts for batches in errors.values())
        shares = []
        for name in errors:
            error, energy = (_summed(side[name], apart) for side in (errors, energies))
            shares.append(error / max(float(np.mean(energy)), np.finfo(float).tiny))
        share = np.mean(shares, axis=0)
        if not np.isfinite(share).all():
            raise CheckFailedError("an output of a candidate is NaN or infinite where it was not")
        return student_ci("outputs", 1.0, share)


def _squares(dense: Array, candidate: Array) -> tuple[Array, Array]:
    """Squared difference and square of each number; one that is NaN or infinite counts only where the other is not."""
    same = (dense == candidate) | (np.isnan(dense) & np.isnan(candidate))
    both = np.isfinite(dense) & np.isfinite(candidate)
    difference = np.where(both, candidate, 0.0) - np.where(both, dense, 0.0)
    return np.where(same, 0.0, np.where(both, difference**2, np.inf)), np.where(np.isfinite(dense), dense, 0.0) ** 2


def _summed(batches: list[Array], apart: bool) -> Array:
    """Sums over each sample, or each batch."""
    if apart:
        return np.concatenate([batch.reshape(len(batch), -1).sum(axis=1) for batch in batches])
    return np.array([batch.sum() for batch in batches])


def _drawn(rows: Any, drawn_samples: npt.NDArray[np.int64]) -> Any:
    """Some of the samples of an output: an array, or a list of arrays where their shapes vary."""
    return [rows[at] for at in drawn_samples] if isinstance(rows, list) else rows[drawn_samples]
