"""Limits and shares that hold for other inputs: exact ranks, coverage in simulations, and controls that fail."""

from fractions import Fraction
from math import comb
from typing import Any

import numpy as np
import pytest
import scipy.stats

from netsurgeon.pipeline.verification.tolerance import (
    ToleranceLimit,
    least_samples,
    limit_rank,
    proven_share,
    tolerance_limit,
)

DRAWS = 2000


def below(rank: int, samples: int, share: Fraction) -> Fraction:
    """P(Binomial(samples, share) < rank), without rounding."""
    return sum(
        (comb(samples, count) * share**count * (1 - share) ** (samples - count) for count in range(rank)), Fraction(0)
    )


@pytest.mark.parametrize("samples", [45, 46, 76, 77, 150, 450])
def test_the_rank_is_the_smallest_that_reaches_the_confidence(samples: int) -> None:
    rank = limit_rank(samples)
    assert rank is not None
    assert below(rank - 1, samples, Fraction(19, 20)) < Fraction(9, 10) <= below(rank, samples, Fraction(19, 20))


@pytest.mark.parametrize(
    ("share", "confidence", "samples"), [(0.95, 0.90, (45, 77, 105)), (0.95, 0.95, (59, 93, 124)), (0.5, 0.75, (2,))]
)
def test_published_sample_sizes_have_the_largest_the_second_and_the_third_value(
    share: float, confidence: float, samples: tuple[int, ...]
) -> None:
    assert least_samples(share, confidence) == samples[0]
    for from_the_top, count in enumerate(samples):
        assert limit_rank(count, share, confidence) == count - from_the_top
        fewer = limit_rank(count - 1, share, confidence)
        assert fewer == (count - from_the_top if from_the_top else None)


@pytest.mark.parametrize(("share", "confidence"), [(0.9, 0.8), (0.95, 0.9), (0.99, 0.95), (0.999, 0.99)])
def test_one_sample_fewer_than_the_least_has_no_limit(share: float, confidence: float) -> None:
    count = least_samples(share, confidence)
    assert tolerance_limit(np.arange(count - 1.0), share, confidence) is None
    assert tolerance_limit(np.arange(float(count)), share, confidence) is not None


def test_the_limit_is_the_sample_of_that_rank_whatever_the_order() -> None:
    values = np.random.default_rng(0).permutation(100).astype(float)
    limit = tolerance_limit(values)
    assert limit == ToleranceLimit(share=0.95, confidence=0.9, samples=100, rank=99, limit=98.0)
    assert tolerance_limit(np.where(values > 97.0, np.nan, values)) != limit
    assert tolerance_limit(np.array([])) is None


def coverage(distribution: Any, samples: int) -> tuple[float, float]:
    """How many of many limits are at or above the true 95 % quantile; the same for one rank less."""
    drawn = distribution.rvs(size=(DRAWS, samples), random_state=np.random.default_rng(0)).astype(float)
    quantile = distribution.ppf(0.95)
    limits = [tolerance_limit(values) for values in drawn]
    at_limit = [limit.limit >= quantile for limit in limits if limit is not None]
    one_rank_less = [
        np.sort(values)[limit.rank - 2] >= quantile for values, limit in zip(drawn, limits, strict=True) if limit
    ]
    assert len(at_limit) == DRAWS
    return float(np.mean(at_limit)), float(np.mean(one_rank_less))


@pytest.mark.parametrize("samples", [45, 120])
@pytest.mark.parametrize(
    "distribution", [scipy.stats.norm(3.0, 2.0), scipy.stats.lognorm(2.0)], ids=["normal", "lognormal"]
)
def test_nine_in_ten_limits_hold_of_continuous_values_as_the_beta_distribution_says(
    distribution: Any, samples: int
) -> None:
    rank = limit_rank(samples)
    assert rank is not None
    exact, too_low = (scipy.stats.beta.sf(0.95, r, samples - r + 1) for r in (rank, rank - 1))
    assert too_low < 0.9 <= exact
    simulated, control = coverage(distribution, samples)
    noise = 4.0 * np.sqrt(0.25 / DRAWS)
    assert simulated == pytest.approx(exact, abs=noise)
    assert control == pytest.approx(too_low, abs=noise)
    assert control < 0.9 - noise


@pytest.mark.parametrize(
    "distribution",
    [
        scipy.stats.poisson(3.0),
        scipy.stats.bernoulli(0.1),
        scipy.stats.bernoulli(0.0501),
        scipy.stats.bernoulli(0.0499),
    ],
    ids=["poisson", "one in ten", "just a twentieth", "just less than a twentieth"],
)
def test_where_values_repeat_limits_hold_at_least_as_often(distribution: Any) -> None:
    simulated, _ = coverage(distribution, 60)
    assert simulated >= 0.9 - 4.0 * np.sqrt(0.09 / DRAWS)


@pytest.mark.parametrize(("count", "samples"), [(1, 1), (3, 7), (38, 45), (448, 450)])
def test_a_proven_share_is_that_for_which_so_many_are_found_one_time_in_ten(count: int, samples: int) -> None:
    share = proven_share(count, samples)
    assert scipy.stats.binom.sf(count - 1, samples, share.at_least) == pytest.approx(0.1)
    assert share.at_least < count / samples


def test_a_share_of_none_and_of_all_have_their_closed_forms() -> None:
    assert proven_share(0, 30).at_least == 0.0
    assert proven_share(30, 30).at_least == pytest.approx(0.1 ** (1 / 30))


@pytest.mark.parametrize("true_share", [0.3, 0.9, 0.97, 0.99])
def test_nine_in_ten_proven_shares_hold_and_shares_that_were_found_do_not(true_share: float) -> None:
    counts = np.arange(101)
    chance = scipy.stats.binom.pmf(counts, 100, true_share)
    holds = [proven_share(int(count), 100).at_least <= true_share for count in counts]
    assert chance @ holds >= 0.9
    assert chance @ (counts / 100 <= true_share) < 0.9


@pytest.mark.parametrize("samples", [45, 104, 105, 450])
def test_as_many_samples_as_the_rank_prove_the_share_and_one_fewer_does_not(samples: int) -> None:
    rank = limit_rank(samples)
    assert rank is not None
    assert proven_share(rank, samples).at_least >= 0.95 > proven_share(rank - 1, samples).at_least
