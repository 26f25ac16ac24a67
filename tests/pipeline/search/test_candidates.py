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
from netsurgeon.pipeline.search.pruner import Fold, SearchContext
from netsurgeon.pipeline.verification.drop_evaluator import DropEvaluator
from netsurgeon.pipeline.verification.measures.confidence import DropEstimate, paired_proportion_ci


def test_a_candidate_is_made_in_each_fold_and_delivered_from_all_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are called by the inputs they were corrected on; the file of one has as many bytes as its name says."""
    done: list[str] = []

    def apply_plan(steps: Any, context: StepContext) -> Any:
        done.append(f"corrected on {context.calibration.samples}")
        plan = SimpleNamespace(kept_share=lambda sizes: 0.5)
        return SimpleNamespace(model=context.calibration.samples, plan=plan, integers=None)

    def fold(corrected: str, guide: str) -> Fold:
        def estimate_drop(model: str, ticks: object) -> DropEstimate:
            del ticks
            done.append(f"{model} judged on {guide}")
            return paired_proportion_ci("top-1", 10, 9, *((2, 0) if guide == "100" else (0, 1)))

        return Fold(calibration(corrected), cast(DropEvaluator, SimpleNamespace(estimate_drop=estimate_drop)))

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
    alone = CandidateEvaluator(dataclasses.replace(search_context, folds=(fold("999", "300"),)))
    assert alone.size(alone.candidate(alone.structure(0, None), 0.5)) == 999
    assert done[5:] == ["corrected on 999", "999 judged on 300"]
    done.clear()
    hopeless = dataclasses.replace(search_context, folds=search_context.folds[::-1], max_drop=0.05)
    evaluator = CandidateEvaluator(hopeless)
    assert evaluator.candidate(evaluator.structure(0, None), 0.5).evidence == paired_proportion_ci("top-1", 10, 9, 2, 0)
    assert done == ["corrected on 300", "300 judged on 100"], "with 20 % lost in one half no other half mends it"
