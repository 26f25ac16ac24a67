"""What integers would do to each layer: the range of its input, its error, its time, and what runs it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Unpack

import onnx_ir as ir

from netsurgeon.passes.layers import Layer, find_layers
from netsurgeon.passes.quantization import Scale
from netsurgeon.passes.rewriting import ConvolveShortcuts
from netsurgeon.passes.solvers import FactorizationError
from netsurgeon.pipeline.calibration import Calibration, examine_values
from netsurgeon.pipeline.data import DataSource
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.inspect import made_up_samples
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files import LoadedModel, ModelLike, input_specs, open_model, verified, weights_to_floats
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.options import (
    DataOptions,
    Options,
    OptionValues,
    PruneOptions,
    QuantizeOptions,
    ReportOptions,
    RuntimeOptions,
    takes_options,
)
from netsurgeon.pipeline.profiling import StructureTimer, Timed, TimingTable, timing_feeds, value_dependence
from netsurgeon.pipeline.progress import Progress, ProgressLike, following
from netsurgeon.pipeline.quantization import (
    TARGETS,
    USUAL_KEPT,
    Examination,
    IntegerChoice,
    IntegerModel,
    examine_integers,
    integers_of_bits,
    quantized_already,
    time_integers,
)
from netsurgeon.pipeline.report import compared_speed, stay_summary
from netsurgeon.pipeline.result import Overview, Result
from netsurgeon.pipeline.runtime import attribute_to_inputs
from netsurgeon.pipeline.verification import open_by_options


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerQuantization:
    """A layer, and what would become of it on integers.

    Attributes:
        name: of its node.
        operator: its type.
        low: least number that the integers of its input stand for; None without inputs, or where it cannot be had.
        high: the largest one.
        zero_point: the integer that stands for 0.
        errors: what its output loses by its weight's integers, relative to its energy, at each number of bits.
        floats_ms: milliseconds of its kernel on floats, with what is fused into it; None where ONNX Runtime shows none.
        integers_ms: likewise on integers.
        sparse_ms: likewise on the sparse kernel of the target `cpu-sparse`, with 30 % of its weights; None where none
            was timed.
        kernel: what ONNX Runtime runs its integers as; None where it cannot be put on them.
        reason: why it would stay on floats; None where it would not.
    """

    name: str
    operator: str
    low: float | None
    high: float | None
    zero_point: int | None
    errors: tuple[float, ...]
    floats_ms: float | None
    integers_ms: float | None
    kernel: str | None
    reason: str | None
    sparse_ms: float | None = None

    def cells(self, sizes: int, *, has_sparse: bool = False) -> tuple[str, ...]:
        """Its row of a table, with a column for each of so many numbers of bits, and perhaps one for sparse kernels."""
        input_range = "" if self.low is None else f"{_figure(self.low)} to {_figure(self.high)}"
        zero = "" if self.zero_point is None else str(self.zero_point)
        errors = [f"{error:.2g}" for error in self.errors] or [""] * sizes
        runs_as = (self.kernel or "floats") if self.reason is None else "floats"
        times = (_figure(self.floats_ms), _figure(self.integers_ms), *([_figure(self.sparse_ms)] if has_sparse else []))
        return (self.name, self.operator, input_range, zero, *errors, *times, runs_as)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class QuantizationInspection(Result):
    """What integers would do to a model.

    Attributes:
        name: file name of the model; empty where it came from memory.
        samples: inputs that ranges and errors were measured on; 0 where there are none.
        bits: of weights, at which errors are told.
        layers: in the order of the graph.
        timed: the model on floats, and the fastest one found with layers on integers, in turn; None where not timed.
        untimed: why nothing was timed; None where it was.
        gains: whether `compress` would put any layer on integers: the faster model is worth it; None where not timed.
        notes: what was done to the graph, how the inputs are run, and why nothing can be put on integers.
        warnings: what the user should know of the inputs.
    """

    name: str
    samples: int
    bits: tuple[int, ...]
    layers: tuple[LayerQuantization, ...]
    timed: Timed | None
    untimed: str | None
    gains: bool | None
    notes: tuple[Message, ...]
    warnings: tuple[Message, ...] = ()

    @property
    def verdict(self) -> tuple[str, ...]:
        """The model's times, and what `compress --quantize` would choose, a sentence each."""
        count, timed = len(self.layers), self.timed
        if timed is None:
            able = sum(layer.kernel is not None for layer in self.layers)
            remedy = ": give inputs with --data" if able and not self.samples else ""
            can = f"{able} of {counted(count, 'layer')} can run on integers"
            return (can, f"not timed: {self.untimed}{remedy}") if self.untimed else (can,)
        best = f"the whole model on integers: {compared_speed(timed)}"
        if not self.gains:
            return (f"{best}; --quantize would leave it on floats",)
        on_integers = sum(layer.reason is None for layer in self.layers)
        return (f"{best}; --quantize would put {on_integers} of {counted(count, 'layer')} on them",)

    @property
    def has_sparse(self) -> bool:
        """Whether sparse kernels were timed."""
        return any(layer.sparse_ms is not None for layer in self.layers)

    @property
    def titles_of_times(self) -> tuple[str, ...]:
        """Of the columns with milliseconds."""
        return ("float, ms", "int8, ms", *(("sparse, ms",) if self.has_sparse else ()))

    @property
    def staying(self) -> tuple[str, ...]:
        """Which layers stay on floats and why, a sentence a reason."""
        return stay_summary((layer.name, layer.reason) for layer in self.layers if layer.reason is not None)

    def overview(self) -> Overview:
        """What can run on integers, how fast that is, and each layer."""
        first, *others = self.verdict
        errors = (f"error, {number} bits" for number in self.bits)
        return Overview(
            headline=f"{self.name or 'The model'}: {first}",
            sentences=(
                *others,
                *self.staying,
                *(f"note: {note}" for note in self.notes),
                *(f"warning: {warning}" for warning in self.warnings),
            ),
            titles=("layer", "operator", "input", "zero", *errors, *self.titles_of_times, "runs as"),
            rows=tuple(layer.cells(len(self.bits), has_sparse=self.has_sparse) for layer in self.layers),
        )


