"""What counts as a loss of the outputs: of class scores what decides the answer, of others their variance."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from netsurgeon.pipeline.verification.measures.output_losses import output_divergence, output_loss

Array = NDArray[Any]


def batches(values: Array, size: int = 16) -> list[dict[str, Any]]:
    return [{"y": values[at : at + size].astype(np.float32)} for at in range(0, len(values), size)]


def loss(dense: Array, changed: Array) -> float:
    return output_loss(batches(dense), batches(changed))


def scores(samples: int = 240, classes: int = 120) -> Array:
    """Logits of a network that is mostly sure, another class each time."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((samples, classes)) + 9.0 * np.eye(classes)[np.arange(samples) % classes]


@pytest.mark.parametrize("shape", [(120,), (120, 1, 1)])
def test_nothing_is_lost_where_means_and_scales_put_it_right(shape: tuple[int, ...]) -> None:
    dense = scores()
    log_p = dense - np.log(np.exp(dense).sum(axis=1, keepdims=True))
    moved = 0.5 * log_p + np.linspace(-1, 1, 120)
    moved -= np.log(np.exp(moved).sum(axis=1, keepdims=True))
    found = loss(dense.reshape(-1, *shape), dense.reshape(-1, *shape))
    assert found == pytest.approx(0.0, abs=1e-9)
    assert loss(dense.reshape(-1, *shape), moved.reshape(-1, *shape)) < 0.02


def test_an_answer_that_no_longer_depends_on_the_sample_has_lost_everything() -> None:
    dense = scores()
    found = loss(dense, np.broadcast_to(dense.mean(axis=0), dense.shape) + 1e-4 * scores()[::-1])
    assert 0.9 < found < 1.1


def test_of_class_scores_the_likely_ones_count() -> None:
    dense, rng = scores(), np.random.default_rng(1)
    noise = rng.standard_normal(len(dense))
    order = np.argsort(-dense, axis=1)
    likely, unlikely = dense.copy(), dense.copy()
    likely[np.arange(len(dense)), order[:, 0]] += noise
    unlikely[np.arange(len(dense)), order[:, -1]] += noise
    assert loss(dense, likely) > 5 * loss(dense, unlikely)


def test_coordinates_are_no_class_scores() -> None:
    """The largest is always the same one: their softmax would hang on it alone."""
    rng = np.random.default_rng(2)
    dense = rng.standard_normal((100, 4)) + np.array([500.0, 100.0, 50.0, 0.0])
    changed = dense.copy()
    changed[:, 1:] = rng.permutation(changed[:, 1:])
    assert loss(dense, changed) > 0.5
    shifted = dense + 0.1 * rng.standard_normal(dense.shape)
    assert loss(dense, shifted) == pytest.approx(0.01, abs=0.01)


def test_feature_maps_count_by_their_variance() -> None:
    rng = np.random.default_rng(3)
    dense = rng.standard_normal((64, 3, 4, 4))
    assert loss(dense, dense + 0.5 * rng.standard_normal(dense.shape)) == pytest.approx(0.2, abs=0.03)


def test_with_few_samples_nothing_is_fitted() -> None:
    dense = scores(samples=8)
    changed = scores(samples=8)
    changed[:, 3] += 2.0
    assert loss(dense, changed) > 0.0
    assert output_divergence(batches(dense), batches(changed)) > 0.0


def test_an_output_that_is_the_same_for_all_samples_says_nothing() -> None:
    dense = np.ones((40, 3, 2))
    assert loss(dense, dense * 2) == 0.0


def test_of_few_classes_the_variance_counts() -> None:
    dense, rng = scores(classes=10), np.random.default_rng(4)
    changed = dense + rng.standard_normal(dense.shape)
    assert loss(dense, changed) == pytest.approx(
        loss(dense[..., None, None, None].repeat(2, 2), changed[..., None, None, None].repeat(2, 2))
    )
