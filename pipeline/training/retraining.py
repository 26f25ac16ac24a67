"""Retrain a pruned ONNX model for a few hundred steps: its zeros stay, its graph stays, its other weights recover.

With a sparsity, the model is pruned first, and retrained, in rounds: L-OBS with light retraining (arXiv 1705.07565).
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
from netsurgeon.pipeline.compress import compress
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
from netsurgeon.pipeline.options import Progress
from netsurgeon.pipeline.quantization import check_trainable
from netsurgeon.pipeline.runtime import Runtime
from netsurgeon.pipeline.training.scores import Reference, Scores, check_same, scores
from netsurgeon.pipeline.training.torch_checks import require_torch, value_errors_as_input_errors
from netsurgeon.pipeline.training.training_options import TrainingOptions
from netsurgeon.pipeline.training.training_run import silent

PARITY_INPUTS = 32
CALIBRATION = 4096
"""Training inputs on which the model is pruned, at most."""


@dataclasses.dataclass(frozen=True)
class RetrainOptions(TrainingOptions):
    """Options of `retrain`.

    Attributes:
        dense: the model whose outputs are to be given; needed where the data has no labels.
        sparsity: share of all prunable weights that is removed; None = none but what is 0 already.
        rounds: of pruning and retraining; the share of weights kept falls by the same factor in each.
        steps: updates of the weights in a round.
        batch_size: examples a step.
        learning_rate: of the first step of a round, for Adam; it falls to 0 as a cosine.
        shift: pixels that a picture is moved at most, in each direction.
        flip: mirror half of the pictures left to right.
    """

    dense: Path | None = None
    sparsity: float | None = None
    rounds: int = 1
    steps: int = 500
    batch_size: int = 64
    learning_rate: float = 1e-3
    shift: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sparsity is not None and not 0.0 < self.sparsity < 1.0:
            raise InputError(f"sparsity is {self.sparsity}, expected a share above 0 and below 1")
        if self.rounds < 1 or (self.rounds > 1 and self.sparsity is None):
            raise InputError(f"rounds is {self.rounds}: it is 1 or more with a sparsity, and 1 without")

        if self.shift < 0:
            raise InputError(f"shift is {self.shift}, expected 0 pixels or more")

    @property
    def augmented(self) -> bool:
        """Whether the inputs of a step are other than those of the data."""
        return bool(self.shift) or self.flip

    @property
    def sparsities(self) -> list[float | None]:
        """That of each round."""
        if self.sparsity is None:
            return [None]
        kept = 1.0 - self.sparsity
        return [1.0 - kept ** (number / self.rounds) for number in range(1, self.rounds + 1)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Round:
    """One round of `retrain`, on the held-out part.

    Attributes:
        sparsity: to which the model was pruned; None where it was not.
        before: as it was then.
        after: as it is retrained.
        taken: whether it went on as retrained; the last round has only pruned where retraining made it worse.
    """

    sparsity: float | None
    before: Scores
    after: Scores
    taken: bool


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
    progress: Progress | None = None,
    **options: Any,
) -> Retraining | None:
    """Retrain what is not 0 in a model, pruned first where a sparsity is given.

    It learns labels, the outputs of the dense model, or both.

    Args:
        model: ONNX file; packed weights are unpacked first, and the result is not packed: `compress --keep-zeros`
            packs it.
        data: see `open_training_data`; labels are optional where the dense model is given.
        output: where the result goes.
        progress: called with stage, steps done and steps in all.
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
    with value_errors_as_input_errors():
        return _retrain(path, Path(data), output, settings, progress or silent)


