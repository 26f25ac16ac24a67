"""Which of the candidates is taken, by what is known of their drops."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from netsurgeon.pipeline.search import descent as module
from netsurgeon.pipeline.search.candidates import CandidateEvaluator
from netsurgeon.pipeline.search.descent import BOUND_FAST, UNPROVEN, Descent
from netsurgeon.pipeline.search.pruner import Structure
from netsurgeon.pipeline.verification import DropEstimate
from netsurgeon.pipeline.verification.measures.confidence import paired_proportion_ci


def test_where_nothing_can_be_proven_the_expected_drop_decides_and_the_drop_found_has_a_veto() -> None:
    descent, _ = descent_of({}, is_hasty=False, guiding=250)
    descent.has_enough = False
    unlucky, lucky, beyond = (paired_proportion_ci("top-1", 250, 210, *each) for each in ((3, 1), (9, 9), (5, 2)))
    descent.low_fidelity_estimates = [paired_proportion_ci("top-1", 250, 210, 14, 6), unlucky, lucky, beyond]
    assert unlucky.drop > UNPROVEN * 0.01
    assert descent._excess(unlucky) <= 0.0
    assert lucky.drop == 0.0
    assert descent._excess(lucky) > 0.0
    assert descent._excess(beyond) > 0.0


GoesOn = Callable[[Sequence[DropEstimate]], bool]


def descent_of(
    drops: dict[float, tuple[int, int]], *, is_hasty: bool, guiding: int = 1000
) -> tuple[Descent, list[float]]:
    """A descent from a half of the weights, and the shares that it asks for; answers lost and won at each."""
    made: list[float] = []

    def candidate(structure: Structure, share: float) -> Any:
        del structure
        made.append(round(share, 3))
        evidence = paired_proportion_ci("top-1", guiding, guiding * 9 // 10, *drops[round(share, 3)])
        return SimpleNamespace(evidence=evidence, share=share)

    context = SimpleNamespace(options=SimpleNamespace(uniform=True), progress=lambda *_: None)
    evaluator = cast(CandidateEvaluator, SimpleNamespace(context=context, candidate=candidate))
    cast(Any, evaluator).guiding_samples = guiding
    return Descent(evaluator, cast(Structure, None), 0.01, is_hasty=is_hasty), made


@pytest.mark.parametrize(
    ("whole", "found"), [((1, 1), 1.0), ((8, 6), 1.0), ((12, 10), 1.0), ((14, 7), None), ((30, 10), None)]
)
def test_a_first_look_makes_one_candidate_and_one_with_all_weights(whole: tuple[int, int], found: float | None) -> None:
    descent, made = descent_of({0.5: (60, 10), 1.0: whole}, is_hasty=True)
    best = descent.run()
    assert made == [0.5, 1.0]
    assert (best and best.share) == found


def test_a_first_look_delivers_the_surest_where_no_bound_is_near_the_goal() -> None:
    descent, _ = descent_of({0.5: (80, 76), 1.0: (70, 69)}, is_hasty=True)
    best = descent.run()
    assert best is not None
    assert best.share == 1.0
    assert all(candidate.evidence.high > BOUND_FAST * 0.01 for candidate in descent.candidates.values())


@pytest.mark.parametrize(("is_hasty", "start"), [(True, 0.75), (False, np.sqrt(0.5 * 0.35))])
def test_a_first_look_starts_where_low_fidelity_holds_for_it_has_no_second_try(
    is_hasty: bool, start: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "can_evaluate_at_low_fidelity", lambda *_: True)
    descent, _ = descent_of({}, is_hasty=is_hasty)
    good, bad = (paired_proportion_ci("top-1", 100_000, 90_000, *answers) for answers in ((9, 9), (9_000, 0)))

    def estimates(structure: Structure, shares: Sequence[float], goes_on: GoesOn) -> list[DropEstimate]:
        del structure
        assert (goes_on([good]), goes_on([good, bad])) == (True, False)
        return [good if share >= 0.5 else bad for share in shares]

    evaluator: Any = descent.evaluator
    evaluator.context.options.uniform, evaluator.context.dense = False, None
    descent.structure = cast(Structure, SimpleNamespace(selection=SimpleNamespace(sizes={})))
    evaluator.evaluate_at_low_fidelity, evaluator.share_like = estimates, lambda structure, share: share
    assert descent._start() == pytest.approx(start)


@pytest.mark.parametrize(("is_hasty", "goes_on"), [(True, False), (False, True)])
def test_a_first_look_tries_no_smaller_share_than_one_that_is_not_within_the_limit(
    is_hasty: bool, goes_on: bool
) -> None:
    descent, _ = descent_of({}, is_hasty=is_hasty)
    whole, part = (
        paired_proportion_ci("top-1", count, count, *lost) for count, lost in ((1000, (3, 3)), (250, (6, 2)))
    )
    assert part.low < 0.01 < part.high
    assert descent._goes_on([whole, part]) == goes_on


def test_a_first_look_takes_what_is_proven_though_rehearsals_were_judged_on_too_few_inputs_to_prove_it() -> None:
    """The 500 of a part are too few to prove 1 %; all 2,000, of which the candidate is judged, are not."""
    descent, _ = descent_of({0.5: (12, 1)}, is_hasty=True, guiding=2000)
    part = paired_proportion_ci("top-1", 500, 450, 40, 5)
    assert not descent._goes_on([part, part])
    assert not part.has_enough_samples(0.01)
    best = descent._descend(0.5)
    assert best is not None
    assert best.share == 0.5
    assert best.evidence.drop > UNPROVEN * 0.01, "what is not proven would have to lose less"


def test_what_is_expected_of_a_candidate_is_not_told_by_rehearsals_on_a_part_of_the_inputs() -> None:
    descent, _ = descent_of({}, is_hasty=True)
    part, whole = (
        paired_proportion_ci("top-1", count, count, *lost) for count, lost in ((250, (60, 30)), (1000, (9, 5)))
    )
    descent.candidates = {0.5: cast(Any, SimpleNamespace(evidence=whole))}
    expected = descent._unproven(whole)
    descent._take([part, part])
    assert descent._unproven(whole) == expected
    descent.low_fidelity_estimates = [dataclasses.replace(part, samples=1000)]
    assert descent._unproven(whole) != expected, "of all inputs they would tell"


def test_what_is_expected_of_a_candidate_is_not_told_by_one_that_was_broken_off_after_half_of_the_inputs() -> None:
    descent, _ = descent_of({}, is_hasty=False)
    half, whole = (
        paired_proportion_ci("top-1", count, count * 9 // 10, *answers)
        for count, answers in ((500, (60, 30)), (1000, (9, 5)))
    )
    descent.candidates = {0.5: cast(Any, SimpleNamespace(evidence=whole))}
    expected = descent._unproven(whole)
    descent.candidates[0.2] = cast(Any, SimpleNamespace(evidence=half))
    assert descent._unproven(whole) == expected
    assert descent._unproven(half) > 0.0, "it is beyond the limit still"
    descent.candidates[0.2] = cast(Any, SimpleNamespace(evidence=dataclasses.replace(half, samples=1000)))
    assert descent._unproven(whole) != expected, "of all inputs it would tell"


def test_a_full_search_goes_on_where_a_bound_is_no_number() -> None:
    descent, _ = descent_of({}, is_hasty=False)
    estimate = dataclasses.replace(paired_proportion_ci("top-1", 1000, 900, 9, 9), low=math.nan)
    assert descent._goes_on([estimate])


@pytest.mark.parametrize(
    ("answers", "excesses"), [((4, 3), (-1, 1)), ((0, 0), (-1, -1)), ((1, 1), (-1, -1)), ((12, 12), (-1, 1))]
)
def test_a_first_look_is_stricter_where_nothing_can_be_proven(
    answers: tuple[int, int], excesses: tuple[int, int]
) -> None:
    evidence = paired_proportion_ci("top-1", 250, 210, *answers)
    for is_hasty, sign in zip((False, True), excesses, strict=True):
        descent, _ = descent_of({}, is_hasty=is_hasty)
        descent.has_enough = False
        assert descent._excess(evidence) * sign > 0.0


def searched(excess_at: float, *, rehearsed_at: float) -> tuple[Descent, list[float]]:
    """A descent among candidates that lose more than the limit below a share, where rehearsals do below another one."""
    made: list[float] = []

    def evidence(share: float, limit: float) -> DropEstimate:
        return paired_proportion_ci("top-1", 100_000, 90_000, round(1000 * (limit / share) ** 2), 0)

    def candidate(structure: Structure, share: float) -> Any:
        del structure
        made.append(share)
        return SimpleNamespace(evidence=evidence(share, excess_at), share=share)

    options = SimpleNamespace(uniform=False)
    context = SimpleNamespace(options=options, progress=lambda *_: None, dense=None)
    evaluator: Any = SimpleNamespace(context=context, candidate=candidate, share_like=lambda _, share: share)
    evaluator.guiding_samples = 100_000
    evaluator.evaluate_at_low_fidelity = lambda _, shares, goes_on: [evidence(share, rehearsed_at) for share in shares]
    structure = cast(Structure, SimpleNamespace(selection=SimpleNamespace(sizes={})))
    return Descent(evaluator, structure, 0.01, is_hasty=False), made


@pytest.mark.parametrize(("limit", "rehearsed"), [(0.2, 0.4), (0.3, 0.3), (0.1, 0.05), (0.05, 0.1)])
def test_rehearsals_say_where_the_second_candidate_lies(
    limit: float, rehearsed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What candidates lose at a share rehearsals lose at another one, so many times as large: three hold the limit."""
    monkeypatch.setattr(module, "can_evaluate_at_low_fidelity", lambda *_: True)
    descent, made = searched(limit, rehearsed_at=rehearsed)
    best = descent.run()
    assert best is not None
    assert limit <= best.share < 1.12 * limit
    assert len(made) <= 4
    assert 0.75 * limit < made[1] < 1.35 * limit


