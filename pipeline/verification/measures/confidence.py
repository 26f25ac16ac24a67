"""What a sample of inputs can promise: one-sided bounds of a drop, dense and compressed model on the same inputs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.stats

from netsurgeon.pipeline.notation import MeasureName
from netsurgeon.pipeline.verification.measures.scales import COUNTED

Array = npt.NDArray[np.float64]
CONFIDENCE = 0.9
_Z = float(scipy.stats.norm.ppf(CONFIDENCE))
RESAMPLES = 200
MOST_DRAWN = 1 << 22
"""Numbers that are drawn at once."""
_EDGE = 1e-9
FEWEST_INPUTS_TO_PROVE = 4
"""With so many times the inputs without which nothing can be proven, a drop is accepted only where it is proven."""
FEWEST_CHANGED = 10
"""Changed answers of one model that say how many of them are lost for good."""
BOTH_WAYS = 0.5
"""Share of the changed answers that is lost on balance up to which that share grows with them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DropEstimate:
    """How much worse the compressed model is on some inputs, and what that says of all inputs.

    Attributes:
        measure: what drops; "metric" is the user's own, "outputs" the share of the outputs' energy that is not the
            difference's.
        samples: inputs it was measured on.
        dense: figure of the dense model; 1 where models are measured by how close they are to it.
        drop: how much worse the compressed model's is: the difference, or a share of the dense one's (`Scale`).
        low: one-sided 90 % bound: the drop over all inputs is hardly less.
        high: one-sided 90 % bound: the drop over all inputs is hardly more.
        spread: standard deviation of what one input adds to the drop.
    """

    measure: MeasureName
    samples: int
    dense: float
    drop: float
    low: float
    high: float
    spread: float

    def has_enough_samples(self, goal: float) -> bool:
        """Whether so many inputs are enough to ask for a proof that the drop is within the goal.

        What is counted may not differ on any of a few inputs, nor may ranks or tokens; where a figure differs from
        input to input its spread tells.
        """
        is_told_by_spread = self.measure not in COUNTED and self.spread > 0.0
        return is_told_by_spread or has_enough_samples(self.samples, goal)

    @property
    def changed(self) -> float:
        """Mean square of what one input adds to the drop; of answers the share that became right or wrong."""
        return self.spread**2 + self.drop**2

    def needed(self, goal: float) -> int | None:
        """About how many inputs would prove the goal if the drop stayed what it is; None where it is too large."""
        if self.drop >= goal:
            return None
        # the bound comes closer to the drop by the square root of the inputs
        by_bound = self.samples * ((self.high - self.drop) / (goal - self.drop)) ** 2
        least = least_inputs(goal) if self.measure in COUNTED else 0.0
        return math.ceil(max(by_bound, least)) if math.isfinite(by_bound) else None


def least_inputs(goal: float) -> int:
    """Inputs without which a drop cannot be proven to be within the goal even where all answers are the same."""
    return math.ceil(_Z**2 * (1.0 - goal) / goal)


def has_enough_samples(samples: int, goal: float) -> bool:
    """Whether so many inputs are enough to ask for a proof that a drop is within the goal."""
    return samples >= FEWEST_INPUTS_TO_PROVE * least_inputs(goal)


def expected_drop(evidence: DropEstimate, tried: Sequence[DropEstimate]) -> float:
    """The drop that is to be expected, where what was tried can tell it better than the drop found.

    Outputs that are off by a little change answers in proportion to it, but nearly as many become right as wrong: what
    is lost grows with the square, as long as many become right at all. On few inputs a small drop is mostly chance and
    the number of changed answers less so, while larger drops say how the two go together: by least squares, for which
    the variance of a drop is the share of the answers that have changed. (On the same inputs drops are not independent:
    models that are alike count for less than they seem to.) What is expected is no less than the lower bound of the
    drop found, and where a model has lost answers hardly gaining any, it is taken at its word.

    Args:
        evidence: of the model in question.
        tried: of this one and others, on the same inputs.
    """
    near = [estimate for estimate in tried if _goes_both_ways(estimate)]
    most = max((estimate.samples * estimate.changed for estimate in near), default=0.0)
    if evidence.measure != "top-1" or evidence not in near or most < FEWEST_CHANGED:
        return evidence.drop
    factor = sum(estimate.drop * estimate.changed for estimate in near) / sum(estimate.changed**3 for estimate in near)
    return max(factor * evidence.changed**2, evidence.low) if factor > 0.0 else evidence.drop


def _goes_both_ways(evidence: DropEstimate) -> bool:
    beyond = evidence.drop - BOTH_WAYS * evidence.changed
    return beyond <= _Z * math.sqrt(evidence.changed / evidence.samples)


