"""From a trained model and a few hundred of its inputs to a smaller model, with the evidence."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import importlib.metadata
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Unpack

import numpy as np
import onnx
import onnx_ir as ir

import netsurgeon
from netsurgeon.passes._layers import FLOATS, find_layers
from netsurgeon.passes._linalg import FactorizationError
from netsurgeon.passes.unpack_weights import packed_weights
from netsurgeon.pipeline.bound import Bound, measure_bound
from netsurgeon.pipeline.calibrate import Calibration
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.options import Options, OptionValues
from netsurgeon.pipeline.pack import Packed, pack
from netsurgeon.pipeline.prune import Plan, Progress, Pruned, Selection, make_plan, prune_segments, select
from netsurgeon.pipeline.report import DataFacts, LayerFacts, ModelFacts, Report
from netsurgeon.pipeline.runtime import Runtime, onnxruntime
from netsurgeon.pipeline.samples import InputSpec, Samples, open_samples
from netsurgeon.pipeline.samples import Source as Data
from netsurgeon.pipeline.source import ModelLike, Source, check_output_path, open_model, save_model, verify_same
from netsurgeon.pipeline.validate import Validation, load_metric, validate

HELD_OUT = 0.125
"""Share of the calibration inputs kept for validation where no test inputs are given."""
FEWEST_TO_SPLIT = 64
BOUND_SAMPLES = 256
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
    progress: Progress | None = None,
    **options: Unpack[OptionValues],
) -> Compression:
    """Prune a model's weights, correct the rest, verify it in ONNX Runtime, and pack it.

    Args:
        model: path of an ONNX file, a ModelProto or an `onnx_ir.Model`; never changed.
        data: calibration inputs: path of an npz, npy, folder or zip of pictures, arrays, feeds, "module:function"
            (see `open_samples`).
        test: inputs of the final measurement; where there are none a part of `data` is held out.
        output: where to write the compressed model.
        progress: called with stage, steps done and steps in all.
        **options: fields of `Options`.

    Raises:
        InputError: model, data or options cannot be used.
        CheckFailedError: the result did not pass verification; nothing was written.
    """
    chosen = Options(**options)
    return _Run(chosen, progress or _silent).compress(model, data, test, Path(output) if output is not None else None)


def _silent(stage: str, done: int, count: int) -> None:
    del stage, done, count


@dataclasses.dataclass
class _Run:
    """One compression: the options, and the time each stage took."""

    options: Options
    progress: Progress
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    _started: float = dataclasses.field(default_factory=time.perf_counter)

    def compress(self, model: ModelLike, data: Data, test: Data | None, output: Path | None) -> Compression:
        runtime = Runtime(self.options.custom_ops)
        load_metric(self.options.metric)
        self.progress("opening", 0, 1)
        source = open_model(model, runtime)
        if output is not None:
            check_output_path(output, source.path, *(_path_of(each) for each in (data, test)))
        calibration, held, is_held_out = self._samples(source, data, test)
        source = _verified(source, calibration, runtime)
        selection = select(source.model, self.options)
        self._stage("open")
        sweep = Calibration(calibration, runtime, self.options.seed)
        plan = make_plan(source.model, selection, sweep, self.options, self.progress)
        self._stage("measure")
        pruned_model = source.model.clone()
        try:
            pruned = prune_segments(source.model, pruned_model, plan, sweep, self.options, self.progress)
        except FactorizationError as error:
            raise CheckFailedError(f"{error}: give a larger --damping") from error
        self._stage("prune")
        validation, bound = self._validate(source, pruned_model, runtime, calibration, held, is_held_out)
        self._stage("validate")
        self.progress("packing", 0, 1)
        result = self._pack(source, pruned_model, calibration, runtime)
        self._stage("pack")
        facts = self._write(result.model, output, source, calibration, runtime)
        self._stage("write")
        report = self._report(
            source,
            selection,
            plan,
            pruned,
            pruned_model,
            result,
            validation,
            bound,
            facts,
            _data_facts(data, calibration),
            None if test is None else _data_facts(test, held),
            (*calibration.warnings, *(held.warnings if test is not None else ()), *pruned.warnings),
        )
        return Compression(result.model, report)

    def _stage(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self._started = round(now - self._started, 3), now

    def _samples(self, source: Source, data: Data, test: Data | None) -> tuple[Samples, Samples, bool]:
        """Calibration inputs, inputs to validate on, and whether calibration never sees the latter."""
        specs = input_specs(source.original)
        options = self.options
        settings = {"pictures": options.pictures, "classes": options.classes, "batch_size": options.batch_size}
        calibration = open_samples(data, specs, limit=options.limit, seed=options.seed, **settings)  # type: ignore[arg-type]
        if test is not None:
            return calibration, open_samples(test, specs, seed=options.seed, **settings), True  # type: ignore[arg-type]
        if calibration.count < FEWEST_TO_SPLIT:
            return calibration, calibration, False
        held, rest = calibration.split(HELD_OUT, np.random.default_rng(options.seed))
        return rest, held, True

    def _validate(
        self, source: Source, pruned: ir.Model, runtime: Runtime, calibration: Samples, held: Samples, held_out: bool
    ) -> tuple[Validation, Bound]:
        self.progress("validating", 0, 2)
        validation = validate(
            runtime.session(source.original),
            runtime.session(pruned),
            held,
            held_out=held_out,
            metric=self.options.metric,
            label_offset=self.options.label_offset,
        )
        self.progress("validating", 1, 2)
        few = calibration.subset(min(BOUND_SAMPLES, calibration.count), np.random.default_rng(self.options.seed))
        return validation, measure_bound(source.model, pruned, few.batches(), few.count, runtime)

    def _pack(self, source: Source, pruned: ir.Model, samples: Samples, runtime: Runtime) -> Packed:
        result = pack(pruned, next(samples.batches()), runtime) if self.options.pack else Packed(pruned, (), ())
        entry = {"version": netsurgeon.__version__, "method": self.options.method, "sparsity": self.options.sparsity}
        result.model.metadata_props["netsurgeon"] = json.dumps(entry)
        _check_interface(source.original, result.model)
        return result

    def _write(
        self, model: ir.Model, output: Path | None, source: Source, samples: Samples, runtime: Runtime
    ) -> ModelFacts:
        feed = next(samples.batches())

        def check(path: Path) -> None:
            runtime.session(path).run(feed)

        if output is not None:
            save_model(model, output, check)
        return model_facts(model, output)

    def _report(
        self,
        source: Source,
        selection: Selection,
        plan: Plan,
        pruned: Pruned,
        pruned_model: ir.Model,
        result: Packed,
        validation: Validation,
        bound: Bound,
        compressed: ModelFacts,
        calibration: DataFacts,
        test: DataFacts | None,
        warnings: tuple[str, ...],
    ) -> Report:
        layers = _layer_facts(selection, plan, pruned, pruned_model, result, bound)
        weights = sum(layer.weights for layer in layers)
        notes = [*source.notes, *result.notes]
        notes += [f"{r.name}: stored as {r.values}, because {r.reason}" for r in pruned.roundings if r.reason]
        return Report(
            versions=versions(),
            options=self.options.described(),
            dense=model_facts(source.original, source.path),
            compressed=compressed,
            sparsity=1.0 - sum(layer.kept for layer in layers) / weights,
            calibration=calibration,
            test=test,
            layers=layers,
            declined=tuple(dataclasses.asdict(each) for each in selection.declined),
            validation=validation,
            bound=bound,
            notes=tuple(notes),
            warnings=warnings,
            seconds=self.seconds,
            peak_bytes=peak_bytes(),
        )


def input_specs(model: ir.Model) -> tuple[InputSpec, ...]:
    """What the model takes: names, types and shapes of the inputs that have no default."""
    return tuple(
        InputSpec(
            value.name or "",
            np.dtype(value.dtype.numpy() if value.dtype is not None else np.float32),
            None if value.shape is None else tuple(d if isinstance(d, int) else None for d in value.shape),
        )
        for value in model.graph.inputs
        if not value.is_initializer()
    )


def _verified(source: Source, samples: Samples, runtime: Runtime) -> Source:
    """The source, its normal form proven equal on one batch; the model as given where it is not."""
    problem = verify_same(source.original, source.model, next(samples.batches()), runtime)
    if problem is None:
        return source
    note = f"normal form undone: {problem}"
    return dataclasses.replace(source, model=source.original.clone(), notes=(*source.notes, note))


def _check_interface(before: ir.Model, after: ir.Model) -> None:
    """Inputs without default and outputs keep names, types and shapes (DESIGN, promise 8)."""
    for kind, old, new in (
        ("inputs", [v for v in before.graph.inputs if not v.is_initializer()], after.graph.inputs),
        ("outputs", before.graph.outputs, after.graph.outputs),
    ):
        was, now = ([(v.name, str(v.type), str(v.shape)) for v in side] for side in (old, new))
        if was != now:
            raise CheckFailedError(f"the model's {kind} changed from {was} to {now}: please report this")


def _layer_facts(
    selection: Selection, plan: Plan, pruned: Pruned, model: ir.Model, result: Packed, bound: Bound
) -> tuple[LayerFacts, ...]:
    after = {layer.name: layer for layer in find_layers(model.graph)[0]}
    packings = {packing.name: packing for packing in result.packings}
    errors = {error.node: error.error for error in bound.layers}
    facts = []
    for layer in selection.layers:
        now, outcome = after[layer.name], pruned.outcomes[layer.name]
        constant = now.weight.const_value
        before = constant.nbytes if constant is not None else 0
        packing = packings.get(now.weight.name or "")
        cost = plan.costs.get(layer.name)
        facts.append(
            LayerFacts(
                layer.name,
                layer.operator,
                (layer.groups, layer.rows, layer.columns),
                layer.size,
                int(np.count_nonzero(now.matrix())),
                cost.sensitivity if cost else None,
                outcome.damping,
                outcome.samples,
                errors.get(layer.name, 0.0),
                str(packing.encoding) if packing else "dense",
                before,
                packing.bytes_after if packing else before,
                round(outcome.seconds, 3),
            )
        )
    return tuple(facts)


def model_facts(model: ir.Model, path: Path | None) -> ModelFacts:
    """Size, hash and parameters of a model, from its file where there is one."""
    digest, size, zipped = _measure(model, path)
    parameters = nonzero = 0
    hidden = set(packed_weights(model))
    for name, value in model.graph.initializers.items():
        if value.const_value is not None and value.const_value.dtype in FLOATS and name not in hidden:
            parameters += value.const_value.size
            nonzero += int(np.count_nonzero(value.const_value.numpy()))
    opset = model.graph.opset_imports.get("", 0)
    return ModelFacts(path.name if path else "", digest, size, zipped, opset, parameters, nonzero)


def _measure(model: ir.Model, path: Path | None) -> tuple[str, int, int]:
    digest, size = hashlib.sha256(), 0
    zipped = _Counter()
    with gzip.GzipFile(fileobj=zipped, mode="wb", mtime=0, compresslevel=6) as packer:  # type: ignore[call-overload]
        for block in _blocks(model, path):
            digest.update(block)
            packer.write(block)
            size += len(block)
    return digest.hexdigest(), size, zipped.count


class _Counter:
    """A file that only counts."""

    count = 0

    def write(self, block: bytes) -> int:
        self.count += len(block)
        return len(block)

    def flush(self) -> None:
        """Nothing to flush."""


def _blocks(model: ir.Model, path: Path | None) -> Iterator[bytes]:
    """The bytes of a model's files, in large pieces."""
    if path is None:
        yield ir.to_proto(model).SerializeToString()
        return
    folder = path.resolve().parent
    external = {
        folder / str(value.const_value.location)
        for value in ir.from_proto(onnx.load(path, load_external_data=False)).graph.initializers.values()
        if isinstance(value.const_value, ir.ExternalTensor)
    }
    for file in (path, *sorted(external)):
        with file.open("rb") as handle:
            while block := handle.read(1 << 22):
                yield block


def versions() -> dict[str, str]:
    """Versions of netsurgeon, Python and the libraries that shape the result."""
    found = {"netsurgeon": netsurgeon.__version__, "python": sys.version.split()[0]}
    found["onnxruntime"] = str(onnxruntime().__version__)
    for name in ("numpy", "scipy", "onnx", "onnx-ir", "onnxscript"):
        found[name] = importlib.metadata.version(name)
    return found


def peak_bytes() -> int:
    """Most resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _path_of(data: Data | None) -> Path | None:
    return Path(data) if isinstance(data, str | os.PathLike) and Path(data).exists() else None


def _data_facts(data: Data, samples: Samples) -> DataFacts:
    path = _path_of(data)
    name = path.name if path else data if isinstance(data, str) else type(data).__name__
    return DataFacts(name, samples.count, samples.digest())
