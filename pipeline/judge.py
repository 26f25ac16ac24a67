"""How much worse a candidate is than the dense model, on inputs that calibration never saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from netsurgeon.pipeline._promise import Evidence, averaged, counted, resampled
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.options import Metric
from netsurgeon.pipeline.runtime import Session
from netsurgeon.pipeline.samples import Samples
from netsurgeon.pipeline.validate import apply_metric, class_scores, load_metric

Outputs = dict[str, Any]


class Judge:
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
    ):
        self._dense, self._samples, self._seed = dense, samples, seed
        self._metric = load_metric(metric)
        self._labels = None if samples.labels is None else samples.labels + label_offset
        self._outputs: list[Outputs] = []
        self._answers: npt.NDArray[np.int64] | None = None
        if self._metric is None:
            self._answers = self._top(dense)
        else:
            self._outputs = self._run(dense)

    def judge(self, candidate: Session) -> Evidence:
        """How much worse the candidate is.

        Raises:
            CheckFailedError: its outputs are not finite where the dense model's are.
            InputError: the metric cannot be used.
        """
        if self._metric is not None:
            return self._by_metric(self._metric, self._run(candidate))
        if self._answers is not None:
            return self._by_answers(self._answers, self._top(candidate))
        return self._by_outputs(candidate)

    def _run(self, session: Session) -> list[Outputs]:
        return [session.run(feed) for feed in self._samples.batches()]

    def _top(self, session: Session) -> npt.NDArray[np.int64] | None:
        """Top class of each sample, (samples,); None where the model gives no class scores."""
        found = []
        for feed in self._samples.batches():
            scores = class_scores(session.run(feed), feed, self._samples)
            if scores is None:
                return None
            found.append(scores.argmax(axis=1))
        return np.concatenate(found)

    def _by_answers(self, dense: npt.NDArray[np.int64], now: npt.NDArray[np.int64] | None) -> Evidence:
        if now is None or now.shape != dense.shape:
            raise CheckFailedError("a candidate gives no class scores any more: please report this")
        if self._labels is None:
            return counted("agreement", len(dense), len(dense), int((dense != now).sum()), 0)
        before, after = dense == self._labels, now == self._labels
        lost, gained = int((before & ~after).sum()), int((after & ~before).sum())
        return counted("top-1", len(dense), int(before.sum()), lost, gained)

    def _by_metric(self, function: Callable[..., float], now: list[Outputs]) -> Evidence:
        sides = [_joined(outputs) for outputs in (self._outputs, now)]
        dense, candidate = (apply_metric(function, side, self._labels) for side in sides)
        count = self._samples.count

        def again(chosen: npt.NDArray[np.int64]) -> float:
            labels = None if self._labels is None else self._labels[chosen]
            drawn = ({name: array[chosen] for name, array in side.items()} for side in sides)
            before, after = (apply_metric(function, each, labels) for each in drawn)
            return before - after

        if any(len(array) != count for side in sides for array in side.values()):
            raise InputError(
                "the metric's drop has no confidence bound, because the model's outputs have no batch axis: "
                "give --sparsity or --trim in place of a goal"
            )
        return resampled(count, dense, dense - candidate, again, self._seed)

    def _by_outputs(self, candidate: Session) -> Evidence:
        """Share of the outputs' energy, averaged over the float outputs."""
        errors: dict[str, list[npt.NDArray[np.float64]]] = {}
        energies: dict[str, list[npt.NDArray[np.float64]]] = {}
        for feed in self._samples.batches():
            before, after = self._dense.run(feed), candidate.run(feed)
            count = len(feed[self._samples.specs[0].name]) if self._samples.batched else 1
            for name, value in before.items():
                if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.shape == after[name].shape:
                    wide = value.astype(np.float64)
                    errors.setdefault(name, []).append(_sums((after[name] - wide) ** 2, count))
                    energies.setdefault(name, []).append(_sums(wide**2, count))
        if not errors:
            raise InputError("the model has no float output to compare: give --sparsity or --trim in place of a goal")
        shares = [
            np.concatenate(errors[name]) / max(float(np.mean(np.concatenate(energies[name]))), np.finfo(float).tiny)
            for name in errors
        ]
        found = np.mean(shares, axis=0)
        if not np.isfinite(found).all():
            raise CheckFailedError("an output of a candidate is NaN or infinite where it was not")
        return averaged("outputs", 1.0, found)


def _sums(squares: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """Of each of the feed's samples, (count,); where axis 0 does not tell them apart, of all together in each place."""
    finite = np.where(np.isfinite(squares), squares, np.inf)
    if finite.ndim and len(finite) == count:
        return np.asarray(finite.reshape(count, -1).sum(axis=1))
    return np.full(count, finite.sum())


def _joined(batches: list[Outputs]) -> Mapping[str, Any]:
    return {name: np.concatenate([np.atleast_1d(batch[name]) for batch in batches]) for name in batches[0]}
