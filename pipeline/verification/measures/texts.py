"""Measures of language models: perplexity, and how often the most likely next token is the dense model's."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.special

from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.verification.measures.base import (
    Array,
    Batch,
    CorpusMeasure,
    Measure,
    Outputs,
    Reading,
    RowReading,
)
from netsurgeon.pipeline.verification.measures.confidence import DropEstimate, student_ci
from netsurgeon.pipeline.verification.measures.scoring import measurable
from netsurgeon.pipeline.verification.measures.vectors import counted_positions, token_ids, vocabulary_output

IGNORED = -100
"""A label that does not count, as in PyTorch's cross-entropy."""
SUMS_TO_ONE = 1e-3
"""How far sums of probabilities are from 1 at most."""
LARGEST_EXPONENT = 700.0
"""Of a perplexity that is still a number."""


class Perplexity(CorpusMeasure):
    """exp of the mean negative logarithm of the probability that the model gives to the token that follows.

    Labels are the token that each position is to give, `IGNORED` where none counts; without labels the tokens that are
    fed, each at the position before it, where the mask lets both count (Jelinek et al., 1977).
    """

    name = "perplexity"
    takes_pairs = False

    def reading(self) -> RowReading:
        """An empty one."""
        return RowReading(self._read)

    def _read(self, outputs: Outputs, batch: Batch, dense: Outputs | None = None) -> Array:
        """Negative log-likelihood and number of tokens of each sample, (samples, 2)."""
        logits = _logits(outputs, batch, self.name)
        expected = _next_tokens(batch) if batch.labels is None else batch.labels[:, : logits.shape[1]]
        if expected.shape != logits.shape[:2]:
            raise InputError(
                f"the metric perplexity needs a label for each position, {logits.shape[:2]}, not {expected.shape}: the "
                f"token that follows, or {IGNORED} where none counts"
            )
        counted = (expected != IGNORED) & counted_positions(batch, logits.shape[1])
        chosen = np.where(counted, expected, 0).astype(np.int64)
        if chosen.min() < 0 or chosen.max() >= logits.shape[2]:
            raise InputError(
                f"a label is {int(chosen.min() if chosen.min() < 0 else chosen.max())}, which is not a token of the "
                f"model's {logits.shape[2]:,}: {IGNORED} is for positions that do not count"
            )
        return np.array([_likelihood(*row) for row in zip(logits, chosen, counted, strict=True)])

    def check_labels(self, samples: Samples) -> None:
        """Check that labels, where there are any, are tokens.

        Raises:
            InputError: they are not.
        """
        super().check_labels(samples)
        labels = samples.labels
        if labels is not None and (labels.ndim != 2 or labels.dtype.kind not in "iu"):
            raise InputError(
                "the metric perplexity needs a token for each position as labels, (samples, positions), or none at "
                f"all: these are {labels.dtype} of shape {labels.shape}"
            )

    def figure(self, rows: Array) -> Array:
        """Of (draws, samples, sums)."""
        nats, tokens = np.moveaxis(rows.sum(axis=1), -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.exp(np.minimum(nats / tokens, LARGEST_EXPONENT)))


class TopTokens(Reading):
    """The most likely token of each position that counts; each sample has as many as it has."""

    def __init__(self) -> None:
        self.of_samples: list[npt.NDArray[np.int32]] = []

    def add(self, outputs: Outputs, batch: Batch, dense: Outputs | None = None) -> None:
        """Read a batch."""
        logits = _logits(outputs, batch, "token-agreement")
        counted = counted_positions(batch, logits.shape[1])
        tops = logits.argmax(axis=2).astype(np.int32)
        self.of_samples += [row[of_row] for row, of_row in zip(tops, counted, strict=True)]


class TokenAgreement(Measure):
    """Share of the positions at which the most likely token is the dense model's."""

    name = "token-agreement"

    def reading(self) -> TopTokens:
        """An empty one."""
        return TopTokens()

    def figures(self, dense: TopTokens, other: TopTokens) -> tuple[float, float]:
        """1, and the share of positions."""
        changed, positions = _changed(dense, other)
        return 1.0, 1.0 - float(changed.sum() / max(positions.sum(), 1.0))

    def estimate(self, dense: TopTokens, other: TopTokens, seed: int) -> DropEstimate:
        """The share of positions that change, with Student's bounds of a ratio over the samples.

        A ratio's error is, but for terms of higher order, the mean of what each sample has beyond it (Cochran, Sampling
        Techniques, 1977, section 6).
        """
        changed, positions = _changed(dense, other)
        drop = changed.sum() / max(positions.sum(), 1.0)
        beyond = (changed - drop * positions) / max(float(positions.mean()), 1.0)
        return student_ci(self.name, 1.0, drop + beyond)


def _changed(dense: TopTokens, other: TopTokens) -> tuple[Array, Array]:
    """Positions with another token, and positions, of each sample."""
    pairs = list(zip(dense.of_samples, other.of_samples, strict=True))
    if any(before.shape != after.shape for before, after in pairs):
        raise CheckFailedError("a candidate gives another number of tokens: please report this")
    counts = [(int((before != after).sum()), len(before)) for before, after in pairs]
    changed, positions = np.array(counts, np.float64).T
    return changed, positions


def _logits(outputs: Outputs, batch: Batch, title: str) -> npt.NDArray[Any]:
    name = vocabulary_output(outputs, batch)
    if name is None:
        raise InputError(
            f"the metric {title} needs an output of (samples, positions, vocabulary) for an input of (samples, "
            "positions) integers: the model has none"
        )
    logits = measurable(outputs[name])
    assert logits is not None
    return logits


def _next_tokens(batch: Batch) -> npt.NDArray[np.int64]:
    tokens = token_ids(batch)
    following = np.full(tokens.shape, IGNORED, np.int64)
    counted = counted_positions(batch, tokens.shape[1])
    following[:, :-1] = np.where(counted[:, 1:], tokens[:, 1:], IGNORED)
    return following


def _likelihood(
    logits: npt.NDArray[Any], tokens: npt.NDArray[np.int64], counted: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """Nats of the tokens of one sample, and how many they are; of probabilities as of logits."""
    wide = logits[counted].astype(np.float64)
    if wide.size and wide.min() >= 0.0 and np.abs(wide.sum(axis=1) - 1.0).max() < SUMS_TO_ONE:
        with np.errstate(divide="ignore"):
            wide = np.log(wide)
    chosen = wide[np.arange(len(wide)), tokens[counted]]
    return float(np.sum(scipy.special.logsumexp(wide, axis=1) - chosen)), float(len(wide))