@takes_options(QuantizeOptions, DataOptions, RuntimeOptions, PruneOptions, ReportOptions)
def inspect_quantization(
    model: ModelLike, data: DataSource | None = None, progress: ProgressLike = None, **options: Unpack[OptionValues]
) -> QuantizationInspection:
    """Look at what integers would do to a model, without changing it.

    Args:
        model: the model.
        data: calibration inputs; where there are none ranges and errors are left out, and times are of made-up inputs,
            if they cannot depend on their values.
        progress: True = shown as suits the terminal, the notebook or the log it runs in; or a function that is called
            with stage, steps done and steps in all.
        **options: fields of `Options`; those that say how data becomes inputs, `exclude`, `target`, `ranges`, and how
            models are timed.

    Raises:
        InputError: the model or the data cannot be used, the model is quantized already, or another provider than the
            CPU is asked for.
        CheckFailedError: the model cannot run on the inputs.
    """
    settings = Options(**options)
    if settings.provider != "cpu":
        raise InputError(f"integers run on the CPU, not on {settings.provider!r}: leave the provider out")
    with following(progress) as followed:
        return _inspect_quantization(model, data, settings, followed)


def _inspect_quantization(
    model: ModelLike, data: DataSource | None, settings: Options, progress: Progress
) -> QuantizationInspection:
    progress("opening", 0, 1)
    runtime = settings.runtime()
    source = open_model(model, runtime)
    incoming = weights_to_floats(source.model)[1]
    if incoming.layers:
        raise InputError(f"{quantized_already(incoming)}: give the float model that it was made from")
    samples = (
        made_up_samples(source, runtime) if data is None else open_by_options(source, data, settings, settings.limit)
    )
    attribution: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if data is not None:
        attribution = attribute_to_inputs(source.original, runtime, samples)
    with attribution:
        source = verified(source, next(samples.batches()), runtime)
        values = () if data is None else examine_values(source.original, samples, None, runtime)
        dense = source.model.clone()
        ConvolveShortcuts()(dense)
        calibration = Calibration(samples, runtime, settings.seed)
        examined = examine_integers(dense, settings, calibration)
        untimed = _why_untimed(source) if data is None else None
        if not TARGETS[settings.target].is_measured:
            untimed = f"what is fast on {settings.target!r} cannot be told here"
        if not examined.placement.layers:
            untimed = "no layer can run on integers"
        choice = None
        if not untimed:
            choice = _timed(
                source.original, dense, settings, calibration=calibration, is_real=data is not None, progress=progress
            )
        bits = integers_of_bits(settings)
        integers = () if data is None else _on_integers(examined, settings, calibration, progress)
    return QuantizationInspection(
        name=source.path.name if source.path else "",
        samples=0 if data is None else samples.count,
        bits=tuple(bits),
        layers=tuple(_entry(layer, examined, choice, integers) for layer in find_layers(examined.model.graph)[0]),
        timed=choice.timed if choice else None,
        untimed=untimed,
        gains=choice.gains if choice else None,
        notes=(*source.notes, *samples.notes, *examined.notes),
        warnings=() if data is None else (*samples.warnings, *values),
    )


