"""From a trained model and a few hundred of its inputs to a smaller model, with the evidence."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Unpack

import numpy as np
import onnx_ir as ir

import netsurgeon
from netsurgeon.passes.solvers import FactorizationError
from netsurgeon.pipeline.calibration import Calibration, Selection, select
from netsurgeon.pipeline.compression import AppliedPlan, Packed, apply_plan, changed_interface, pack, trimmed_selection
from netsurgeon.pipeline.data import DataSource
from netsurgeon.pipeline.error_bound import Bound, measure_bound
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.execution import RunFolder
from netsurgeon.pipeline.model_files import (
    LoadedModel,
    ModelLike,
    check_outputs,
    data_facts,
    model_digest,
    model_facts,
    open_model,
    path_of,
    save_model,
    verified,
    versions,
    write_text,
)
from netsurgeon.pipeline.options import Options, OptionValues, Progress
from netsurgeon.pipeline.profiling import Profile, TimingTable, left_to_the_cpu, profile
from netsurgeon.pipeline.pruning import keep_plan, load_plan, make_plan
from netsurgeon.pipeline.report import (
    Report,
    alike,
    emptied,
    grown,
    is_page,
    layer_facts,
    render,
    unmeasured,
    unproven_goal_warning,
)
from netsurgeon.pipeline.runtime import Runtime, attribute_to_inputs, peak_bytes
from netsurgeon.pipeline.search import GoalSearch, SearchFacts
from netsurgeon.pipeline.trimming import TrimPlan, choose_units, give_biases, no_units, why_not
from netsurgeon.pipeline.verification import Inputs, Validation, check_labels, load_metric, open_inputs, validate

BOUND_SAMPLES, BOUND_SAMPLES_FAST = 64, 16
"""Most inputs on which the bound is measured; the second where the selection is not patient."""
WORTH_MENTION = 0.005
"""Share of the weights by which more may go than was asked for without a word."""


@dataclasses.dataclass(frozen=True)
class Compression:
    """The result of `compress`.

    Attributes:
        model: the compressed model.
        report: the evidence.
    """

    model: ir.Model = dataclasses.field(repr=False)
    report: Report


def compress(
    model: ModelLike,
    data: DataSource,
    *,
    test: DataSource | None = None,
    output: str | os.PathLike[str] | None = None,
    report: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    **options: Unpack[OptionValues],
) -> Compression:
    """Trim a model's units, prune its weights, correct the rest, verify it in ONNX Runtime, and pack it.

    Args:
        model: path of an ONNX file, a ModelProto or an `onnx_ir.Model`; never changed.
        data: calibration inputs: path of an npz, npy, folder or zip of pictures, arrays, feeds, "module:function"
            (see `open_samples`).
        test: inputs of the final measurement; where there are none a part of `data` is held out.
        output: where to write the compressed model.
        report: where to write the report: as a page where the name ends in .html, else as JSON.
        progress: called with stage, steps done and steps in all.
        **options: fields of `Options`.

    Raises:
        InputError: model, data or options cannot be used.
        CheckFailedError: the result did not pass verification; nothing was written.
    """
    run = _Run(Options(**options), progress or _silent)
    try:
        return run.compress(model, data, test, _path(output), _path(report))
    except FactorizationError as error:
        raise CheckFailedError(f"{error}: give a larger --damping") from error


def _path(path: str | os.PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path)


def _silent(stage: str, done: int, count: int) -> None:
    del stage, done, count


@dataclasses.dataclass
class _Run:
    """One compression: the options, the time each stage took, and what the user should know."""

    options: Options
    progress: Progress
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    warnings: list[str] = dataclasses.field(default_factory=list)
    _started: float = dataclasses.field(default_factory=time.perf_counter)

    def compress(
        self, model: ModelLike, data: DataSource, test: DataSource | None, output: Path | None, report: Path | None
    ) -> Compression:
        self.progress("opening", 0, 1)
        runtime = Runtime(self.options.custom_ops, self.options.provider)
        load_metric(self.options.metric)
        source = open_model(model, runtime)
        self._check_paths(source, data, test, output, report)
        inputs = open_inputs(source, data, test, self.options)
        with attribute_to_inputs(source.original, runtime, *inputs.all):
            return self._compressed(source, inputs, runtime, output, report)

    def _compressed(
        self, source: LoadedModel, inputs: Inputs, runtime: Runtime, output: Path | None, report: Path | None
    ) -> Compression:
        source = verified(source, next(inputs.calibration.batches()), runtime)
        for samples in inputs.all[1:]:
            check_labels(runtime.session(source.original), samples, self.options.label_offset)
        selection = select(source.model, self.options)
        self._stage("open")
        calibration = Calibration(inputs.calibration, runtime, self.options.seed)
        with self._work(source, inputs) as work:
            trim = None if self.options.trim is None else self._choose_units(source.model, selection, calibration, work)
            guided, found = self._guided(source, inputs, runtime), None
            if guided:
                size = functools.partial(self._size, source, inputs, runtime)
                found = guided.search(selection, calibration, trim, size, self.progress, work)
            operated = found.operated if found else self._operate(source, selection, trim, calibration, work)
            if trim and operated.units and not operated.units.groups and self.options.only_trims_best_effort:
                operated = self._left_alone(source.model, trim, operated)
        self._stage("search" if found else "prune")
        self.warnings += operated.warnings
        validation, bound = self._validate(source, operated, inputs, runtime)
        self._stage("validate")
        packed = self._pack(source, operated.model, inputs, runtime)
        self._stage("pack")
        latency = self._profile(source, packed.model, inputs) if self._is_timed() else None
        facts = guided.facts(found, validation, latency, operated.model) if guided and found else None
        if output is not None:
            self._write(packed.model, output, inputs, runtime)
        self._stage("write")
        result = self._report(source, inputs, operated, packed, output, runtime, latency, facts, validation, bound)
        if report is not None:
            self._write_report(result, report, output)
        return Compression(packed.model, result)

    def _write_report(self, result: Report, report: Path, output: Path | None) -> None:
        try:
            write_text(render(result) if is_page(report) else result.to_json(), report)
        except InputError as error:
            raise InputError(f"{error}{f'; the model is at {output}' if output else ''}") from error

    def _choose_units(
        self, model: ir.Model, selection: Selection, calibration: Calibration, work: RunFolder
    ) -> TrimPlan:
        self.progress("finding units", 0, 1)
        give_biases(selection.layers)
        found = work.facts("units")
        if found is None:
            plan = choose_units(model, selection.layers, calibration, self.options, self.progress)
            work.keep_facts("units", plan.described())
        else:
            plan = no_units(model, selection.layers, calibration).with_choice(found)
        self._stage("choose units")
        return plan

    def _operate(
        self,
        source: LoadedModel,
        selection: Selection,
        trim: TrimPlan | None,
        calibration: Calibration,
        work: RunFolder,
    ) -> AppliedPlan:
        """Do what was asked for."""
        options = self.options
        selection = trimmed_selection(selection, trim, options) if trim else selection
        plan = load_plan(work) or make_plan(source.model, selection, calibration, options, self.progress)
        keep_plan(work, plan)
        self._stage("measure")
        return apply_plan(
            source.model, selection, trim, plan, calibration, options, self.progress, work.solutions("whole")
        )

    def _left_alone(self, dense: ir.Model, trim: TrimPlan, operated: AppliedPlan) -> AppliedPlan:
        """Nothing could be removed, and nothing else was asked for: the model stays, neither rounded nor packed."""
        warning = f"nothing was removed, the weights are left as they were: {why_not(trim, self.options)}"
        self.options = dataclasses.replace(self.options, values="float32", pack=False)
        same = dataclasses.replace(operated, masked=dense, model=dense.clone(), notes=())
        return dataclasses.replace(same, warnings=(*operated.warnings, warning))

    def _guided(self, source: LoadedModel, inputs: Inputs, runtime: Runtime) -> GoalSearch | None:
        """The search for the user's goals, where there are any."""
        options = self.options
        if options.goals is None or inputs.guide is None:
            return None
        table = TimingTable() if options.timings is None else TimingTable.read(options.timings)
        return GoalSearch(options.goals, source, inputs, inputs.guide, options, runtime, table)

    def _size(self, source: LoadedModel, inputs: Inputs, runtime: Runtime, model: ir.Model) -> int:
        """Bytes of a model's file."""
        return len(ir.to_proto(self._pack(source, model, inputs, runtime).model).SerializeToString())

    def _is_timed(self) -> bool:
        return self.options.profile or (self.options.goals is not None and self.options.goals.is_timed)

    def _work(self, source: LoadedModel, inputs: Inputs) -> RunFolder:
        """The folder that keeps what is done, for this very run."""
        folder = self.options.work
        if folder is None:
            return RunFolder(None, {})
        self.progress("reading the work folder", 0, 1)
        names = ("calibration", "guide", "held") if inputs.guide else ("calibration", "held")
        files = [path_of(each) for each in (*self.options.custom_ops, self.options.timings)]
        identity = {
            "model": model_digest(source.original, source.path),
            "options": self.options.described(),
            "data": {name: each.digest() for name, each in zip(names, inputs.all, strict=True)},
            "files": [hashlib.sha256(each.read_bytes()).hexdigest() for each in files if each and each.is_file()],
            "versions": versions(),
        }
        return RunFolder(folder, identity)

    def _stage(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self._started = round(now - self._started, 3), now

    def _check_paths(
        self, source: LoadedModel, data: DataSource, test: DataSource | None, output: Path | None, report: Path | None
    ) -> None:
        options = self.options
        read = (data, test, options.metric, options.classes, options.timings, *options.custom_ops)
        check_outputs((output, report), *read, models=[source.path])

    def _validate(
        self, source: LoadedModel, operated: AppliedPlan, inputs: Inputs, runtime: Runtime
    ) -> tuple[Validation, Bound]:
        self.progress("validating", 0, 2)
        validation = validate(
            runtime.session(source.original),
            runtime.session(operated.model),
            inputs.held,
            held_out=inputs.held_out,
            metric=self.options.metric,
            label_offset=self.options.label_offset,
        )
        self.progress("validating", 1, 2)
        most = BOUND_SAMPLES if operated.selection.has_full_effort else BOUND_SAMPLES_FAST
        count = min(most, inputs.calibration.count)
        few = inputs.calibration.subset(count, np.random.default_rng(self.options.seed))
        return validation, measure_bound(source.model, operated.masked, few.batches(), few.fed, runtime)

    def _pack(self, source: LoadedModel, current: ir.Model, inputs: Inputs, runtime: Runtime) -> Packed:
        self.progress("packing", 0, 1)
        feed = next(inputs.calibration.batches())
        packed = (
            pack(current, feed, dataclasses.replace(runtime, provider="cpu"))
            if self.options.pack
            else Packed(current, (), ())
        )
        goals = self.options.goals
        entry = {
            "version": netsurgeon.__version__,
            "method": self.options.method,
            **({"goals": str(goals)} if goals else {"sparsity": self.options.pruned_share}),
        }
        packed.model.metadata_props["netsurgeon"] = json.dumps(entry)
        problem = changed_interface(source.original, packed.model)
        if problem:
            raise CheckFailedError(f"{problem}: please report this")
        return packed

    def _write(self, model: ir.Model, output: Path, inputs: Inputs, runtime: Runtime) -> None:
        self.progress("writing", 0, 1)
        feed = next(inputs.calibration.batches())
        save_model(model, output, lambda path: runtime.session(path).run(feed))

    def _profile(self, source: LoadedModel, compressed: ir.Model, inputs: Inputs) -> Profile:
        """Dense and compressed model in turn on the first calibration inputs."""
        self.progress("timing", 0, 1)
        latency = profile(
            source.path or source.original,
            compressed,
            data=[next(inputs.calibration.batches())],
            batches=None if self.options.timed_batch is None else (self.options.timed_batch,),
            threads=self.options.threads,
            per_operator=True,
            provider=self.options.provider,
            custom_ops=self.options.custom_ops,
        )
        self._stage("profile")
        return latency

    def _report(
        self,
        source: LoadedModel,
        inputs: Inputs,
        operated: AppliedPlan,
        packed: Packed,
        output: Path | None,
        runtime: Runtime,
        latency: Profile | None,
        search: SearchFacts | None,
        validation: Validation,
        bound: Bound,
    ) -> Report:
        selection, pruned = operated.selection, operated.pruned
        layers = layer_facts(selection, operated.plan, pruned, operated.model, packed, bound)
        unproven = unproven_goal_warning(search) if search else None
        sparsity = 1.0 - sum(layer.kept for layer in layers) / sum(layer.weights for layer in layers)
        rounded = (f"{r.name}: stored as it is, not as {r.values}: {r.reason}" for r in pruned.roundings if r.reason)
        dense, compressed = model_facts(source.original, source.path), model_facts(packed.model, output)
        return Report(
            versions=versions(),
            options=self.options.described(),
            dense=dense,
            compressed=compressed,
            sparsity=sparsity,
            calibration=data_facts(inputs.data, inputs.calibration),
            test=None if inputs.test is None else data_facts(inputs.test, inputs.held),
            layers=layers,
            declined=tuple(dataclasses.asdict(each) for each in selection.declined),
            search=search,
            trim=operated.units,
            validation=validation,
            bound=bound,
            notes=(*source.notes, *operated.notes, *packed.notes, *rounded, *self._beyond(sparsity, operated)),
            warnings=(
                *([unproven] if unproven else []),
                *inputs.warnings,
                *pruned.warnings,
                *self.warnings,
                *unmeasured(validation),
                *alike(validation),
                *emptied(layers),
                *grown(dense.bytes, compressed.bytes, selection),
            ),
            seconds=self.seconds,
            peak_bytes=peak_bytes(),
            latency=latency,
            on_the_cpu=left_to_the_cpu(packed.model, next(inputs.calibration.batches()), runtime),
        )

    def _beyond(self, sparsity: float, operated: AppliedPlan) -> Iterator[str]:
        """What is said where more weights went than were asked for."""
        sizes, unread = operated.selection.sizes, operated.units.unread if operated.units else 0
        asked = 1.0 - sum(operated.plan.keep.values()) / sum(sizes.values())
        given = self.options.goals is None and self.options.trim is None and not self.options.keep_zeros
        if given and unread and sparsity > asked + WORTH_MENTION:
            yield (
                f"{sparsity:.1%} of the weights went where {asked:.1%} were asked for: pruning left {unread} units "
                "without a reader or without inputs; --keep-unread leaves them in place"
            )
