"""Confidence bounds of a drop: closed forms, coverage, and how many inputs are needed."""

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats

from netsurgeon.pipeline.verification.measures import confidence
from netsurgeon.pipeline.verification.measures.confidence import (
    CONFIDENCE,
    RESAMPLES,
    DropEstimate,
    bootstrap_ci,
    expected_drop,
    least_inputs,
    paired_proportion_ci,
    pool_folds,
    student_ci,
)

Z = scipy.stats.norm.ppf(CONFIDENCE)


@pytest.mark.parametrize(("count", "lost"), [(20, 0), (100, 0), (100, 3), (500, 40), (1000, 999)])
def test_without_gained_answers_the_bound_is_wilsons(count: int, lost: int) -> None:
    share = lost / count
    centre = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    reach = Z / (1 + Z**2 / count) * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    assert paired_proportion_ci("agreement", count, count, lost, 0).high == pytest.approx(centre + reach, abs=1e-6)


def test_bounds_mirror_when_lost_and_gained_change_places() -> None:
    one, other = paired_proportion_ci("top-1", 300, 200, 12, 5), paired_proportion_ci("top-1", 300, 200, 5, 12)
    assert (one.drop, one.low, one.high) == pytest.approx((-other.drop, -other.high, -other.low))
    assert one.low < one.drop < one.high


def test_answers_of_parts_are_counted_together() -> None:
    parts = [paired_proportion_ci("top-1", 250, 210, 7, 2), paired_proportion_ci("top-1", 247, 200, 1, 3)]
    assert pool_folds(parts) == paired_proportion_ci("top-1", 497, 410, 8, 5)
    assert pool_folds(parts[:1]) == parts[0]


def test_outputs_of_parts_are_averaged_together() -> None:
    shares = np.random.default_rng(0).exponential(0.01, 90)
    found, whole = (
        pool_folds([student_ci("outputs", 1.0, each) for each in (shares[:1], shares[1:])]),
        student_ci("outputs", 1.0, shares),
    )
    assert dataclasses.astuple(found)[1:] == pytest.approx(dataclasses.astuple(whole)[1:])


@pytest.mark.parametrize("edge", [(50, 50, 0), (50, 0, 50), (1, 1, 0), (1, 0, 1), (1, 0, 0), (40, 20, 20)])
def test_bounds_at_the_edges_are_shares(edge: tuple[int, int, int]) -> None:
    found = paired_proportion_ci("top-1", edge[0], edge[0], *edge[1:])
    assert -1.0 <= found.low <= found.drop <= found.high <= 1.0


@pytest.mark.parametrize(("count", "lost", "gained"), [(100, 0.03, 0.02), (500, 0.03, 0.02), (200, 0.10, 0.05)])
def test_nine_in_ten_bounds_hold(count: int, lost: float, gained: float) -> None:
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(count, [lost, gained, 1 - lost - gained], 1000)
    high = np.mean(
        [paired_proportion_ci("top-1", count, count, int(a), int(b)).high >= lost - gained for a, b, _ in drawn]
    )
    assert 0.86 <= high <= 0.95
    narrower = np.mean(
        [(a - b) / count >= lost - gained for a, b, _ in drawn]
    )  # a drop without a bound promises little
    assert narrower < 0.7


def test_students_bounds_hold() -> None:
    rng = np.random.default_rng(1)
    covered = [student_ci("outputs", 1.0, rng.exponential(0.02, 40)).high >= 0.02 for _ in range(1000)]
    assert 0.82 <= np.mean(covered) <= 0.93


def test_a_bootstrap_of_a_mean_is_about_students() -> None:
    shares = np.random.default_rng(2).normal(0.01, 0.1, 400)
    direct = student_ci("metric", 0.9, shares)
    drawn = bootstrap_ci(
        "metric",
        400,
        units=400,
        dense=0.9,
        drop=float(shares.mean()),
        again=lambda chosen: shares[chosen].mean(axis=1),
        seed=0,
    )
    assert drawn.high == pytest.approx(direct.high, abs=0.002)
    assert drawn.low == pytest.approx(direct.low, abs=0.002)
    assert drawn.spread == pytest.approx(direct.spread, rel=0.15)


