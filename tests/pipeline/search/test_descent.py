"""Which of the candidates is taken, by what is known of their drops."""

from collections.abc import Sequence
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
    descent = Descent(cast(CandidateEvaluator, None), cast(Structure, None), 0.01, is_hasty=False)
    descent.has_enough = False
    unlucky, lucky, beyond = (paired_proportion_ci("top-1", 250, 210, *each) for each in ((3, 1), (9, 9), (5, 2)))
    descent.low_fidelity_estimates = [paired_proportion_ci("top-1", 250, 210, 14, 6), unlucky, lucky, beyond]
    assert unlucky.drop > UNPROVEN * 0.01
    assert descent._excess(unlucky) <= 0.0
    assert lucky.drop == 0.0
    assert descent._excess(lucky) > 0.0
    assert descent._excess(beyond) > 0.0


def descent_of(drops: dict[float, tuple[int, int]], *, is_hasty: bool) -> tuple[Descent, list[float]]:
    """A descent from a half of the weights, and the shares that it asks for; answers of 1,000 lost and won at each."""
    made: list[float] = []

    def candidate(structure: Structure, share: float) -> Any:
        del structure
        made.append(round(share, 3))
        return SimpleNamespace(evidence=paired_proportion_ci("top-1", 1000, 900, *drops[round(share, 3)]), share=share)

    context = SimpleNamespace(options=SimpleNamespace(uniform=True), progress=lambda *_: None)
    evaluator = cast(CandidateEvaluator, SimpleNamespace(context=context, candidate=candidate))
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

    def estimates(structure: Structure, shares: Sequence[float]) -> list[DropEstimate]:
        del structure
        return [good if share >= 0.5 else bad for share in shares]

    evaluator: Any = descent.evaluator
    evaluator.context.options.uniform, evaluator.context.dense = False, None
    descent.structure = cast(Structure, SimpleNamespace(selection=SimpleNamespace(sizes={})))
    evaluator.evaluate_at_low_fidelity, evaluator.share_like = estimates, lambda structure, share: share
    assert descent._start() == pytest.approx(start)


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