def paired_proportion_ci(measure: MeasureName, samples: int, right: int, lost: int, gained: int) -> DropEstimate:
    """Evidence from answers that are right or wrong.

    The bounds are those of Tango's score interval for the difference of paired proportions (Statistics in Medicine 17,
    1998, 891-908), which stays honest where few or no answers differ; without gained answers it is Wilson's.

    Args:
        measure: what was counted.
        samples: inputs.
        right: answers of the dense model that are right.
        lost: right before, wrong after.
        gained: wrong before, right after.
    """
    drop = (lost - gained) / samples
    spread = math.sqrt(max((lost + gained) / samples - drop**2, 0.0))
    high = _tango(samples, lost, gained)
    low = -_tango(samples, gained, lost)
    return DropEstimate(
        measure=measure, samples=samples, dense=right / samples, drop=drop, low=low, high=high, spread=spread
    )


def _tango(count: int, lost: int, gained: int) -> float:
    """The largest difference that the score test at `CONFIDENCE` does not reject."""

    def excess(difference: float) -> float:
        a, c = 2.0 * count, -gained * difference * (1.0 - difference)
        b = -lost - gained + (2.0 * count - lost + gained) * difference
        share = (math.sqrt(max(b * b - 4.0 * a * c, 0.0)) - b) / (2.0 * a)
        variance = count * (2.0 * share + difference * (1.0 - difference))
        return lost - gained - count * difference + _Z * math.sqrt(max(variance, 0.0))

    start = (lost - gained) / count + _EDGE  # at the drop itself nothing is left to test where no answers differ
    if start >= 1.0 - _EDGE or excess(1.0 - _EDGE) > 0.0:
        return 1.0
    return float(scipy.optimize.brentq(excess, start, 1.0 - _EDGE, xtol=1e-12))


def student_ci(measure: MeasureName, dense: float, shares: Array) -> DropEstimate:
    """Evidence from what each input adds to the drop, (samples,); Student's bounds of the mean."""
    return _student(measure, dense, len(shares), float(np.mean(shares)), float(np.var(shares)))


def pool_folds(parts: Sequence[DropEstimate]) -> DropEstimate:
    """One evidence from those of models that were made alike, each on its part of the inputs.

    Args:
        parts: of one measure; several of them only of one that is a mean over the inputs.
    """
    if len(parts) == 1:
        return parts[0]
    measure, samples = parts[0].measure, sum(part.samples for part in parts)

    def mean(figure: Callable[[DropEstimate], float]) -> float:
        return sum(part.samples * figure(part) for part in parts) / samples

    dense, drop = mean(lambda estimate: estimate.dense), mean(lambda estimate: estimate.drop)
    if measure not in COUNTED:
        return _student(
            measure, dense, samples, drop, mean(_variance) + mean(lambda estimate: estimate.drop**2) - drop**2
        )
    right, differ, balance = (
        round(samples * share) for share in (dense, mean(lambda estimate: estimate.changed), drop)
    )
    return paired_proportion_ci(measure, samples, right, (differ + balance) // 2, (differ - balance) // 2)


def _variance(evidence: DropEstimate) -> float:
    """Mean square about the mean of what one input adds to the drop."""
    return evidence.spread**2 * (evidence.samples - 1) / evidence.samples if evidence.samples > 1 else 0.0


def _student(measure: MeasureName, dense: float, count: int, drop: float, variance: float) -> DropEstimate:
    """Student's bounds of a mean, from that of `count` inputs and the mean square about it."""
    spread = math.sqrt(variance * count / (count - 1)) if count > 1 else math.inf
    reach = float(scipy.stats.t.ppf(CONFIDENCE, count - 1)) * spread / math.sqrt(count) if count > 1 else math.inf
    return DropEstimate(
        measure=measure, samples=count, dense=dense, drop=drop, low=drop - reach, high=drop + reach, spread=spread
    )


def bootstrap_ci(
    measure: MeasureName,
    samples: int,
    *,
    units: int,
    width: int = 1,
    dense: float,
    drop: float,
    again: Callable[[npt.NDArray[np.int64]], Array],
    seed: int,
) -> DropEstimate:
    """Evidence for a figure of all inputs together: percentiles of its drop over RESAMPLES paired bootstrap samples.

    Samples on which the figure is NaN are left out, unless they are the half.

    Args:
        measure: what was measured.
        samples: inputs.
        units: what is drawn: inputs, or pairs or groups of them, which are independent of each other.
        width: numbers of a unit, which bound how many are drawn at once.
        dense: figure of the dense model.
        drop: how much worse the compressed model's is.
        again: the drops on the units of these numbers, (draws, units) -> (draws,).
        seed: of the samples drawn.
    """
    rng = np.random.default_rng(seed)
    at_once = max(1, min(RESAMPLES, MOST_DRAWN // (units * width)))
    parts = [min(at_once, RESAMPLES - start) for start in range(0, RESAMPLES, at_once)]
    drops = np.concatenate([again(rng.integers(0, units, (count, units))) for count in parts])
    told = drops[~np.isnan(drops)]  # an area under a curve is no number where a class is drawn nowhere
    drops = told if 2 * len(told) > RESAMPLES else drops
    low, high = np.quantile(drops, (1.0 - CONFIDENCE, CONFIDENCE))
    spread = float(np.std(drops, ddof=1)) * math.sqrt(samples)
    return DropEstimate(
        measure=measure,
        samples=samples,
        dense=dense,
        drop=drop,
        low=min(float(low), drop),
        high=max(float(high), drop),
        spread=spread,
    )