def test_resamples_without_a_number_are_left_out() -> None:
    """A class of two members is missing in one of seven resamples; one of one in more than a third."""
    shares = np.random.default_rng(2).normal(0.01, 0.1, 400)

    def bound(rare: int) -> float:
        def again(chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
            return np.where((chosen < rare).any(axis=1), shares[chosen].mean(axis=1), math.nan)

        return bootstrap_ci("metric", 400, units=400, dense=0.9, drop=0.01, again=again, seed=0).high

    for rare in (2, 1):
        assert bound(rare) == pytest.approx(bound(400), abs=0.002)
    assert math.isnan(bound(0))


def test_few_are_drawn_at_once_where_units_are_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples are the same ones."""
    sizes: list[tuple[int, ...]] = []

    def again(chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        sizes.append(chosen.shape)
        return np.asarray(chosen.mean(axis=1))

    def drawn() -> DropEstimate:
        return bootstrap_ci("mse", 50, units=50, width=2, dense=1.0, drop=25.0, again=again, seed=1)

    whole = drawn()
    monkeypatch.setattr(confidence, "MOST_DRAWN", 50 * 2 * 30)
    assert drawn() == whole
    assert {shape[0] for shape in sizes} == {RESAMPLES, 30, RESAMPLES % 30}


@pytest.mark.parametrize("goal", [0.005, 0.01, 0.03])
def test_the_least_inputs_are_just_enough(goal: float) -> None:
    count = least_inputs(goal)
    assert paired_proportion_ci("agreement", count, count, 0, 0).high <= goal
    assert paired_proportion_ci("agreement", count - 2, count - 2, 0, 0).high > goal


def test_as_many_inputs_as_are_needed_prove_the_goal() -> None:
    few = paired_proportion_ci("top-1", 200, 180, 6, 5)
    assert few.high > 0.02
    needed = few.needed(0.02)
    assert needed is not None
    assert needed > 200
    assert paired_proportion_ci("top-1", needed, needed, round(6 * needed / 200), round(5 * needed / 200)).high <= 0.021
    assert few.needed(0.004) is None


def _noisy(rng: np.random.Generator, count: int, noises: tuple[float, ...]) -> list[DropEstimate]:
    """Models whose scores of 50 classes are those of the dense one and noise; labels are drawn as it believes."""
    scores = 2.0 * rng.standard_normal((count, 50))
    labels = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    before, found = scores.argmax(axis=1) == labels, []
    for noise in noises:
        after = (scores + noise * rng.standard_normal(scores.shape)).argmax(axis=1) == labels
        found.append(
            paired_proportion_ci(
                "top-1", count, int(before.sum()), int((before & ~after).sum()), int((after & ~before).sum())
            )
        )
    return found


def test_few_inputs_tell_the_expected_drop_better_than_the_drop_found() -> None:
    rng, noises = np.random.default_rng(0), (0.1, 0.2, 0.3, 0.4, 0.6)
    true = [evidence.drop for evidence in _noisy(rng, 400_000, noises)]
    found, expected = [], []
    for _ in range(60):
        tried = _noisy(rng, 250, noises)
        found.append([each.drop for each in tried])
        expected.append([expected_drop(each, tried) for each in tried])
    errors = [np.sqrt(np.mean((np.array(each) - true) ** 2, axis=0)) for each in (found, expected)]
    assert (errors[1][:3] < 0.75 * errors[0][:3]).all()
    assert errors[1][0] < 0.5 * errors[0][0]
    assert np.abs(np.mean(expected, axis=0)[:3] - true[:3]).max() < 0.004


def test_where_hardly_any_answer_changes_the_drop_found_is_expected() -> None:
    few = [paired_proportion_ci("top-1", 100, 90, 3, 1), paired_proportion_ci("top-1", 100, 90, 60, 2)]
    assert expected_drop(few[0], few) == few[0].drop
    gaining = [paired_proportion_ci("top-1", 250, 200, 5, 25), paired_proportion_ci("top-1", 250, 200, 3, 2)]
    assert expected_drop(gaining[1], gaining) == gaining[1].drop
    agreement = [paired_proportion_ci("agreement", 1000, 1000, 50, 0)]
    assert expected_drop(agreement[0], agreement) == agreement[0].drop


def test_a_model_that_only_loses_is_taken_at_its_word() -> None:
    tried = [
        paired_proportion_ci("top-1", 250, 210, 30, 10),
        paired_proportion_ci("top-1", 250, 210, 15, 0),
        paired_proportion_ci("top-1", 250, 210, 5, 0),
    ]
    assert expected_drop(tried[1], tried) == tried[1].drop == 0.06
    assert expected_drop(tried[2], tried) == tried[2].low > 0.005
    both = [tried[0], paired_proportion_ci("top-1", 250, 210, 4, 3)]
    assert 0.0 < expected_drop(both[1], both) < both[1].drop
