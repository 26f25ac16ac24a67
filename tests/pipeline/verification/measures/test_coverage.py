"""How often the bounds of a drop hold, measure by measure, on samples of a population whose drop is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from netsurgeon.pipeline.verification.measures import F1, Auc, Perplexity, Psnr, Spearman, SquaredDifference
from netsurgeon.pipeline.verification.measures.base import CorpusMeasure, RowReading
from netsurgeon.pipeline.verification.measures.confidence import student_ci

Array = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], tuple[Array, Array]]
UNITS, TIMES, MANY = 150, 250, 400_000


def of_numbers(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """A label, and what two models say of it: the second one adds noise to the first one's."""
    label = rng.standard_normal(count)
    dense = label + 0.6 * rng.standard_normal(count)
    other = dense + 0.5 * rng.standard_normal(count)
    return np.stack([dense, label], axis=1), np.stack([other, label], axis=1)


def of_halves(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """The same with labels of 0 and 1."""
    first, second = of_numbers(rng, count)
    for side in (first, second):
        side[:, 1] = side[:, 1] > 0.5
    return first, second


def of_answers(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Answers of three classes, of which the second model changes some."""
    label = rng.choice(3, count, p=[0.6, 0.3, 0.1])
    dense = np.where(rng.random(count) < 0.8, label, rng.integers(0, 3, count))
    other = np.where(rng.random(count) < 0.9, dense, rng.integers(0, 3, count))
    return np.stack([dense, label], axis=1).astype(float), np.stack([other, label], axis=1).astype(float)


def of_scores(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Scores of five classes, two of them so rare that samples and draws may have none of them."""
    label = rng.choice(5, count, p=[0.5, 0.3, 0.17, 0.02, 0.01])
    dense = np.eye(5)[label] + 0.6 * rng.standard_normal((count, 5))
    other = dense + 0.5 * rng.standard_normal((count, 5))
    return np.column_stack([dense, label]), np.column_stack([other, label])


def of_sums(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Nats or squares of texts and pictures of all sizes, and how many they are of."""
    numbers = rng.integers(5, 60, count).astype(float)
    level = rng.gamma(4.0, 0.5, count)
    return (
        np.stack([numbers * level, numbers], axis=1),
        np.stack([numbers * level * (1.05 + 0.2 * rng.standard_normal(count)), numbers], axis=1),
    )


def rows_of(values: Array) -> RowReading:
    rows = RowReading(lambda outputs, batch, dense: values)
    rows.add({}, None)  # type: ignore[arg-type]
    return rows


@pytest.mark.parametrize(
    ("measure", "draw"),
    [
        (Spearman(is_paired=False), of_numbers),
        (Auc(is_paired=False), of_halves),
        (Auc(is_paired=False, class_count=5), of_scores),
        (F1(3), of_answers),
        (Perplexity(), of_sums),
        (SquaredDifference(), of_sums),
        (Psnr(1.0), of_sums),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_about_nine_in_ten_bounds_hold(measure: CorpusMeasure, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netsurgeon.pipeline.verification.measures.confidence.RESAMPLES", 100)
    rng = np.random.default_rng(0)
    figures = [float(measure.figure(side[None])[0]) for side in draw(rng, MANY)]
    true = float(measure.scale.drop(*figures))
    estimates = []
    for number in range(TIMES):
        dense, other = map(rows_of, draw(rng, UNITS))
        estimates.append(measure.estimate(dense, other, number))
    assert true > 0.0
    most = 0.99 if draw is of_scores else 0.96  # of classes with one or two positives bounds are on the safe side
    assert 0.84 <= np.mean([estimate.high >= true for estimate in estimates]) <= most
    assert 0.84 <= np.mean([estimate.low <= true for estimate in estimates]) <= most
    assert np.mean([estimate.drop >= true for estimate in estimates]) < 0.65, "the drop found promises little"


def test_the_bounds_of_a_share_of_tokens_hold_though_texts_are_of_all_lengths() -> None:
    rng = np.random.default_rng(1)
    hits = []
    for _ in range(2000):
        positions = rng.integers(5, 60, 80)
        changed = rng.binomial(positions, rng.beta(1.0, 19.0, 80))
        drop = changed.sum() / positions.sum()
        beyond = (changed - drop * positions) / positions.mean()
        hits.append(student_ci("token-agreement", 1.0, drop + beyond).high >= 0.05)
    assert 0.83 <= np.mean(hits) <= 0.93