@pytest.mark.parametrize(("better", "tries"), [(1.1, 1), (0.95, 2), (0.8, 3), (0.5, 4)])
def test_the_delivered_candidate_is_asked_for_where_the_others_have_met_the_limit(better: float, tries: int) -> None:
    """Candidates on all inputs lose as much at a share that is so many times smaller; they are no worse, mostly."""
    descent, _ = searched(0.2, rehearsed_at=0.2)
    descent.candidates = {share: descent.evaluator.candidate(descent.structure, share) for share in (0.19, 0.22)}
    delivered, made = searched(0.2 / better, rehearsed_at=0.2)
    settled = descent.settled(delivered.evaluator)
    assert settled.best is not None
    assert made[0] == pytest.approx(0.205, rel=0.02)
    assert made[1:] == [0.22, 0.22 * module.STEP, 1.0][: tries - 1]
    assert settled.best.share == made[-1]


def test_where_no_candidate_is_within_the_limit_the_whole_model_as_it_is_delivered_is_asked() -> None:
    descent, _ = searched(2.0, rehearsed_at=0.2)
    descent.candidates = {1.0: descent.evaluator.candidate(descent.structure, 1.0)}
    delivered, made = searched(0.9, rehearsed_at=0.2)
    settled = descent.settled(delivered.evaluator)
    assert made == [1.0]
    assert settled.best is not None


