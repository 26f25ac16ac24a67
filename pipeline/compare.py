"""Models side by side on the same inputs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from netsurgeon.pipeline.calibration import examine_values
from netsurgeon.pipeline.data import DataSource, Samples
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
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.options import DataOptions, Options, OptionValues, RuntimeOptions, takes_options
from netsurgeon.pipeline.profiling import Profile, left_to_the_cpu, profile
from netsurgeon.pipeline.progress import Progress, ProgressLike, following, ticking
from netsurgeon.pipeline.report import comparison_rows, few_inputs, not_finite, plot_frontiers, unmeasured
from netsurgeon.pipeline.result import Overview, Result
from netsurgeon.pipeline.runtime import Feed, attribute_to_inputs
from netsurgeon.pipeline.side_by_side import Run, figures, name_apart, render_runs
from netsurgeon.pipeline.verification import (
    Judging,
    Validation,
    check_dense,
    choose_measure,
    examine_dense_model,
    open_by_options,
    validate,
    withhold_promise,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(Result):
    """Facts of both models, the second measured against the first.

    Attributes:
        dense: the reference.
        compressed: the other one.
        validation: on the given inputs.
        warnings: what the user should know of the inputs.
        notes: how the inputs are run, and why models are judged as they are.
        bound: the L-OBS bound and the error on the same inputs; None where the graphs differ in more than weights.
        on_the_cpu: nodes of the other model that the CPU runs though another execution provider was asked for.
        latency: both models timed in turn; None where that was not asked for.
    """

    dense: ModelFacts
    compressed: ModelFacts
    validation: Validation
    warnings: tuple[Message, ...]
    notes: tuple[Message, ...]
    bound: Bound | None
    on_the_cpu: tuple[str, ...]
    latency: Profile | None

    def overview(self) -> Overview:
        """How far the second model is off, and both side by side."""
        validation, ratio = self.validation, self.dense.bytes / self.compressed.bytes
        names = f"{self.compressed.name or 'the other model'} beside {self.dense.name or 'the first'}"
        smaller = f"{ratio:.1f} times smaller" if ratio >= 1.05 else "no smaller"
        errors = (
            f"output {output.output!r}: relative error {output.relative_error:.3g}" for output in validation.outputs
        )
        return Overview(
            headline=f"{names}: {smaller}, compared on {counted(validation.samples, 'input')}",
            sentences=(
                *errors,
                *map(str, validation.agreements),
                *(f"note: {text}" for text in self.notes),
                *(f"warning: {text}" for text in self.warnings),
            ),
            titles=("", "first", "other", ""),
            rows=tuple(comparison_rows(self.dense, self.compressed, validation)),
        )


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Comparisons(Result):
    """Several models measured against the same reference, on the same inputs.

    Attributes:
        comparisons: one a model, in the order they were given.
    """

    comparisons: tuple[Comparison, ...]

    @property
    def runs(self) -> list[Run]:
        """The models, to be laid side by side, by the names of their files."""
        names = [entry.compressed.name or f"model {at}" for at, entry in enumerate(self.comparisons, start=1)]
        return [
            Run(
                name=name,
                dense=entry.dense,
                model=entry.compressed,
                validation=entry.validation,
                latency=entry.latency,
                warnings=entry.warnings,
            )
            for name, entry in zip(name_apart(names), self.comparisons, strict=True)
        ]

    def overview(self) -> Overview:
        """All figures, a column a model."""
        runs, count = self.runs, self.comparisons[0].validation.samples
        beside = f"{len(runs)} models beside {runs[0].dense.name or 'the first'}"
        return Overview(
            headline=f"{beside}, compared on {counted(count, 'input')}",
            titles=("", *(run.name for run in runs)),
            rows=tuple((figure.title, *figure.texts) for figure in figures(runs)),
        )

    def to_html(self) -> str:
        """A page that needs nothing else: a sortable table, the frontier, two models set against each other."""
        return render_runs(self.runs)

    def plot(self) -> Figure:
        """Accuracy against bytes, and against milliseconds where models were timed, as a matplotlib figure."""
        return plot_frontiers([run.frontier for run in self.runs])


@takes_options(DataOptions, RuntimeOptions)
def compare(
    model: ModelLike,
    other: ModelLike,
    data: DataSource,
    progress: ProgressLike = None,
    **options: Unpack[OptionValues],
) -> Comparison:
    """Run both models on the same inputs in ONNX Runtime.

    With `profile=True` both are timed in turn as well, on so many `threads`.

    Args:
        model: the reference: path of an ONNX file, a ModelProto or an `onnx_ir.Model`.
        other: the one that is measured against it.
        data: inputs, as for `compress`.
        progress: True = shown as suits the terminal, the notebook or the log it runs in; or a function that is called
            with stage, steps done and steps in all.
        **options: fields of `Options`; those that say how inputs are read and models are run.

    Raises:
        InputError: a model or the data cannot be used, the models do not take and give the same values, or the
            reference's answers are no better than chance by the labels, or its figure is NaN.
        CheckFailedError: the other model's outputs are not finite where the reference's are, or it cannot run.
    """
    return compare_all(model, [other], data, progress, **options).comparisons[0]


@takes_options(DataOptions, RuntimeOptions)
def compare_all(
    model: ModelLike,
    others: Sequence[ModelLike],
    data: DataSource,
    progress: ProgressLike = None,
    **options: Unpack[OptionValues],
) -> Comparisons:
    """Run several models and the reference on the same inputs in ONNX Runtime, as `compare` does with one.

    Args:
        model: the reference, such as the dense model.
        others: models with its inputs and outputs, such as compressed copies of it.
        data: inputs, read once.
        progress: True = shown as suits the terminal, the notebook or the log it runs in; or a function that is called
            with stage, steps done and steps in all.
        **options: fields of `Options`.

    Raises:
        InputError: no other model is given, a model or the data cannot be used, the models do not take and give the
            same values, or the reference's answers are no better than chance by the labels, or its figure is NaN.
        CheckFailedError: another model's outputs are not finite where the reference's are, or it cannot run.
    """
    if not others:
        raise InputError("there is no model to compare with: give one or more")
    settings = Options(**options)
    with following(progress) as followed:
        followed("opening", 0, 1)
        first, *opened = (open_model(entry, settings.runtime()) for entry in (model, *others))
        for second in opened:
            _check_alike(first, second)
        reference = _Reference.examined_on(first, data, settings, followed)
        return Comparisons(comparisons=tuple(map(reference.compared, opened)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Reference:
    """What all models are measured against.

    Attributes:
        model: as it came.
        samples: what it is run on.
        settings: as given.
        judging: how models are judged.
        examined: what its answers on the inputs say of all figures.
        values: what is odd about the inputs.
        progress: called with stage, steps done and steps in all.
    """

    model: LoadedModel
    samples: Samples
    settings: Options
    judging: Judging
    examined: tuple[Message, ...]
    values: tuple[Message, ...]
    progress: Progress

    @classmethod
    def examined_on(cls, model: LoadedModel, data: DataSource, settings: Options, progress: Progress) -> _Reference:
        """The reference on some data, once its answers there are no worse than chance."""
        runtime, samples = settings.runtime(), open_by_options(model, data, settings, settings.limit)
        with attribute_to_inputs(model.original, runtime, samples):
            session = runtime.session(model.original)
            judging = choose_measure(
                model.original, session, samples, metric=settings.metric, label_offset=settings.label_offset
            )
            examined = examine_dense_model(
                session,
                samples,
                judging=judging,
                goals=None,
                ticks=functools.partial(progress, "opening"),
            )
            values = examine_values(model.original, samples, None, runtime)
        return cls(
            model=model,
            samples=samples,
            settings=settings,
            judging=judging,
            examined=tuple(examined),
            values=(*samples.warnings, *values),
            progress=progress,
        )

    def compared(self, second: LoadedModel) -> Comparison:
        """Another model beside it."""
        runtime, feed = self.settings.runtime(), self.samples.typical()
        with attribute_to_inputs(self.model.original, runtime, self.samples):
            validation = validate(
                runtime.session(self.model.original),
                runtime.session(second.original),
                self.samples,
                judging=self.judging,
                held_out=True,
                seed=self.settings.seed,
                ticks=functools.partial(self.progress, "comparing"),
            )
        figure = validation.dense.metric
        if figure is not None and np.isnan(figure):
            check_dense(validation.scale.title, figure, "these inputs")
        of_figures = (message for warnings in (few_inputs, unmeasured, not_finite) for message in warnings(validation))
        first_facts, second_facts = (model_facts(source.given, source.path) for source in (self.model, second))
        return Comparison(
            dense=first_facts,
            compressed=second_facts,
            validation=withhold_promise(validation, self.examined),
            warnings=(*self.examined, *self.values, *self.judging.warnings, *of_figures),
            notes=(*self.samples.notes, *self.judging.notes),
            bound=self._bound(second, feed),
            on_the_cpu=left_to_the_cpu(second.original, feed, runtime),
            latency=self._timed(second, feed) if self.settings.profile else None,
        )

    def _bound(self, second: LoadedModel, feed: Feed) -> Bound | None:
        """The error bound; None where the graphs differ in more than weights."""
        runtime = self.settings.runtime()
        first, second = verified(self.model, feed, runtime), verified(second, feed, runtime)
        first, second = (with_float_weights(source, feed, runtime.on_floats()) for source in (first, second))
        runtime = runtime.on_floats() if first.integers.grids else runtime
        ticks = functools.partial(self.progress, "bounding the error")
        batches = ticking(self.samples.batches(), ticks, self.samples.batch_count)
        try:
            return measure_bound(
                first.model, second.model, batches, self.samples.count, runtime=runtime, mask=self.samples.mask
            )
        except InputError:
            return None

    def _timed(self, second: LoadedModel, feed: Feed) -> Profile:
        """Both models in turn on the first inputs."""
        settings = self.settings
        return profile(
            self.model.runs_as,
            second.runs_as,
            data=[feed],
            batches=None if settings.timed_batch is None else (settings.timed_batch,),
            threads=settings.threads,
            provider=settings.provider,
            custom_ops=settings.custom_ops,
            progress=self.progress,
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