def _retrain(path: Path, data: Path, output: Path, options: RetrainOptions, progress: Progress) -> Retraining | None:
    from netsurgeon.models.onnx_module import OnnxModule
    from netsurgeon.models.training import Job, process_group, split

    runtime = Runtime()
    plain = read_model(path)[0].clone()
    UnpackWeights()(plain)
    source = open_model(plain, runtime)
    check_trainable(source.integers)
    spec = _only_input(source)
    examples = open_training_data(data, spec.name, (spec.shape or (None,))[1:], options.pictures or _pictures(spec))
    teacher = None if options.dense is None else Reference(options.dense, spec.name, runtime)
    if teacher is None and examples.train.labels is None:
        raise InputError(f"{data} has no labels: give them, or the dense model with --dense to learn its outputs")
    rows, held_out = split(examples.train, max(round(options.validation * examples.train.count), 1), options.seed)
    probes = held_out.inputs(np.arange(min(PARITY_INPUTS, held_out.count)))
    model = verified(source, {spec.name: probes}, runtime).model
    if options.augmented and probes.ndim != 4:
        raise InputError(f"only pictures can be moved or mirrored, but an input has {probes.ndim - 1} axes")
    first_scores = before = scores(model, held_out, teacher, runtime)
    rounds = []
    with process_group(options.device) as process:
        progress = progress if process.is_main_process else silent
        objective = _objective(rows, teacher, probes, options=options, process=process, progress=progress)
        for number, sparsity in enumerate(options.sparsities, 1):
            if sparsity is not None:
                progress(f"pruning, round {number}", 0, 1)
                model = _shared(
                    process, functools.partial(_pruned, model, spec.name, rows=rows, sparsity=sparsity, options=options)
                )
                before = process.broadcast_from_main(functools.partial(scores, model, held_out, teacher, runtime))
            module = OnnxModule(ir.to_proto(model))
            check_same(model, module, probes, runtime)
            module.to(process.device)
            stage = "retraining" if options.rounds == 1 else f"retraining, round {number}"
            Job(
                module,
                rows,
                objective,
                _recipe(options),
                seed=options.seed,
                process=process,
                report=functools.partial(progress, stage),
            ).run()
            module.to("cpu")
            trained = _shared(process, functools.partial(_with_arrays, model, module.arrays()))
            check_same(trained, module, probes, runtime)
            after = process.broadcast_from_main(functools.partial(scores, trained, held_out, teacher, runtime))
            rounds.append(_judged(sparsity, before, after, number < options.rounds))
            model = trained if rounds[-1].taken else model
        if not process.is_main_process:
            return None
    test = None if examples.test is None else scores(model, examples.test, teacher, runtime)
    save_model(model, output, runtime.session)
    steps, zeros = len(rounds) * options.steps, _zeros(model, module.trained)
    after = rounds[-1].after if rounds[-1].taken else rounds[-1].before
    return Retraining(
        steps=steps,
        trained=len(module.trained),
        zeros=zeros,
        before=first_scores,
        after=after,
        rounds=tuple(rounds),
        test=test,
    )


def _pruned(model: ir.Model, name: str, rows: Any, sparsity: float, options: RetrainOptions) -> ir.Model:
    """The model with a share of its weights removed, by `compress`; every tensor keeps its shape."""
    calibration_rows = np.random.default_rng(options.seed).permutation(rows.count)[:CALIBRATION]
    return compress(
        model,
        {name: rows.inputs(np.sort(calibration_rows))},
        sparsity=sparsity,
        keep_unread=True,
        values="float32",
        pack=False,
        seed=options.seed,
    ).model


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


def _judged(sparsity: float | None, before: Scores, after: Scores, goes_on: bool) -> Round:
    """Labels decide where there are any, the distance to the dense outputs otherwise.

    Raises:
        CheckFailedError: a model has become worse that was to be retrained and nothing else.
    """
    name = "distance" if before.error is None else "error"
    was, now = getattr(before, name), getattr(after, name)
    if not now <= was and sparsity is None:
        raise CheckFailedError(
            f"retraining made the model worse on the held-out part ({name} {was:.4g}, now {now:.4g}): more data, a "
            f"smaller --learning-rate or more --steps may help"
        )
    return Round(sparsity=sparsity, before=before, after=after, taken=goes_on or now <= was)


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


def _with_arrays(model: ir.Model, arrays: Mapping[str, npt.NDArray[np.float32]]) -> ir.Model:
    """A copy that holds these arrays.

    Raises:
        CheckFailedError: a weight that was 0 is not any more.
    """
    trained = model.clone()
    for name, array in arrays.items():
        value = trained.graph.initializers[name]
        if array.ndim > 1 and array[_empty(value)].any():
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
