"""Two models side by side on the same inputs."""

from __future__ import annotations

import dataclasses
from typing import Unpack

from netsurgeon.pipeline.calibration import examine_values
from netsurgeon.pipeline.data import DataSource
from netsurgeon.pipeline.error_bound import Bound, measure_bound
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files import (
    LoadedModel,
    ModelFacts,
    ModelLike,
    input_specs,
    model_facts,
    open_model,
    verified,
    with_float_weights,
)
from netsurgeon.pipeline.options import DataOptions, Options, OptionValues, RuntimeOptions, takes_options
from netsurgeon.pipeline.profiling import left_to_the_cpu
from netsurgeon.pipeline.report import comparison_rows, few_inputs
from netsurgeon.pipeline.result import Overview, Result
from netsurgeon.pipeline.runtime import attribute_to_inputs
from netsurgeon.pipeline.verification import (
    Validation,
    examine_dense_model,
    find_class_outputs,
    open_by_options,
    validate,
    withhold_promise,
)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(Result):
    """Facts of both models, the second measured against the first.

    Attributes:
        dense: the reference.
        compressed: the other one.
        validation: on the given inputs.
        warnings: what the user should know of the inputs.
        bound: the L-OBS bound and the error on the same inputs; None where the graphs differ in more than weights.
        on_the_cpu: nodes of the other model that the CPU runs though another execution provider was asked for.
    """

    dense: ModelFacts
    compressed: ModelFacts
    validation: Validation
    warnings: tuple[Message, ...]
    bound: Bound | None
    on_the_cpu: tuple[str, ...]

    def overview(self) -> Overview:
        """How far the second model is off, and both side by side."""
        validation, ratio = self.validation, self.dense.bytes / self.compressed.bytes
        names = f"{self.compressed.name or 'the other model'} beside {self.dense.name or 'the first'}"
        smaller = f"{ratio:.1f} times smaller" if ratio >= 1.05 else "no smaller"
        errors = (
            f"output {output.output!r}: relative error {output.relative_error:.3g}" for output in validation.outputs
        )
        return Overview(
            headline=f"{names}: {smaller}, compared on {validation.samples:,} inputs",
            sentences=(*errors, *map(str, validation.agreements), *(f"warning: {text}" for text in self.warnings)),
            titles=("", "first", "other", ""),
            rows=tuple(comparison_rows(self.dense, self.compressed, validation)),
        )


@takes_options(DataOptions, RuntimeOptions)
def compare(model: ModelLike, other: ModelLike, data: DataSource, **options: Unpack[OptionValues]) -> Comparison:
    """Run both models on the same inputs in ONNX Runtime.

    Args:
        model: the reference: path of an ONNX file, a ModelProto or an `onnx_ir.Model`.
        other: the one that is measured against it.
        data: inputs, as for `compress`.
        **options: fields of `Options`; those that say how inputs are read and models are run.

    Raises:
        InputError: a model or the data cannot be used, the models do not take and give the same values, or the
            reference's answers are no better than chance by the labels.
        CheckFailedError: the other model's outputs are not finite where the reference's are, or it cannot run.
    """
    settings = Options(**options)
    runtime = settings.runtime()
    first, second = open_model(model, runtime), open_model(other, runtime)
    _check_alike(first, second)
    samples = open_by_options(first, data, settings, settings.limit)
    with attribute_to_inputs(first.original, runtime, samples):
        dense, is_labelled = runtime.session(first.original), samples.labels is not None
        class_outputs = find_class_outputs(first.original, dense, samples, labelled=is_labelled).names
        examined = examine_dense_model(
            dense,
            samples,
            goals=None,
            label_offset=settings.label_offset,
            class_outputs=class_outputs,
            has_metric=settings.metric is not None,
        )
        values = examine_values(first.original, samples, None, runtime)
        validation = validate(
            dense,
            runtime.session(second.original),
            samples,
            held_out=True,
            metric=settings.metric,
            label_offset=settings.label_offset,
            class_outputs=class_outputs,
        )
    feed = next(samples.batches())
    on_the_cpu = left_to_the_cpu(second.original, feed, runtime)
    first, second = verified(first, feed, runtime), verified(second, feed, runtime)
    first, second = (with_float_weights(source, feed, runtime.on_floats()) for source in (first, second))
    runtime = runtime.on_floats() if first.integers.grids else runtime
    try:
        bound = measure_bound(first.model, second.model, samples.batches(), samples.count, runtime)
    except InputError:
        bound = None
    facts = [model_facts(source.given, source.path) for source in (first, second)]
    return Comparison(
        dense=facts[0],
        compressed=facts[1],
        validation=withhold_promise(validation, examined),
        warnings=(*examined, *samples.warnings, *values, *few_inputs(validation)),
        bound=bound,
        on_the_cpu=on_the_cpu,
    )


def _check_alike(first: LoadedModel, second: LoadedModel) -> None:
    """Both take the same names and types, and give the same names."""
    for kind, mine, theirs in (
        ("inputs", *([f"{spec.name}: {spec.dtype}" for spec in input_specs(s.original)] for s in (first, second))),
        ("outputs", *([str(value.name) for value in s.original.graph.outputs] for s in (first, second))),
    ):
        if set(mine) != set(theirs):
            raise InputError(
                f"the models differ in their {kind}, {', '.join(mine)} and {', '.join(theirs)}: "
                "compare a model with a compressed copy of it"
            )
