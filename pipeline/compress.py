"""From a trained model and a few hundred of its inputs to a smaller model, with the evidence."""

from __future__ import annotations

import copy
import dataclasses
import functools
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Unpack

import onnx_ir as ir

from netsurgeon.passes.solvers import FactorizationError
from netsurgeon.pipeline.calibration import examine_values, select, unobserved_layers
from netsurgeon.pipeline.compression import (
    STEPS,
    AppliedPlan,
    ChooseUnits,
    StepContext,
    Steps,
    apply_plan,
    check_steps,
    plan_steps,
)
from netsurgeon.pipeline.data import DataSource
from netsurgeon.pipeline.errors import CheckFailedError, after_delivery
from netsurgeon.pipeline.execution import Executor, RunFolder, check_cluster
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files import (
    LoadedModel,
    ModelLike,
    check_outputs,
    model_size,
    open_model,
    save_model,
    verified,
    with_float_weights,
)
from netsurgeon.pipeline.options import OPTION_GROUPS, Options, OptionValues, check_effects, takes_options
from netsurgeon.pipeline.profiling import Profile, StructureTimer, TimingTable, profile, timing_feeds
from netsurgeon.pipeline.progress import ProgressLike, RunProgress, following
from netsurgeon.pipeline.quantization import TARGETS, integer_notes, options_for_integers
from netsurgeon.pipeline.repair import with_repair_chosen
from netsurgeon.pipeline.report import (
    CompressionRecord,
    StoredModel,
    assemble_report,
    check_report_path,
)
from netsurgeon.pipeline.run import (
    Compression,
    ExpectedWork,
    deliver,
    examine_answers,
    is_as_it_came,
    judging_of,
    open_run_folder,
    run_calibration,
    run_executor,
    seconds_of_an_input,
    store_model,
    validate_applied,
)
from netsurgeon.pipeline.runtime import Remembering, Runtime, Session, attribute_to_inputs, full_name
from netsurgeon.pipeline.search import GoalSearch, SearchResult
from netsurgeon.pipeline.tables import check_dropped_rows
from netsurgeon.pipeline.verification import (
    Inputs,
    Judging,
    check_metric,
    open_inputs,
    withhold_promise,
)

__all__ = ["Compression", "compress"]

logger = logging.getLogger(__name__)


@takes_options(*OPTION_GROUPS)
def compress(
    model: ModelLike,
    data: DataSource,
    *,
    test: DataSource | None = None,
    output: str | os.PathLike[str] | None = None,
    report: str | os.PathLike[str] | None = None,
    progress: ProgressLike = None,
    steps: Steps = STEPS,
    step_options: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Unpack[OptionValues],
) -> Compression:
    """Trim a model's units, prune its weights, correct the rest, verify it in ONNX Runtime, and pack it.

    With `quantize="int8"` or `"w4a8"` layers run on integers where these are faster, and nothing is pruned unless
    `sparsity`, a goal or the like asks for it. `report.integers` says which layers do, and is None if none does.

    Args:
        model: path of an ONNX file, a ModelProto or an `onnx_ir.Model`; never changed.
        data: calibration inputs: path of an npz, npy, folder or zip of pictures, "module:function", arrays or tensors
            by input name, (X, y), a loader of batches, a list of samples, a data frame, … (docs/data.md has them all).
        test: inputs of the final measurement; without them a part of `data` is held out.
        output: where to write the compressed model.
        report: where to write the report: a page if the name ends in .html, JSON if it ends in .json.
        progress: True = shown as suits the terminal, the notebook or the log it runs in; or a function that is called
            with the stage, the steps done and the number of steps.
        steps: what is done, in order: `STEPS`, or a list that includes steps of your own (see CONTRIBUTING.md).
        step_options: options of steps of your own, by step name.
        **options: fields of `Options`.

    Raises:
        InputError: model, data or options cannot be used.
        CheckFailedError: the result did not pass verification; nothing was written.
    """
    checked = Options(**options)
    check_effects(checked)
    try:
        with following(progress) as followed:
            run = _Run(checked, followed, steps, step_options or {})
            return run.compress(model, data, test, _path(output), _path(report))
    except FactorizationError as error:
        raise CheckFailedError(f"{error}: give a larger --damping") from error


