"""A search from the user's goals to the facts of the report, with the final word of inputs that guided nothing."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import onnx_ir as ir

from netsurgeon.passes.layers import positions_of
from netsurgeon.pipeline.calibration import Calibration, Selection
from netsurgeon.pipeline.compression import QuantizeLayers, ShortenTables, Steps
from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.execution import RunFolder
from netsurgeon.pipeline.model_files import LoadedModel, data_facts
from netsurgeon.pipeline.options import Goals, Options
from netsurgeon.pipeline.profiling import Profile, StructureTimer
from netsurgeon.pipeline.progress import Progress, Ticks, no_ticks, part_of
from netsurgeon.pipeline.quantization import TARGETS, integers_of_a_weight
from netsurgeon.pipeline.runtime import Runtime, Session
from netsurgeon.pipeline.search.candidate_search import SearchResult, search
from netsurgeon.pipeline.search.candidates import CandidateEvaluator
from netsurgeon.pipeline.search.provisional import ROWS_SHARE, provisional_inputs
from netsurgeon.pipeline.search.pruner import Fold, SearchContext
from netsurgeon.pipeline.search.record import SearchFacts
from netsurgeon.pipeline.search.sparse_search import search_on_sparse_kernels
from netsurgeon.pipeline.tables import SHARE_OF_DROP, TablePlan, choose_tables, choose_within
from netsurgeon.pipeline.trimming import TrimPlan
from netsurgeon.pipeline.verification import (
    DropEvaluator,
    Inputs,
    Judging,
    Validation,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GoalSearch:
    """A search for some goals on some inputs.

    Attributes:
        goals: what is wanted.
        source: the model.
        inputs: what it is run on.
        guide: those of them that guide the search.
        options: as given.
        runtime: how sessions are made.
        clock: times structures.
        judging: how models are judged.
        size: bytes of a model's file, packed.
        steps: what is done to each candidate.
        step_options: options of steps that are not part of netsurgeon, by step name.
    """

    goals: Goals
    source: LoadedModel
    inputs: Inputs
    guide: Samples
    options: Options
    runtime: Runtime
    clock: StructureTimer
    judging: Judging
    size: Callable[[ir.Model], int]
    steps: Steps
    step_options: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def search(
        self,
        selection: Selection,
        calibration: Calibration,
        trim: TrimPlan | None,
        progress: Progress,
        work: RunFolder,
        *,
        dense: Session,
    ) -> SearchResult:
        """Find the model.

        Args:
            selection: layers that take part.
            calibration: inputs that the delivered model is corrected on.
            trim: units that go in any case.
            progress: called with stage, steps done and steps in all.
            work: what is kept for a run that goes on.
            dense: a session of the model as it came.

        Raises:
            CheckFailedError: no model was found that keeps to the goals.
        """
        ticks, parts = functools.partial(progress, "judging the dense model"), len(self.inputs.folds)
        provisional = provisional_inputs(self.inputs, self.options, selection.layers, positions_of(self.source.model))
        folds = tuple(
            Fold(
                _calibration_of(calibration, fold.corrected, samples),
                self._drop_evaluator(dense, fold.guide, part_of(ticks, number, parts)),
                is_provisional=samples is not None,
            )
            for number, (fold, samples) in enumerate(zip(self.inputs.folds, provisional, strict=True))
        )
        options = candidate_options(self.options)
        context = SearchContext(
            dense=self.source.model,
            selection=selection,
            folds=folds,
            calibration=calibration,
            clock=self.clock,
            size=self.size,
            options=options,
            progress=progress,
            work=work,
            steps=self.steps,
            step_options=self.step_options,
            repairs_structures=self.options.repairs_structures,
            max_drop=self.goals.max_drop,
        )
        context = dataclasses.replace(context, tables=self._tables(context))
        if not (self.options.goes_by_sparse_times and self._quantizes):
            return self._search_with(context, trim)
        return self._search_for_sparse_kernels(context, trim)

    def _search_for_sparse_kernels(self, context: SearchContext, trim: TrimPlan | None) -> SearchResult:
        """Search by the times of sparse kernels and, where they are no faster, for dense ones."""
        dense = self.for_dense_kernels()
        form = dense.options.integer_mode or dense.options.goal_mode
        dense_context = context.for_dense_kernels(candidate_options(dense.options))
        result = search_on_sparse_kernels(
            self._evaluator(dataclasses.replace(context, is_of_time=True), "int8").in_form("int8"),
            dense._evaluator(dense_context, form).in_form(form),
            self.goals,
            repairs=bool(self.options.repair),
        )
        if isinstance(result, SearchResult):
            return result
        return dense._search_with(dense_context, trim).with_note(result)

    def for_dense_kernels(self) -> GoalSearch:
        """The same search for a model that dense kernels run, as with the target `cpu`."""
        return dataclasses.replace(self, options=dataclasses.replace(self.options, target="cpu", provider="cpu"))

    def _search_with(self, context: SearchContext, trim: TrimPlan | None) -> SearchResult:
        """Search in the forms that weights may be kept in."""
        options = self.options
        forms = options.forms_to_try(self._gains_by_integers(context))
        evaluator = self._evaluator(context, *forms)
        return search(evaluator, self.goals, trim, forms, prefer=options.prefer, repairs=bool(options.repair))

    def _gains_by_integers(self, context: SearchContext) -> bool:
        """Whether a search that may choose integers tries them: where they are faster, or the target is meant for them.

        What is timed here says nothing of a target elsewhere, so a goal of time, which is one of this machine, stays on
        floats for it; other goals try integers if any layer can be on them.
        """
        options = self.options
        is_measured = TARGETS[options.target].is_measured
        if not (options.may_choose_integers and self._quantizes) or (self.goals.is_timed and not is_measured):
            return False
        choice = CandidateEvaluator(context).in_form(options.goal_mode).integers
        return choice.gains if is_measured else any(layer.name not in choice.stay for layer in context.selection.layers)

    def _evaluator(self, context: SearchContext, *forms: str) -> CandidateEvaluator:
        """What makes candidates in these forms and judges them; what integers of the first ones cost is measured."""
        options = context.options
        sizes = next((sizes for form in forms if (sizes := integers_of_a_weight(options.in_form(form)))), ())
        return CandidateEvaluator(dataclasses.replace(context, integers_of_a_weight=sizes))

    def _tables(self, context: SearchContext) -> TablePlan:
        """Forms of tables that take a part of the drop that is allowed, by the inputs that guide the search."""
        kept = context.work.facts("tables")
        if kept is not None:
            return TablePlan.of(kept)
        if all(step.name != ShortenTables.name for step in self.steps):
            return TablePlan(())
        dense, calibration, progress = context.dense, context.calibration, context.progress
        if self.goals.max_drop is None:
            plan = choose_tables(dense, self.options, calibration, progress)
        else:
            evaluator, limit = context.folds[0].drop_evaluator, SHARE_OF_DROP * self.goals.max_drop

            def judge(model: ir.Model) -> float:
                return max(evaluator.estimate_drop(self.runtime.session(model)).drop, 0.0)

            plan = choose_within(dense, self.options, calibration, judge=judge, limit=limit, progress=progress)
        context.work.keep_facts("tables", plan.described())
        return plan

    @property
    def _quantizes(self) -> bool:
        return any(step.name == QuantizeLayers.name for step in self.steps)

    def facts(self, result: SearchResult, validation: Validation, latency: Profile | None) -> SearchFacts:
        """What the report says of the search, and of the final measurement beside it.

        Raises:
            CheckFailedError: the final measurement shows that a goal is missed.
        """
        measured = validation.drop
        assert measured is not None
        limit = self.goals.max_drop
        if limit is not None and measured.low > limit:
            raise CheckFailedError(
                f"{self.goals} is missed: on the {measured.samples:,} inputs of the final measurement the drop is "
                f"{measured.drop:.2%}, and with 90 % confidence at least {measured.low:.2%}, though it was "
                f"{result.candidate.evidence.drop:.2%} on those that guided the search: give more or other inputs"
            )
        if latency is not None:
            self._check_latency(latency)
        evidence = result.candidate.evidence
        return SearchFacts(
            goals=self.goals,
            guide=data_facts(self.inputs.data, self.guide),
            folds=len(self.inputs.folds),
            evidence=evidence,
            form=result.form,
            proven=result.proven,
            needed=None if limit is None else evidence.needed(limit),
            measured=measured,
            timed=result.timed,
            points=result.points,
        )

    def _drop_evaluator(self, dense: Session, samples: Samples, ticks: Ticks = no_ticks) -> DropEvaluator:
        measure = self.judging.measure(samples)
        return DropEvaluator(dense, samples, measure, seed=self.options.seed, ticks=ticks)

    def _check_latency(self, latency: Profile) -> None:
        """Check the goals of time on the final model.

        Raises:
            CheckFailedError: it misses one, by more than the measurement is unsure of.
        """
        timing = latency.timings[0]
        least_speedup, limit = self.goals.speedup, self.goals.latency
        if timing.other is None or timing.speedup is None:
            return
        if least_speedup is not None and timing.speedup.high < least_speedup:
            raise CheckFailedError(
                f"{self.goals} is missed: the final model is {timing.speedup.value:.2f} times as fast "
                f"({timing.speedup.low:.2f} to {timing.speedup.high:.2f}): measure again on a quiet machine, or ask "
                "for less"
            )
        if limit is not None and timing.other.low > limit:
            raise CheckFailedError(
                f"{self.goals} is missed: the final model takes {timing.other.median:.3g} ms: measure again on a quiet "
                "machine, or ask for less"
            )


def _calibration_of(calibration: Calibration, corrected: Samples, provisional: Samples | None) -> Calibration:
    """What candidates of a fold are corrected on: all of its inputs, or fewer rows of some that stand for them."""
    whole = dataclasses.replace(calibration, samples=corrected)
    return whole if provisional is None else whole.part(provisional).subsample(ROWS_SHARE)


def candidate_options(options: Options) -> Options:
    """How candidates are made: as the user has said, without the goals."""
    return dataclasses.replace(
        options,
        max_drop=None,
        speedup=None,
        latency=None,
        max_size=None,
        max_macs=None,
        values=options.stored_values,
        repair=False,  # only those that come last are
    )
