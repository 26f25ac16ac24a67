"""Retrain a pruned ONNX model for a few hundred steps: its zeros stay, its graph stays, its other weights recover.

With a sparsity, the model is pruned first, and retrained, in rounds: L-OBS with light retraining (arXiv 1705.07565).
With integers, it is put on them at last, and retrained behind their rounding.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from netsurgeon.passes.packing import UnpackWeights
from netsurgeon.pipeline.data import InputSpec, PictureOptions, open_training_data
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.model_files import (
    LoadedModel,
    check_outputs,
    input_specs,
    open_model,
    read_model,
    save_model,
    verified,
)
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.progress import Progress, ProgressLike, following, silent
from netsurgeon.pipeline.quantization import check_trainable
from netsurgeon.pipeline.repair import Pattern, integer_patterns, require_torch, value_errors_as_input_errors
from netsurgeon.pipeline.runtime import Runtime
from netsurgeon.pipeline.training.compressing import on_integers, pruned, require_floats
from netsurgeon.pipeline.training.retrain_options import RetrainOptions
from netsurgeon.pipeline.training.scores import Reference, Scores, check_same, scores

PARITY_INPUTS = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Round:
    """One round of `retrain`, on the held-out part.

    Attributes:
        sparsity: to which the model was pruned; None where it was not.
        quantize: the integers on which it was put; None where it was not.
        before: as it was then.
        after: as it is retrained.
        taken: whether it went on as retrained; the last round has only pruned where retraining made it worse.
    """

    sparsity: float | None
    before: Scores
    after: Scores
    taken: bool
    quantize: str | None = None

    @property
    def is_as_given(self) -> bool:
        """Whether the model was retrained as it came."""
        return self.sparsity is None and self.quantize is None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retraining:
    """What came out of `retrain`.

    Attributes:
        steps: trained in all.
        trained: initializers that were trained.
        zeros: among the weights of the result.
        before: of the model as given, on the held-out part.
        after: of the result, on the held-out part.
        rounds: what happened.
        test: of the result, on the test part; None where the data has none.
    """

    steps: int
    trained: int
    zeros: int
    before: Scores
    after: Scores
    rounds: tuple[Round, ...]
    test: Scores | None


def retrain(
    model: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    progress: ProgressLike = None,
    **options: Any,
) -> Retraining | None:
    """Retrain what is not 0 in a model, pruned first where a sparsity is given, and put on integers where these are.

    It learns labels, the outputs of the dense model, or both. A model that runs on integers, as `compress` with
    `quantize` makes it, is retrained as such: its graph stays, its integers and their scales are learnt.

    Args:
        model: ONNX file; packed weights are unpacked first, and the result is not packed: `compress --keep-zeros`
            packs it.
        data: see `open_training_data`; labels are optional where the dense model is given.
        output: where the result goes.
        progress: True = shown as suits the terminal, the notebook or the log it runs in; or a function that is called
            with stage, steps done and steps in all.
        **options: fields of `RetrainOptions`.

    Returns:
        What came out; None in all processes but the first that ``torchrun`` started.

    Raises:
        InputError: the model holds operators that cannot be trained, or an argument cannot be used.
        CheckFailedError: PyTorch does not give ONNX Runtime's outputs, or the model has not become better on the
            held-out part; nothing was written.
    """
    settings = RetrainOptions(**options)
    require_torch()
    path, output = Path(model), Path(output)
    check_outputs([output], data, models=(path, settings.dense))
    with value_errors_as_input_errors(), following(progress) as followed:
        return _retrain(path, Path(data), output, settings, followed)


def _retrain(path: Path, data: Path, output: Path, options: RetrainOptions, progress: Progress) -> Retraining | None:
    from netsurgeon.models.training import process_group, split

    runtime = Runtime()
    plain = read_model(path)[0].clone()
    UnpackWeights()(plain)
    source = open_model(plain, runtime)
    check_trainable(source.integers)
    require_floats(source.model, options.sparsity, options.quantize)
    spec = _only_input(source)
    examples = open_training_data(data, spec.name, (spec.shape or (None,))[1:], options.pictures or _pictures(spec))
    teacher = None if options.dense is None else Reference(options.dense, spec.name, runtime)
    if teacher is None and examples.train.labels is None:
        raise InputError(f"{data} has no labels: give them, or the dense model with --dense to learn its outputs")
    rows, held_out = split(examples.train, max(round(options.validation * examples.train.count), 1), options.seed)
    probes = held_out.inputs(np.arange(min(PARITY_INPUTS, held_out.count)))
    model = verified(source, {spec.name: probes}, runtime).model
    if options.augmented and probes.ndim != 4:
        raise InputError(
            f"only pictures can be moved or mirrored, but an input has {counted(probes.ndim - 1, 'axis', 'axes')}"
        )
    first_scores = scores(model, held_out, teacher, runtime)
    rounds: list[Round] = []
    with process_group(options.device) as process:
        progress = progress if process.is_main_process else silent
        objective = _objective(rows, teacher, probes, options=options, process=process, progress=progress)
        work = _Work(
            name=spec.name,
            rows=rows,
            held_out=held_out,
            teacher=teacher,
            probes=probes,
            objective=objective,
            options=options,
            runtime=runtime,
            process=process,
            progress=progress,
        )
        for number in range(1, len(options.plan) + 1):
            model, training_round, trained = work.round(model, number)
            rounds.append(training_round)
        if not process.is_main_process:
            return None
    test = None if examples.test is None else scores(model, examples.test, teacher, runtime)
    save_model(model, output, runtime.session)
    return Retraining(
        steps=len(rounds) * options.steps,
        trained=len(trained),
        zeros=_zeros(model, trained),
        before=first_scores,
        after=rounds[-1].after if rounds[-1].taken else rounds[-1].before,
        rounds=tuple(rounds),
        test=test,
    )


@dataclasses.dataclass(frozen=True)
class _Work:
    """What a model is retrained on and with.

    Attributes:
        name: of the input.
        rows: what it is trained on.
        held_out: what choices are made on.
        teacher: the dense model.
        probes: inputs on which PyTorch and ONNX Runtime are compared.
        objective: the loss.
        options: the user's.
        runtime: of sessions.
        process: who we are.
        progress: called with the stage, the steps done and the steps in all.
    """

    name: str
    rows: Any
    held_out: Any
    teacher: Reference | None
    probes: npt.NDArray[np.float32]
    objective: Any
    options: RetrainOptions
    runtime: Runtime
    process: Any
    progress: Progress

    def round(self, model: ir.Model, number: int) -> tuple[ir.Model, Round, list[str]]:
        """One round: the model it goes on with, what happened, and the initializers that were trained."""
        from netsurgeon.models.onnx_module import OnnxModule
        from netsurgeon.models.training import Job

        sparsity, quantize = self.options.plan[number - 1]
        model, patterns = self._compressed(model, number)
        before = self._scores(model)
        module = OnnxModule(ir.to_proto(model), patterns)
        check_same(model, module, self.probes, self.runtime)
        module.to(self.process.device)
        stage = "retraining" if len(self.options.plan) == 1 else f"retraining, round {number}"
        Job(
            module,
            self.rows,
            self.objective,
            _recipe(self.options),
            seed=self.options.seed,
            process=self.process,
            report=functools.partial(self.progress, stage),
        ).run()
        module.to("cpu")
        trained = _shared(self.process, functools.partial(_with_arrays, model, module.arrays(), patterns))
        check_same(trained, module, self.probes, self.runtime)
        goes_on = number < len(self.options.plan)
        result = _judged(sparsity, quantize, before, self._scores(trained), goes_on)
        return trained if result.taken else model, result, module.trained

    def _compressed(self, model: ir.Model, number: int) -> tuple[ir.Model, Mapping[str, Pattern]]:
        """The model as the round trains it, and which of its integers are not to stay 0."""
        options = self.options
        sparsity, quantize = options.plan[number - 1]
        if sparsity is not None:
            self.progress(f"pruning, round {number}", 0, 1)
            make = functools.partial(pruned, model, self.name, self.rows, sparsity=sparsity, seed=options.seed)
            return _shared(self.process, make), {}
        if quantize is None:
            return model, {}
        self.progress("putting layers on integers", 0, 1)
        how = (quantize, options.target, options.timings, options.seed)
        integers = _shared(self.process, functools.partial(on_integers, model, self.name, self.rows, *how))
        return integers, integer_patterns(model, integers)

    def _scores(self, model: ir.Model) -> Scores:
        measure = functools.partial(scores, model, self.held_out, self.teacher, self.runtime)
        measured: Scores = self.process.broadcast_from_main(measure)
        return measured


def _recipe(options: RetrainOptions) -> Any:
    from netsurgeon.models.training import RETRAIN

    names = ("steps", "batch_size", "learning_rate", "shift", "flip", "bfloat16")
    return dataclasses.replace(RETRAIN, **{name: getattr(options, name) for name in names})


def _objective(
    rows: Any,
    teacher: Reference | None,
    probes: npt.NDArray[np.float32],
    options: RetrainOptions,
    process: Any,
    progress: Progress,
) -> Any:
    from netsurgeon.models.training import both, classification, imitation, live_imitation

    labelled = None if rows.labels is None else classification(rows.labels, process.device)
    if teacher is None:
        return labelled
    progress("asking the dense model", 0, 1)
    dense_outputs = teacher.outputs(rows)
    if options.augmented:
        imitated = live_imitation(teacher.module(probes).to(process.device), dense_outputs)
    else:
        imitated = imitation(dense_outputs, process.device)
    return imitated if labelled is None else both(labelled, imitated)


def _judged(sparsity: float | None, quantize: str | None, before: Scores, after: Scores, goes_on: bool) -> Round:
    """Labels decide where there are any, the distance to the dense outputs otherwise.

    Raises:
        CheckFailedError: a model has become worse that was to be retrained and nothing else.
    """
    name = "distance" if before.error is None else "error"
    was, now = getattr(before, name), getattr(after, name)
    result = Round(sparsity=sparsity, quantize=quantize, before=before, after=after, taken=goes_on or now <= was)
    if not now <= was and result.is_as_given:
        raise CheckFailedError(
            f"retraining made the model worse on the held-out part ({name} {was:.4g}, now {now:.4g}): more data, a "
            f"smaller --learning-rate or more --steps may help"
        )
    return result


def _only_input(source: LoadedModel) -> InputSpec:
    specs = input_specs(source.model)
    if len(specs) != 1 or specs[0].dtype != np.float32:
        raise InputError("only models with one input of type float32 can be retrained")
    if specs[0].shape is not None and specs[0].shape[:1] != (None,):
        raise InputError(
            f"the batch of input {specs[0].name!r} is fixed: only models with a free batch can be retrained"
        )
    return specs[0]


def _pictures(spec: InputSpec) -> PictureOptions:
    grey = spec.shape is not None and len(spec.shape) == 4 and spec.shape[1] == 1
    return PictureOptions(channels="grey" if grey else "RGB")


def _with_arrays(model: ir.Model, arrays: Mapping[str, npt.NDArray[Any]], patterns: Mapping[str, Pattern]) -> ir.Model:
    """A copy that holds these arrays.

    Args:
        model: not changed.
        arrays: by name of an initializer.
        patterns: by name: where False stands, it must be 0; None = where it was 0.

    Raises:
        CheckFailedError: a weight that was 0 is not any more.
    """
    trained = model.clone()
    for name, array in arrays.items():
        value = trained.graph.initializers[name]
        if array.ndim > 1 and array[~patterns.get(name, ~_empty(value))].any():
            raise CheckFailedError(f"zeros of {name!r} were lost: please report this")
        value.const_value = ir.Tensor(array, name=name)
    return trained


def _zeros(model: ir.Model, names: Iterable[str]) -> int:
    """Zeros among the weights of two axes or more."""
    empty = (_empty(model.graph.initializers[name]) for name in names)
    return sum(int(empty_mask.sum()) for empty_mask in empty if empty_mask.ndim > 1)


def _empty(value: ir.Value) -> npt.NDArray[np.bool_]:
    assert value.const_value is not None
    empty: npt.NDArray[np.bool_] = value.const_value.numpy() == 0
    return empty


def _shared(process: Any, make: Callable[[], ir.Model]) -> ir.Model:
    """The model that the process which leads makes, in all processes."""
    proto: onnx.ModelProto = process.broadcast_from_main(lambda: ir.to_proto(make()))
    return ir.from_proto(proto)
