"""How much of what a model's outputs say is lost in another model's: measures that need no labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.special

Array = npt.NDArray[np.float64]
FEWEST_ROWS = 16
"""Below this many samples no mean and scale are fitted for each element of an output."""
CONSTANT = 1e-12
"""An output whose variance is no more than this share of its mean square is the same for every sample."""
MANY_CLASSES = 100
"""Of fewer class scores the variance counts: the probabilities of a network that is sure hardly move."""
MOST_ALIKE = 0.9
"""Share of the samples up to which the same element may be the largest of an output that holds class scores."""
Loss = Callable[[Array, Array], float]


def float_outputs(values: Mapping[str, Any]) -> list[str]:
    """Names of the outputs that hold floats."""
    return [name for name, value in values.items() if isinstance(value, np.ndarray) and value.dtype.kind == "f"]


def output_loss(dense: Sequence[dict[str, Any]], changed: Sequence[dict[str, Any]]) -> float:
    """Share of the information in the outputs about the samples that is lost, averaged over the outputs.

    Of many class scores the Kullback-Leibler divergence from the dense model's, beside that of one answer for all
    samples: unlike the mean square it weighs what decides the answer. Of other outputs the variance. Means and scales
    of each element are fitted first: layers behind the changed one are corrected and take them up.
    """
    return _mean(output_losses(dense, changed))


def output_losses(dense: Sequence[dict[str, Any]], changed: Sequence[dict[str, Any]]) -> dict[str, float]:
    """What `output_loss` is the mean of, by output; those that do not compare are left out."""
    return _by_output(dense, changed, MANY_CLASSES, _fitted_divergence, _lost_variance)


def lost_share(dense: Sequence[Mapping[str, Any]], changed: Sequence[Mapping[str, Any]], name: str) -> float:
    """Share of the variance of one value that is lost, all its numbers taken together."""
    sides = (np.concatenate([batch[name].reshape(-1, 1) for batch in side]) for side in (dense, changed))
    return _lost_variance(*(side.astype(np.float64) for side in sides))


def output_divergence(dense: Sequence[dict[str, Any]], changed: Sequence[dict[str, Any]]) -> float:
    """Kullback-Leibler divergence where an output holds class scores, else the share of the variance that is lost."""
    return _mean(_by_output(dense, changed, 2, _score_divergence, _lost_variance))


def score_divergence(dense: Sequence[dict[str, Any]], changed: Sequence[dict[str, Any]]) -> float:
    """Kullback-Leibler divergence of the outputs that hold class scores, their mean; 0 where none does."""
    return _mean(_by_output(dense, changed, 2, _score_divergence, None))


def _mean(losses: Mapping[str, float]) -> float:
    """The mean over outputs; 0 where there are none."""
    return float(np.mean(list(losses.values()))) if losses else 0.0


def _by_output(
    dense: Sequence[dict[str, Any]], changed: Sequence[dict[str, Any]], classes: int, scores: Loss, other: Loss | None
) -> dict[str, float]:
    """Loss of each output: one for scores of so many `classes`, another for the rest, which None leaves out."""
    results = {}
    for name in dense[0]:
        if any(d[name].shape != c[name].shape for d, c in zip(dense, changed, strict=True)):
            continue
        expected, actual = ([batch[name] for batch in side] for side in (dense, changed))
        together = [_class_scores(side) for side in (expected, actual)]
        if together[0] is not None and together[1] is not None and _decides(together[0], classes):
            results[name] = scores(together[0], together[1])
            continue
        if other is None:
            continue
        rows = [_rows(side) for side in (expected, actual)]
        energy = float(np.sum(np.square(rows[0])))
        if float(np.sum(np.square(rows[0] - rows[0].mean(axis=0)))) > CONSTANT * energy:
            results[name] = other(*rows)
    return results


def _class_scores(batches: Sequence[npt.NDArray[np.floating]]) -> Array | None:
    """All batches of an output as (samples, classes), or None where it has not one vector a sample."""
    if any(batch.ndim < 2 or max(batch.shape[1:]) != math.prod(batch.shape[1:]) for batch in batches):
        return None
    if len({batch.shape[1:] for batch in batches}) > 1 or batches[0].size == len(batches[0]):
        return None
    return np.concatenate([batch.reshape(len(batch), -1) for batch in batches]).astype(np.float64)


def _decides(scores: Array, classes: int) -> bool:
    """Whether there are so many `classes`, and not nearly always the same one wins, as it would of coordinates."""
    most = np.bincount(scores.argmax(axis=1)).max()
    return bool(scores.shape[1] >= classes and most <= MOST_ALIKE * len(scores))


def _lost_variance(expected: Array, changed: Array) -> float:
    expected, changed = expected - expected.mean(axis=0), changed - changed.mean(axis=0)
    shared = np.sum(expected * changed, axis=0) ** 2 / np.maximum(np.sum(changed**2, axis=0), np.finfo(float).tiny)
    return 1.0 - float(np.sum(shared) / np.sum(expected**2))


def _fitted_divergence(expected: Array, changed: Array) -> float:
    p, q = _log_probabilities(expected), _log_probabilities(changed)
    mean, tiny = p.mean(axis=0), np.finfo(float).tiny
    fitted = q
    if len(p) >= FEWEST_ROWS:
        others = q - q.mean(axis=0)
        # The best affine map of each output is granted: later layers could undo a change of scale or offset.
        scale = np.sum((p - mean) * others, axis=0) / np.maximum(np.sum(others**2, axis=0), tiny)
        fitted = others * scale + mean
    fitted, same = (scipy.special.log_softmax(scores, axis=1) for scores in (fitted, mean[None]))
    return _divergence(p, fitted) / max(_divergence(p, same), tiny)


def _score_divergence(expected: Array, changed: Array) -> float:
    return _divergence(_log_probabilities(expected), _log_probabilities(changed))


def _divergence(p: Array, q: Array) -> float:
    """Mean over the samples of the Kullback-Leibler divergence of log-probabilities q from p, (samples, classes)."""
    return float(np.mean(np.sum(np.exp(p) * (p - q), axis=1)))


def _log_probabilities(scores: npt.NDArray[np.floating]) -> Array:
    """Of logits, or of what is a distribution already."""
    wide = scores.astype(np.float64)
    if (wide >= 0.0).all() and np.allclose(wide.sum(axis=1), 1.0, atol=1e-3):
        return np.asarray(np.log(np.maximum(wide, 1e-12)))
    return np.asarray(scipy.special.log_softmax(wide, axis=1))


def _rows(batches: Sequence[npt.NDArray[np.floating]]) -> Array:
    """Batches of an output as rows (samples, elements); one column where samples are few or differ in size."""
    rows = [batch.reshape(len(batch), -1) if batch.ndim > 1 else batch.reshape(1, -1) for batch in batches]
    if len({row.shape[1] for row in rows}) > 1 or sum(map(len, rows)) < FEWEST_ROWS:
        rows = [row.reshape(-1, 1) for row in rows]
    return np.concatenate(rows).astype(np.float64)