def _why_untimed(source: LoadedModel) -> str | None:
    """Why times of made-up inputs would say nothing of real ones, if so."""
    for spec in input_specs(source.original):
        if spec.shape is None or None in spec.shape[1:]:
            return f"the input {spec.name!r} leaves more than its batch open"
    return value_dependence(source.original)


def _timed(
    original: ir.Model,
    dense: ir.Model,
    options: Options,
    *,
    calibration: Calibration,
    is_real: bool,
    progress: Progress,
) -> IntegerChoice:
    """The choice that `compress` would make, by the times of the dense model with layers on integers."""
    data = [calibration.samples.typical(options.timed_batch or 1)] if is_real else None
    batches = None if options.timed_batch is None else (options.timed_batch,)
    fed, _ = timing_feeds(original, data, batches, {}, options.seed)
    timer = StructureTimer(TimingTable(), dense, fed[0].feed, options.runtime(timed=True), lambda table: None)
    if options.has_sparse_kernels and options.sparsity is None and options.pattern is None:
        options = dataclasses.replace(options, sparsity=1.0 - USUAL_KEPT)
    return time_integers(dense, options, calibration, timer, progress)


def _on_integers(
    examined: Examination, options: Options, calibration: Calibration, progress: Progress
) -> tuple[IntegerModel, ...]:
    """The model with all that can be on integers, once for each number of bits.

    Raises:
        CheckFailedError: a damped Hessian has no Cholesky factor.
    """
    if not examined.placement.layers:
        return ()
    try:
        return examined.on_integers(list(integers_of_bits(options).values()), options, calibration, progress)
    except FactorizationError as error:
        raise CheckFailedError(str(error)) from error


def _entry(
    layer: Layer, examined: Examination, choice: IntegerChoice | None, integers: Sequence[IntegerModel]
) -> LayerQuantization:
    times = choice.times.get(layer.name) if choice else None
    reason = examined.reason(layer.name) or (choice.stay.get(layer.name) if choice else None)
    scale = _input_scale(layer, examined, integers[0].scales) if integers else None
    return LayerQuantization(
        name=layer.name,
        operator=layer.operator,
        low=scale.low if scale else None,
        high=scale.high if scale else None,
        zero_point=scale.zero if scale else None,
        errors=tuple(model.outcomes[layer.name].error for model in integers if layer.name in model.outcomes),
        floats_ms=times.floats if times else None,
        integers_ms=times.integers if times else None,
        kernel=examined.kernels.get(layer.name),
        reason=reason,
        sparse_ms=times.sparse.get(USUAL_KEPT) if times else None,
    )


def _input_scale(layer: Layer, examined: Examination, scales: Mapping[str, Scale]) -> Scale | None:
    return scales.get(examined.value_of(layer)) if layer.name in examined.placement.layers else None


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