def _path(path: str | os.PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path)


@dataclasses.dataclass
class _Run:
    """One compression of one model.

    Attributes:
        options: how it is made: those given, and what was chosen where they leave it open.
        progress: is told what is done.
        steps: what is done, in order.
        step_options: options of steps of the user's own.
        notes: what the user should know of the options.
        seconds: time by stage.
    """

    options: Options
    progress: RunProgress
    steps: Steps
    step_options: Mapping[str, Mapping[str, Any]]
    notes: tuple[Message, ...] = ()
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    _given: Options = dataclasses.field(init=False)
    _started: float = dataclasses.field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self._given = self.options

    def compress(
        self, model: ModelLike, data: DataSource, test: DataSource | None, output: Path | None, report: Path | None
    ) -> Compression:
        check_report_path(report)
        self.progress("opening", 0, 1)
        runtime = self.options.runtime()
        check_metric(self.options.metric)
        check_cluster(self.options.cluster, self.options.cluster_store)
        self.options.prepare_sparse_kernels()
        self.options, self.notes = with_repair_chosen(self.options)
        source = open_model(model, runtime, tuple(self.options.layers))
        self._check_paths(source, data, test, output, report)
        inputs = open_inputs(source, data, test, self.options, functools.partial(self.progress, "reading the data"))
        with attribute_to_inputs(source.original, runtime, *inputs.all):
            source = verified(source, next(inputs.calibration.batches()), runtime)
            inputs = self._with_examined_values(source, inputs, runtime)
            return self._compress(source, inputs, runtime, output, report)

    def _compress(
        self, source: LoadedModel, inputs: Inputs, runtime: Runtime, output: Path | None, report: Path | None
    ) -> Compression:
        dense = Remembering(runtime.session(source.original))
        judging = judging_of(source, inputs, dense, self.options)
        source = with_float_weights(source, next(inputs.calibration.batches()), runtime.on_floats())
        self.options = options_for_integers(source.integers, self.options)
        check_dropped_rows(source.model, self.options, inputs.all, runtime)
        examined = examine_answers(inputs, dense, judging, self.options, functools.partial(self.progress, "opening"))
        with self._run_folder(source, inputs) as run_folder, run_executor(source.model, self.options) as executor:
            context = self._context(source, inputs, runtime, run_folder, executor)
            self.progress.expect(self._expected_work(context, inputs, runtime.session(source.original)).steps())
            self._end_stage("open")
            # the last one alone: the model that a search ends with is delivered, too, mostly the one it sized last
            store = functools.lru_cache(1)(lambda model: store_model(self.steps, context, model, source))
            goal_search = self._goal_search(context, source, inputs, judging, runtime=runtime, store=store)
            result = self._search(goal_search, context, dense) if goal_search else None
            del dense  # else its weights would lie beside all that the steps make, and two sessions of the validation
            applied = result.applied if result else self._apply(context)
            applied, stored = deliver(self.steps, context, applied, source, store)
            store.cache_clear()
            if is_as_it_came(applied):
                self.options = dataclasses.replace(self.options, values="float32", pack=False)
                result = result and result.delivered_in(model_size(stored.model, None))
            self._end_stage("pack")
            validation, bound = validate_applied(
                applied, context, steps=self.steps, source=source, inputs=inputs, runtime=runtime, judging=judging
            )
            self._end_stage("validate")
        latency = self._profile(source, stored.model, inputs) if self._is_timed() else None
        search = goal_search.facts(result, validation, latency) if goal_search and result else None
        self._write(stored.model, output, inputs, runtime)
        timings, elsewhere = self._timings(context)
        with after_delivery(output):
            evidence = assemble_report(
                CompressionRecord(
                    given=self._given,
                    steps=self.steps,
                    options=self.options,
                    runtime=runtime,
                    source=source,
                    inputs=inputs,
                    applied=self._timed_integers(applied, stored.model, context),
                    stored=stored,
                    output=output,
                    validation=withhold_promise(validation, examined),
                    bound=bound,
                    search=search,
                    timings=timings,
                    latency=latency,
                    examined=examined,
                    notes=(*self.notes, *inputs.notes, *judging.notes, *integer_notes(source.integers), *elsewhere),
                    warnings=(*judging.warnings, *applied.warnings, *run_folder.notes),
                    cluster=executor.facts,
                    seconds=self.seconds,
                )
            )
            if report is not None:
                evidence.save(report)
        return Compression(stored.model, evidence, source.path, runtime)

    def _with_examined_values(self, source: LoadedModel, inputs: Inputs, runtime: Runtime) -> Inputs:
        """The same inputs, with the warnings that their values give rise to."""
        test_samples = None if inputs.test is None else inputs.held
        values = examine_values(source.original, inputs.calibration, test_samples, runtime)
        return dataclasses.replace(inputs, warnings=(*inputs.warnings, *values))

    def _check_paths(
        self, source: LoadedModel, data: DataSource, test: DataSource | None, output: Path | None, report: Path | None
    ) -> None:
        options = self.options
        read = (data, test, options.metric, options.classes, options.timings, *options.custom_ops)
        check_outputs((output, report), *read, models=[source.path], work=options.work)

    def _run_folder(self, source: LoadedModel, inputs: Inputs) -> RunFolder:
        """The folder that keeps what is done, for this very run; if it is refused, nobody has waited for workers."""
        if self.options.work is not None:
            self.progress("reading the work folder", 0, 1)
        return open_run_folder(source, inputs, self.options, self.steps, self.step_options)

    def _context(
        self, source: LoadedModel, inputs: Inputs, runtime: Runtime, run_folder: RunFolder, executor: Executor
    ) -> StepContext:
        """What the steps share, after their names and options were checked."""
        # float weights between integer activations: ONNX Runtime would make integers of them by a grid of its own
        runtime = runtime.on_floats() if source.integers.grids else runtime
        unobserved = unobserved_layers(source.model, inputs.calibration, runtime)
        context = StepContext(
            dense=source.model,
            selection=select(source.model, self.options, unobserved, source.integers),
            calibration=run_calibration(inputs, runtime, self.options, executor),
            options=self.options,
            step_options=self.step_options,
            progress=self.progress,
            run_folder=run_folder,
            solutions=run_folder.solutions("whole"),
            timer=self._timer(source, inputs, run_folder),
        )
        check_steps(self.steps, context)
        return context

    def _timer(self, source: LoadedModel, inputs: Inputs, run_folder: RunFolder) -> StructureTimer:
        """What models are timed with; times that are kept, or that the user gives, are not measured again."""
        options = self.options
        feed = inputs.calibration.typical(options.timed_batch or 1)
        batches = None if options.timed_batch is None else (options.timed_batch,)
        is_timed = options.integer_mode is not None or options.goals is not None
        fed = timing_feeds(source.original, [feed], batches, {}, options.seed)[0] if is_timed else ()
        return StructureTimer(
            TimingTable.first_of(options.timings, run_folder.facts("timings")),
            source.model,
            fed[0].feed if fed else feed,
            options.runtime(timed=True),
            lambda measured: run_folder.keep_facts("timings", dataclasses.asdict(measured)),
        )

    def _expected_work(self, context: StepContext, inputs: Inputs, dense: Session) -> ExpectedWork:
        """What is left to do, as far as can be told from one run of the dense model."""
        return ExpectedWork(
            dense=context.dense,
            selection=context.selection,
            calibration=context.calibration,
            inputs=inputs,
            options=self.options,
            seconds=seconds_of_an_input(dense, inputs.calibration, self.progress.clock),
        )

    def _apply(self, context: StepContext) -> AppliedPlan:
        """Do what was asked for."""
        plan_steps([step for step in self.steps if not step.is_storage], context)
        self._end_stage("measure")
        applied = apply_plan(self.steps, context)
        self._end_stage("prune")
        return applied

    def _goal_search(
        self,
        context: StepContext,
        source: LoadedModel,
        inputs: Inputs,
        judging: Judging,
        *,
        runtime: Runtime,
        store: Callable[[ir.Model], StoredModel],
    ) -> GoalSearch | None:
        """The search for the user's goals, where there are any."""
        options = self.options
        if options.goals is None or inputs.guide is None:
            return None
        assert context.timer is not None
        return GoalSearch(
            goals=options.goals,
            source=source,
            inputs=inputs,
            guide=inputs.guide,
            options=options,
            runtime=runtime,
            clock=context.timer,
            steps=self.steps,
            step_options=self.step_options,
            judging=judging,
            size=lambda model: model_size(store(model).model, None),
        )

    def _search(self, goal_search: GoalSearch, context: StepContext, dense: Session) -> SearchResult:
        """Find what reaches the goals; units that were asked for go in any case."""
        selection = context.selection
        plan_steps([step for step in self.steps if step.name == ChooseUnits.name], context)
        trim = context.plans.get(ChooseUnits.name)
        work = context.run_folder
        result = goal_search.search(selection, context.calibration, trim, self.progress, work, dense=dense)
        self._end_stage("search")
        return result

    def _timed_integers(self, applied: AppliedPlan, delivered: ir.Model, context: StepContext) -> AppliedPlan:
        """Where the model runs on integers on this machine: how fast the delivered one is beside the dense one."""
        if applied.integers is None or context.timer is None or not TARGETS[self.options.target].is_measured:
            return applied
        ticks = functools.partial(self.progress, "timing the delivered model")
        timed = context.timer.time_anew(delivered, ticks)
        integers = dataclasses.replace(applied.integers, timed=timed)
        if context.timer.has_package:
            taken = context.timer.taken_by_package(delivered)
            integers = integers.with_sparse_kernels(taken, full_name(self.options.timed_provider))
        return dataclasses.replace(applied, integers=integers)

    def _timings(self, context: StepContext) -> tuple[TimingTable | None, tuple[Message, ...]]:
        """The times that have decided so far, whatever they decided, also that all stays on floats; notes on them."""
        if context.timer is None or (self.options.integer_mode is None and self.options.goals is None):
            return None, ()
        return copy.deepcopy(context.timer.table), tuple(context.timer.notes())

    def _is_timed(self) -> bool:
        return self.options.profile or (self.options.goals is not None and self.options.goals.is_timed)

    def _profile(self, source: LoadedModel, compressed: ir.Model, inputs: Inputs) -> Profile:
        """Dense and compressed model in turn on the first calibration inputs."""
        latency = profile(
            source.runs_as,
            compressed,
            data=[inputs.calibration.typical(self.options.timed_batch or 1)],
            batches=None if self.options.timed_batch is None else (self.options.timed_batch,),
            threads=self.options.threads,
            per_operator=True,
            provider=self.options.timed_provider,
            custom_ops=self.options.custom_ops,
            progress=self.progress,
        )
        self._end_stage("profile")
        return latency

    def _write(self, model: ir.Model, output: Path | None, inputs: Inputs, runtime: Runtime) -> None:
        if output is not None:
            self.progress("writing", 0, 1)
            feed = next(inputs.calibration.batches())
            save_model(model, output, lambda path: runtime.session(path).run(feed))
        self._end_stage("write")

    def _end_stage(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self._started = round(now - self._started, 3), now
        logger.info("stage %s: %.3f s", name, self.seconds[name])
