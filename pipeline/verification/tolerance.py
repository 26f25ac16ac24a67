"""What holds for most other inputs, whatever they and the network are like: limits by rank, shares by count.

Let X_1, …, X_n be drawn independently from a distribution F, be X_(1) ≤ … ≤ X_(n) in order, and q = inf {x: F(x) ≥ p}.
A share of at least p keeps to X_(r), which is F(X_(r)) ≥ p, exactly where X_(r) ≥ q, for F is continuous from the
right. X_(r) < q says that r samples or more lie below q, and each does with a probability of F(q−) ≤ p. So

    P(F(X_(r)) ≥ p)  =  P(Binomial(n, F(q−)) < r)  ≥  P(Binomial(n, p) < r)  =  P(Beta(r, n − r + 1) ≥ p)

with equality where F is continuous; where values repeat, F(q−) may be less than p and the statement only becomes safer.
The limit is the X_(r) of the smallest r for which the right side reaches the confidence. There is one from the n on for
which 1 − pⁿ does: 45 for 95 % of the inputs with 90 % confidence.

S. S. Wilks, Determination of sample sizes for setting tolerance limits, Annals of Mathematical Statistics 12 (1941),
91-96; G. J. Hahn and W. Q. Meeker, Statistical Intervals (1991), chapter 5.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import scipy.stats

from netsurgeon.pipeline.verification.measures.confidence import CONFIDENCE, Array

SHARE = 0.95
"""Of all inputs like the samples: the share that limits are given for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToleranceLimit:
    """At least a share of all inputs like the samples has a value of at most `limit`.

    Attributes:
        share: of the inputs that keep to the limit, at least.
        confidence: how probable it was, before the samples were drawn, that the statement would hold.
        samples: inputs that it rests on.
        rank: of the sample that is the limit: 1 = that of the smallest value.
        limit: its value.
    """

    share: float
    confidence: float
    samples: int
    rank: int
    limit: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProvenShare:
    """At least a share of all inputs like the samples has what some of the samples have.

    Attributes:
        count: samples that have it.
        samples: inputs that it rests on.
        confidence: how probable it was, before the samples were drawn, that the statement would hold.
        at_least: the share.
    """

    count: int
    samples: int
    confidence: float
    at_least: float


def tolerance_limit(values: Array, share: float = SHARE, confidence: float = CONFIDENCE) -> ToleranceLimit | None:
    """The limit that a share of all inputs keeps to, see above; None where the samples are too few for one.

    Args:
        values: one a sample, (samples,), drawn independently; NaN counts as the largest.
        share: of the inputs, between 0 and 1.
        confidence: of the statement, between 0 and 1.
    """
    rank = limit_rank(len(values), share, confidence)
    if rank is None:
        return None
    limit = float(np.partition(values, rank - 1)[rank - 1])
    return ToleranceLimit(share=share, confidence=confidence, samples=len(values), rank=rank, limit=limit)


def limit_rank(samples: int, share: float = SHARE, confidence: float = CONFIDENCE) -> int | None:
    """The smallest r with P(Binomial(samples, share) < r) ≥ confidence; None where it would be beyond the last."""
    rank = int(scipy.stats.binom.ppf(confidence, samples, share)) + 1
    return rank if rank <= samples else None


def least_samples(share: float = SHARE, confidence: float = CONFIDENCE) -> int:
    """Samples without which there is no limit, not even the largest value."""
    return math.ceil(math.log1p(-confidence) / math.log(share))


def proven_share(count: int, samples: int, confidence: float = CONFIDENCE) -> ProvenShare:
    """The lower bound of a share by Clopper and Pearson (Biometrika 26, 1934, 404-413), one-sided.

    It is the share for which so many samples or more would have been found with a probability of 1 − confidence.

    Args:
        count: samples that have what is counted.
        samples: all of them, at least one, drawn independently.
        confidence: of the statement, between 0 and 1.
    """
    at_least = float(scipy.stats.beta.ppf(1.0 - confidence, count, samples - count + 1)) if count else 0.0
    return ProvenShare(count=count, samples=samples, confidence=confidence, at_least=at_least)
