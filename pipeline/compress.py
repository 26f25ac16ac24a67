"""From a trained model and a few hundred of its inputs to a smaller model, with the evidence."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Unpack

import numpy as np
import onnx_ir as ir

import netsurgeon
from netsurgeon.passes._find_layers import Declined
from netsurgeon.passes._linalg import FactorizationError
from netsurgeon.passes._nodes import label
from netsurgeon.passes.mask_units import MaskUnits
from netsurgeon.pipeline._failures import inputs_blamed
from netsurgeon.pipeline._kernel_times import left_to_the_cpu
from netsurgeon.pipeline.bound import Bound, measure_bound
from netsurgeon.pipeline.calibrate import Calibration
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.facts import (
    data_facts,
    layer_facts,
    model_facts,
    model_files,
    path_of,
    peak_bytes,
    trim_facts,
    versions,
)
from netsurgeon.pipeline.latency import Profile, profile
from netsurgeon.pipeline.options import Options, OptionValues, Progress
from netsurgeon.pipeline.pack import Packed, changed_interface, pack
from netsurgeon.pipeline.page import is_page, render
from netsurgeon.pipeline.prune import Plan, Pruned, Selection, make_plan, prune_segments, select
from netsurgeon.pipeline.report import LayerFacts, Report, TrimFacts
from netsurgeon.pipeline.runtime import Runtime
from netsurgeon.pipeline.samples import Samples, open_samples
from netsurgeon.pipeline.samples import Source as Data
from netsurgeon.pipeline.source import (
    ModelLike,
    Source,
    check_output_path,
    input_specs,
    open_model,
    save_model,
    verified,
    write_text,
)
from netsurgeon.pipeline.trim import (
    TrimPlan,
    choose_units,
    give_biases,
    no_units,
    proof_feeds,
    remove_units,
    require_goal,
    with_unread,
)
from netsurgeon.pipeline.validate import Validation, check_labels, load_metric, validate

HELD_OUT = 0.125
"""Share of the calibration inputs kept for validation where no test inputs are given."""
FEWEST_TO_SPLIT = 64
BOUND_SAMPLES = 64
"""Most inputs on which the bound is measured."""


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
    data: Data,
    *,
    test: Data | None = None,
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


@dataclasses.dataclass(frozen=True)
class _Inputs:
    """What the model is run on.

    Attributes:
        data: the calibration inputs as given.
        test: the test inputs as given, if they were.
        calibration: inputs that guide the corrections.
        held: inputs of the final measurement.
        held_out: whether `calibration` has none of `held`.
        warnings: what was left out and why; files by name only.
    """

    data: Data
    test: Data | None
    calibration: Samples
    held: Samples
    held_out: bool
    warnings: tuple[str, ...]


@dataclasses.dataclass
class _Run:
    """One compression: the options, the time each stage took, and what the user should know."""

    options: Options
    progress: Progress
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    warnings: list[str] = dataclasses.field(default_factory=list)
    _started: float = dataclasses.field(default_factory=time.perf_counter)

    def compress(
        self, model: ModelLike, data: Data, test: Data | None, output: Path | None, report: Path | None
    ) -> Compression:
        self.progress("opening", 0, 1)
        runtime = Runtime(self.options.custom_ops, self.options.provider)
        load_metric(self.options.metric)
        source = open_model(model, runtime)
        self._check_paths(source, data, test, output, report)
        inputs = self._inputs(source, data, test)
        with inputs_blamed(source.original, runtime, inputs.calibration, inputs.held):
            return self._compressed(source, inputs, runtime, output, report)

    def _compressed(
        self, source: Source, inputs: _Inputs, runtime: Runtime, output: Path | None, report: Path | None
    ) -> Compression:
        source = verified(source, next(inputs.calibration.batches()), runtime)
        check_labels(runtime.session(source.original), inputs.held, self.options.label_offset)
        selection = select(source.model, self.options)
        self._stage("open")
        sweep = Calibration(inputs.calibration, runtime, self.options.seed)
        trim = None if self.options.trim is None else self._choose_units(source.model, selection, sweep)
        selection = _trimmed(selection, trim, self.options) if trim else selection
        plan = make_plan(source.model, selection, sweep, self.options, self.progress)
        self._stage("measure")
        masked = source.model.clone()
        if trim:
            MaskUnits(trim.units, {label(layer.node) for layer in selection.layers})(masked)
        pruned = prune_segments(source.model, masked, selection, plan, sweep, self.options, self.progress)
        self._stage("prune")
        current, units = self._remove_units(masked, selection, trim, sweep)
        self._stage("trim")
        evidence = self._validate(source, masked, current, inputs, runtime)
        self._stage("validate")
        packed = self._pack(source, current, inputs, runtime)
        self._stage("pack")
        latency = self._profile(source, packed.model, inputs) if self.options.profile else None
        if output is not None:
            self._write(packed.model, output, inputs, runtime)
        self._stage("write")
        result = self._report(
            source, inputs, selection, plan, pruned, units, current, packed, output, runtime, latency, *evidence
        )
        if report is not None:
            write_text(render(result) if is_page(report) else result.to_json(), report)
        return Compression(packed.model, result)

    def _choose_units(self, model: ir.Model, selection: Selection, sweep: Calibration) -> TrimPlan:
        self.progress("finding units", 0, 1)
        give_biases(selection.layers)
        plan = choose_units(model, selection.layers, sweep, self.options, self.progress)
        self._stage("choose units")
        return plan

    def _remove_units(
        self, masked: ir.Model, selection: Selection, trim: TrimPlan | None, sweep: Calibration
    ) -> tuple[ir.Model, TrimFacts | None]:
        """The masked model without the units that go, and without those that pruning has left unread."""
        self.progress("removing units", 0, 1)
        options = self.options
        if trim is None and options.unread_stay:
            return masked, None
        try:
            plan = trim or no_units(masked, selection.layers, sweep)
        except CheckFailedError as error:  # what was not asked for must not stop what was
            self.warnings.append(f"units that nothing reads any more stay: {error}")
            return masked, None
        gone = plan.removed if options.unread_stay else with_unread(masked, plan, options.round_to)
        trimmed = remove_units(masked, plan.dependencies, gone, proof_feeds(sweep), sweep.runtime)
        if trim:
            require_goal(masked, trim.after(trimmed), options)
        return trimmed.model, trim_facts(masked, plan, trimmed, options)

    def _stage(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self._started = round(now - self._started, 3), now

    def _check_paths(
        self, source: Source, data: Data, test: Data | None, output: Path | None, report: Path | None
    ) -> None:
        read = [*map(Path, self.options.custom_ops), self.options.classes, path_of(data), path_of(test)]
        read += model_files(source.path) if source.path else ()
        for path in (output, report):
            if path is not None:
                check_output_path(path, *read)
        if output is not None and report is not None and output.resolve() == report.resolve():
            raise InputError(f"model and report would both go to {output}: give two paths")

    def _inputs(self, source: Source, data: Data, test: Data | None) -> _Inputs:
        given = self._open(source, data, self.options.limit)
        warnings = _without_folder(given.warnings, data)
        if test is not None:
            held = self._open(source, test, None)
            return _Inputs(data, test, given, held, True, (*warnings, *_without_folder(held.warnings, test)))
        if given.count >= FEWEST_TO_SPLIT:
            # a large fixed batch may leave no whole feed to hold out
            with contextlib.suppress(InputError):
                held, rest = given.split(HELD_OUT, np.random.default_rng(self.options.seed))
                return _Inputs(data, None, rest, held, True, warnings)
        return _Inputs(data, None, given, given, False, warnings)

    def _open(self, source: Source, data: Data, limit: int | None) -> Samples:
        options = self.options
        return open_samples(
            data,
            input_specs(source.original),
            pictures=options.pictures,
            classes=options.classes,
            batch_size=options.batch_size,
            limit=limit,
            seed=options.seed,
        )

    def _validate(
        self, source: Source, masked: ir.Model, current: ir.Model, inputs: _Inputs, runtime: Runtime
    ) -> tuple[Validation, Bound]:
        """`masked` is the same function as `current` with all weights of the dense model still in their places."""
        self.progress("validating", 0, 2)
        validation = validate(
            runtime.session(source.original),
            runtime.session(current),
            inputs.held,
            held_out=inputs.held_out,
            metric=self.options.metric,
            label_offset=self.options.label_offset,
        )
        self.progress("validating", 1, 2)
        count = min(BOUND_SAMPLES, inputs.calibration.count)
        few = inputs.calibration.subset(count, np.random.default_rng(self.options.seed))
        return validation, measure_bound(source.model, masked, few.batches(), few.count, runtime)

    def _pack(self, source: Source, current: ir.Model, inputs: _Inputs, runtime: Runtime) -> Packed:
        self.progress("packing", 0, 1)
        feed = next(inputs.calibration.batches())
        packed = (
            pack(current, feed, dataclasses.replace(runtime, provider="cpu"))
            if self.options.pack
            else Packed(current, (), ())
        )
        entry = {
            "version": netsurgeon.__version__,
            "method": self.options.method,
            "sparsity": self.options.pruned_share,
        }
        packed.model.metadata_props["netsurgeon"] = json.dumps(entry)
        problem = changed_interface(source.original, packed.model)
        if problem:
            raise CheckFailedError(f"{problem}: please report this")
        return packed

    def _write(self, model: ir.Model, output: Path, inputs: _Inputs, runtime: Runtime) -> None:
        self.progress("writing", 0, 1)
        feed = next(inputs.calibration.batches())
        save_model(model, output, lambda path: runtime.session(path).run(feed))

    def _profile(self, source: Source, compressed: ir.Model, inputs: _Inputs) -> Profile:
        """Dense and compressed model in turn on the first calibration inputs."""
        self.progress("timing", 0, 1)
        latency = profile(
            source.path or source.original,
            compressed,
            data=[next(inputs.calibration.batches())],
            per_operator=True,
            provider=self.options.provider,
            custom_ops=self.options.custom_ops,
        )
        self._stage("profile")
        return latency

    def _report(
        self,
        source: Source,
        inputs: _Inputs,
        selection: Selection,
        plan: Plan,
        pruned: Pruned,
        units: TrimFacts | None,
        current: ir.Model,
        packed: Packed,
        output: Path | None,
        runtime: Runtime,
        latency: Profile | None,
        validation: Validation,
        bound: Bound,
    ) -> Report:
        layers = layer_facts(selection, plan, pruned, current, packed, bound)
        rounded = (f"{r.name}: stored as it is, not as {r.values}: {r.reason}" for r in pruned.roundings if r.reason)
        return Report(
            versions=versions(),
            options=self.options.described(),
            dense=model_facts(source.original, source.path),
            compressed=model_facts(packed.model, output),
            sparsity=1.0 - sum(layer.kept for layer in layers) / sum(layer.weights for layer in layers),
            calibration=data_facts(inputs.data, inputs.calibration),
            test=None if inputs.test is None else data_facts(inputs.test, inputs.held),
            layers=layers,
            declined=tuple(dataclasses.asdict(each) for each in selection.declined),
            trim=units,
            validation=validation,
            bound=bound,
            notes=(*source.notes, *packed.notes, *rounded),
            warnings=(*inputs.warnings, *pruned.warnings, *self.warnings, *_emptied(layers)),
            seconds=self.seconds,
            peak_bytes=peak_bytes(),
            latency=latency,
            on_the_cpu=left_to_the_cpu(packed.model, next(inputs.calibration.batches()), runtime),
        )


def _trimmed(selection: Selection, trim: TrimPlan, options: Options) -> Selection:
    """What is left to prune and correct when units go.

    Where nothing is pruned besides, layers that lose nothing and share a weight stay as they are: corrected, each of
    them would need a weight of its own, and the file would grow.
    """
    gone = trim.gone()
    stay = [
        layer
        for layer in selection.layers
        if layer.name not in gone and len({use.node for use in layer.weight.uses()}) > 1
    ]
    if options.pruned_share or options.layers or len(stay) == len(selection.layers):
        stay = []
    reason = "it shares its weight and loses nothing"
    declined = (Declined(layer.name, layer.operator, reason, layer.size) for layer in stay)
    layers = tuple(layer for layer in selection.layers if layer not in stay)
    return dataclasses.replace(selection, layers=layers, declined=(*selection.declined, *declined), gone=gone)


def _emptied(layers: Sequence[LayerFacts]) -> Iterator[str]:
    empty = [layer.name for layer in layers if not layer.kept]
    if empty:
        listed = ", ".join(empty[:3]) + (", …" if len(empty) > 3 else "")
        yield (
            f"no weight is left in {listed}: the input never varied on the calibration inputs, or the sparsity asks "
            "for it; more calibration inputs, or another sparsity for the layer, would keep it alive"
        )


def _without_folder(warnings: tuple[str, ...], data: Data) -> tuple[str, ...]:
    """The warnings, the data's path shortened to its name."""
    path = path_of(data)
    return tuple(text.replace(str(path), path.name) for text in warnings) if path else warnings
