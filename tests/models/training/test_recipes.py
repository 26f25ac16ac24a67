"""Learning rates follow the published formulas, and constants out of range are refused."""

from typing import Any

import pytest

from netsurgeon.models.training.recipes import CIFAR, LENET, Recipe


@pytest.mark.parametrize("step", [0, 1, 5_000, 19_999])
def test_inv_is_the_formula_of_caffe(step: int) -> None:
    assert LENET.rate(step) == pytest.approx(0.01 * (1 + 1e-4 * step) ** -0.75)


def test_a_cosine_starts_at_the_rate_is_half_of_it_in_the_middle_and_ends_at_zero() -> None:
    assert CIFAR.rate(0) == pytest.approx(0.1)
    assert CIFAR.rate(CIFAR.steps // 2) == pytest.approx(0.05)
    assert CIFAR.rate(CIFAR.steps) == pytest.approx(0.0, abs=1e-12)


def test_a_warm_up_grows_evenly_to_the_full_rate() -> None:
    with_warm_up, without = Recipe(warm_up=4), Recipe()
    shares = [with_warm_up.rate(step) / without.rate(step) for step in range(6)]
    assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "steps is 0, expected 1 or more"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan, expected a number above 0"),
        ({"learning_rate": float("inf")}, "learning_rate is inf"),
        ({"schedule": "step"}, "schedule is 'step', expected one of inv, cosine"),
        ({"optimizer": "lamb"}, "optimizer is 'lamb', expected one of sgd, adam"),
        ({"momentum": 1.0}, "momentum is 1.0, expected at least 0 and less than 1"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
    ],
)
def test_constants_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(**values)
