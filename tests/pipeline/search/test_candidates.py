"""What the search asks for is made once, in each fold, and noted."""

import dataclasses
from types import SimpleNamespace
from typing import Any, cast

import pytest

from netsurgeon.pipeline.calibration.sweep import Calibration
from netsurgeon.pipeline.compression import StepContext
from netsurgeon.pipeline.execution.run_folder import RunFolder
from netsurgeon.pipeline.options.options import Options
from netsurgeon.pipeline.pruning.plan import Plan
from netsurgeon.pipeline.search import pruner
from netsurgeon.pipeline.search.candidates import CandidateEvaluator
from netsurgeon.pipeline.search.descent import Descent
from netsurgeon.pipeline.search.pruner import Fold, SearchContext
from netsurgeon.pipeline.verification.drop_evaluator import DropEvaluator
from netsurgeon.pipeline.verification.measures.confidence import DropEstimate, paired_proportion_ci


def test_a_candidate_is_made_in_each_fold_and_delivered_from_all_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are called by the inputs they were corrected on; the file of one has as many bytes as its name says."""
    done: list[str] = []

    def apply_plan(steps: Any, context: StepContext) -> Any:
        done.append(f"corrected on {context.calibration.samples}")
        plan = SimpleNamespace(kept_share=lambda sizes: 0.5)
        rest: Any = {"integers": None, "records": (), "warnings": ()}
        return SimpleNamespace(model=context.calibration.samples, plan=plan, **rest)

    def fold(corrected: str, guide: str, *, is_provisional: bool = True) -> Fold:
        def estimate_drop(model: str, ticks: object) -> DropEstimate:
            del ticks
            done.append(f"{model} judged on {guide}")
            return paired_proportion_ci("top-1", 10, 9, *((2, 0) if guide == "100" else (0, 1)))

        evaluator = cast(DropEvaluator, SimpleNamespace(estimate_drop=estimate_drop))
        return Fold(calibration(corrected), evaluator, is_provisional)

    def calibration(name: str) -> Calibration:
        runtime = SimpleNamespace(session=str, on_integers=lambda: SimpleNamespace(session=str))
        return cast(Calibration, SimpleNamespace(samples=name, runtime=runtime))

    monkeypatch.setattr(pruner, "apply_plan", apply_plan)
    monkeypatch.setattr(pruner, "make_plan", lambda *_: Plan({"a": 5}, {}))
    search_context = SearchContext(
        dense=cast(Any, None),
        selection=cast(Any, SimpleNamespace(sizes={"a": 10})),
        folds=(fold("100", "300"), fold("300", "100")),
        calibration=calibration("999"),
        clock=cast(Any, None),
        size=cast(Any, int),
        options=Options(uniform=True, sparsity=0.5),
        progress=lambda *_: None,
        work=RunFolder(None, {}),
        steps=(),
    )
    evaluator = CandidateEvaluator(search_context)
    candidate = evaluator.candidate(evaluator.structure(0, None), 0.5)
    assert done == ["corrected on 100", "100 judged on 300", "corrected on 300", "300 judged on 100"]
    assert candidate.evidence == paired_proportion_ci("top-1", 20, 18, 2, 1)
    assert (candidate.kept, candidate.bits, candidate.bytes) == (0.5, None, 200)
    assert evaluator.size(candidate) == 999
    assert done[4:] == ["corrected on 999"]
    assert evaluator.as_delivered() is evaluator, "no inputs are left to judge what both halves have corrected"
    alone = CandidateEvaluator(dataclasses.replace(search_context, folds=(fold("999", "300", is_provisional=False),)))
    assert alone.as_delivered() is alone
    assert alone.size(alone.candidate(alone.structure(0, None), 0.5)) == 999
    assert done[5:] == ["corrected on 999", "999 judged on 300"]
    done.clear()
    few = CandidateEvaluator(dataclasses.replace(search_context, folds=(fold("100", "300"),), points=[]))
    assert few.candidate(few.structure(0, None), 0.5).bytes == 100
    delivered = few.as_delivered()
    assert few.as_delivered() is delivered, "what it has made is made once"
    assert delivered.size(delivered.candidate(delivered.structure(0, None), 0.5)) == 999
    assert done == ["corrected on 100", "100 judged on 300", "corrected on 999", "999 judged on 300"]
    assert [point.bytes for point in few.points] == [100, 999], "points are those of both"
    assert few.applied(few.structure(0, None), 0.5) is delivered.applied(few.structure(0, None), 0.5), "made once"
    done.clear()
    hopeless = dataclasses.replace(search_context, folds=search_context.folds[::-1], max_drop=0.05)
    evaluator = CandidateEvaluator(hopeless)
    assert evaluator.candidate(evaluator.structure(0, None), 0.5).evidence == paired_proportion_ci("top-1", 10, 9, 2, 0)
    assert done == ["corrected on 300", "300 judged on 100"], "with 20 % lost in one half no other half mends it"


def test_plans_are_tried_abreast_until_some_lose_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan is called by its share of the weights, of which as much is lost as goes beyond a half."""
    tried: list[tuple[float, ...]] = []

    def estimates(self: CandidateEvaluator, *asked: Any) -> list[DropEstimate]:
        shares = asked[-1]
        tried.append(tuple(shares))
        return [paired_proportion_ci("top-1", 1000, 900, max(0, round(1000 * (0.5 - share))), 0) for share in shares]

    monkeypatch.setattr(CandidateEvaluator, "_estimates_at_low_fidelity", estimates)
    shares = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
    for limit, most in ((0.05, 6), (1.0, 9)):
        context: Any = SimpleNamespace(
            folds=(Fold(cast(Any, None), cast(Any, None)),),
            work=RunFolder(None, {}),
            max_drop=limit,
            calibration=None,
            options=SimpleNamespace(is_hasty=False),
            points=[],
            name="",
        )
        evaluator = CandidateEvaluator(context)
        structure = cast(Any, SimpleNamespace(key="whole", macs=None, timed=None))
        goes_on = Descent(evaluator, structure, limit, is_hasty=False)._goes_on
        estimated = evaluator.evaluate_at_low_fidelity(structure, shares, goes_on)
        assert len(estimated) == most
        assert [point.kept for point in evaluator.points] == list(shares[:most])
    assert tried == [shares[:3], shares[3:6], shares[:3], shares[3:6], shares[6:]]