@pytest.mark.parametrize(
    ("excess_at", "delivered_at", "is_beyond"), [(0.9, 0.9, False), (1.01, 0.9, False), (1.01, 1.005, True)]
)
def test_the_whole_model_is_made_as_it_is_delivered_where_the_other_is_not_surely_beyond(
    excess_at: float, delivered_at: float, is_beyond: bool
) -> None:
    descent, _ = searched(excess_at, rehearsed_at=0.2)
    delivered, made = searched(delivered_at, rehearsed_at=0.2)
    cast(Any, descent.evaluator).as_delivered = lambda: delivered.evaluator
    assert descent.whole_is_beyond() is is_beyond
    assert made == ([] if excess_at == 0.9 else [1.0])


def test_a_whole_model_that_is_surely_beyond_is_not_made_again() -> None:
    descent, _ = searched(2.0, rehearsed_at=0.2)
    assert descent.whole_is_beyond(), "it would raise if it were asked as it is delivered"


@pytest.mark.parametrize(
    ("drops", "shares", "best_share"),
    [
        ({0.385: (60, 10), 0.65: (1, 1), 0.552: (60, 10)}, [0.385], None),
        ({0.385: (1, 1), 0.296: (60, 10)}, [0.385, 0.296], 0.385),
    ],
)
def test_no_candidate_above_an_accepted_one_is_repaired_though_it_seems_beyond_the_limit_by_itself(
    drops: dict[float, tuple[int, int]], shares: list[float], best_share: float | None
) -> None:
    """A search whose other candidates spoke for it has taken 0.8 % of 1 %; where nothing else is known 0.5 % are."""
    descent, made = descent_of(drops, is_hasty=False, guiding=500)
    evidence = paired_proportion_ci("top-1", 500, 450, 5, 1)
    candidate: Any = SimpleNamespace(evidence=evidence, share=0.5)
    best = descent.run_below(candidate)
    assert not descent.has_enough
    assert descent._excess(evidence) > 0.0
    assert made == shares
    assert (best and round(best.share, 3)) == best_share
