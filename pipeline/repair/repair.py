"""Repair a pruned model: a little gradient descent, without labels, towards what the dense model gives.

Closed forms correct a layer for what it loses itself. What is left, errors that add up from layer to layer and meet in
nonlinearities, is tuned here: outputs and narrow values inside are to be the dense model's, on calibration inputs that
are moved and mirrored, so that a few hundred of them are enough. Zeros stay zeros.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import label
from netsurgeon.passes.quantization import find_integer_weights
from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.execution import RunFolder
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.progress import Progress
from netsurgeon.pipeline.repair.facts import RepairFacts
from netsurgeon.pipeline.repair.feeds import StepFeeds, choose_changes
from netsurgeon.pipeline.repair.inner_values import inner_values
from netsurgeon.pipeline.repair.known_part import known_part
from netsurgeon.pipeline.repair.patterns import Pattern, integer_patterns
from netsurgeon.pipeline.runtime import TOLERANCE, Runtime, is_large, relative_difference

HELD_OUT = 1 / 8
LEAST_INPUTS = 64
"""With fewer, what is held out says nothing."""
BATCH = 32
"""Samples of a step."""
EPOCHS, FEWEST_STEPS, MOST_STEPS = 40, 200, 2000
"""How often each input is trained on, and the steps that makes, at least and at most. On ResNet-20 with a tenth of its
weights the error on held-out inputs went from 0.235 to 0.182 in 15 epochs, and to 0.168 in 42."""
HASTY = 4
"""By how much fewer steps `effort` "fast" takes."""
ROUNDING_SHARE = 0.5
"""Most by which PyTorch and ONNX Runtime may differ where activations become integers, as a share of what integers
change: a sum that differs in its last digit now and then becomes the integer next to it, and so does what follows. On
MobileNet with weights of 4 bits that is 2 % of the outputs in the end, ONNX Runtime's own kernels make it 3 %, and
integers change 8 %."""


@dataclasses.dataclass(frozen=True)
class Repaired:
    """What became of a repair.

    Attributes:
        model: with the tuned weights, or as it was.
        facts: how it went; None where it could not be done.
        reason: why it could not.
    """

    model: ir.Model = dataclasses.field(repr=False)
    facts: RepairFacts | None = None
    reason: str | None = None


def repair_steps(inputs: int, *, is_hasty: bool) -> int:
    """Updates of the weights for so many calibration inputs, held-out ones included."""
    steps = round(EPOCHS * (1.0 - HELD_OUT) * inputs / BATCH)
    return min(max(steps, FEWEST_STEPS), MOST_STEPS) // (HASTY if is_hasty else 1)


def split_inputs(samples: Samples, seed: int) -> tuple[Samples, Samples]:
    """What a repair trains on, and what it holds out."""
    held_out, training = samples.kept().split(HELD_OUT, np.random.default_rng((seed, 1)))
    return training, held_out


def repair_model(
    dense: ir.Model,
    model: ir.Model,
    layers: Collection[ir.Node],
    samples: Samples,
    *,
    floats: ir.Model | None = None,
    left_alone: Collection[str],
    options: Options,
    runtime: Runtime,
    run_folder: RunFolder,
    progress: Progress,
) -> Repaired:
    """Tune the weights of a model towards the dense one; never worse than it was on inputs that are held out.

    Integers learn behind their rounding, and so do their scales.

    Args:
        dense: not changed.
        model: pruned, or on integers; its weights are changed.
        layers: of `dense`, with weights.
        samples: calibration inputs.
        floats: the model before it was put on integers; None = it is on floats.
        left_alone: labels of nodes whose weights stay.
        options: of the compression.
        runtime: to compare PyTorch with.
        run_folder: keeps what a run that is stopped goes on from.
        progress: called with stage, steps done and steps in all.
    """
    from netsurgeon.models.repair import Augmentation, RepairRecipe, tune

    stage = "repairing" if floats is None else "repairing integers"
    try:
        _check(model, samples)
        training, held_out = split_inputs(samples, options.seed)
        feeds = StepFeeds(training, held_out, BATCH, options.seed)
        feed, _ = next(feeds.held_out())
        pair = _pair(dense, model, layers, floats=floats, left_alone=left_alone, feed=feed, runtime=runtime)
        changes = choose_changes(training, options.augment)
        tuned = tune(
            pair.network,
            pair.dense,
            pair.inner,
            feeds,
            RepairRecipe(steps=repair_steps(samples.count, is_hasty=options.is_hasty)),
            augmentation=Augmentation(**dataclasses.asdict(changes)),
            seed=options.seed,
            device=options.device,
            report=functools.partial(progress, stage),
            kept=run_folder.arrays(stage),
            keep=functools.partial(run_folder.keep_arrays, stage),
        )
    except (CheckFailedError, InputError, ValueError, RuntimeError) as error:  # PyTorch's own are of the last two
        return Repaired(model, reason=next(iter(str(error).splitlines()), type(error).__name__))
    if tuned.best_step:
        _write(model, pair.network.arrays())
    figures = ("error_before", "error_after", "learning_rate", "tries", "steps", "seconds")
    facts = RepairFacts(
        **{name: getattr(tuned, name) for name in figures},
        augmentation=str(changes) if tuned.augmented else "none",
        inputs=training.count,
        held_out=held_out.count,
        inner=pair.inner,
        beyond=pair.beyond,
    )
    return Repaired(model, facts)


def _check(model: ir.Model, samples: Samples) -> None:
    """Raise what stands in the way before anything is loaded."""
    if is_large(model):
        raise CheckFailedError("the model has more than 1.5 GB of weights, which are not held in memory")
    if samples.count < LEAST_INPUTS:
        raise CheckFailedError(
            f"there are {samples.count} calibration inputs, expected {LEAST_INPUTS} or more, of which some are held out"
        )


@dataclasses.dataclass(frozen=True)
class _Pair:
    """What is tuned, and what it is to imitate.

    Attributes:
        dense: a `torch.nn.Module`.
        network: likewise.
        inner: names of values inside of both.
        beyond: operators behind which nothing is tuned.
    """

    dense: Any
    network: Any
    inner: tuple[str, ...]
    beyond: tuple[str, ...]


def _pair(
    dense: ir.Model,
    model: ir.Model,
    layers: Collection[ir.Node],
    *,
    floats: ir.Model | None,
    left_alone: Collection[str],
    feed: Mapping[str, npt.NDArray[Any]],
    runtime: Runtime,
) -> _Pair:
    """Both models in PyTorch, as far as it knows their operators, proven on a feed.

    Raises:
        CheckFailedError: PyTorch does not give ONNX Runtime's outputs, or lacks operators that the dense model has not.
        ValueError: nothing can be trained.
    """
    from netsurgeon.models.onnx_module import OPERATORS

    labels = [label(layer) for layer in layers]
    (dense_part, beyond), (part, unknown) = (known_part(whole, OPERATORS, labels, feed) for whole in (dense, model))
    dense_names, names = ({value.name for value in known.graph.outputs} for known in (dense_part, part))
    if unknown != beyond or names != dense_names:
        raise CheckFailedError(f"PyTorch does not know {', '.join(unknown)}, which other values enter than before")
    patterns = {} if floats is None else integer_patterns(floats, model)
    teacher, network = _modules(dense_part, part, left_alone, patterns)
    dense_outputs = _check_same(dense_part, teacher, feed, runtime)
    _check_same(part, network, feed, runtime, dense_outputs)
    return _Pair(teacher, network, _alike(dense_part, part, inner_values(dense.graph, layers)), beyond)


def _modules(
    dense: ir.Model, model: ir.Model, left_alone: Collection[str], patterns: Mapping[str, Pattern]
) -> tuple[Any, Any]:
    """The dense model and the other one in PyTorch.

    Raises:
        ValueError: an operator is not known there.
    """
    from netsurgeon.models.onnx_module import OnnxModule

    stay = [node for node in model.graph if label(node) in left_alone]
    biases = [use.node for node in stay for value in node.outputs for use in value.uses() if use.node.op_type == "Add"]
    names = {value.name for node in (*stay, *biases) for value in node.inputs if value is not None and value.name}
    frozen = {name for name in names if name in model.graph.initializers}
    return OnnxModule(ir.to_proto(dense)), OnnxModule(ir.to_proto(model), patterns, frozen)


def _check_same(
    model: ir.Model,
    module: Any,
    feed: Mapping[str, npt.NDArray[Any]],
    runtime: Runtime,
    dense_outputs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Check that PyTorch gives ONNX Runtime's outputs, which are returned.

    Args:
        model: as ONNX Runtime runs it.
        module: the same in PyTorch.
        feed: what both get.
        runtime: of the session.
        dense_outputs: for the same feed; where the model is on integers, what these change is the measure.

    Raises:
        CheckFailedError: it does not.
    """
    from netsurgeon.models.repair import outputs_of

    on_integers = dense_outputs is not None and bool(find_integer_weights(model.graph))
    expected = dict((runtime.on_floats() if on_integers else runtime).session(model).run(feed))
    outputs = outputs_of(module, feed)
    for name, value in expected.items():
        difference, allowed = relative_difference(value, outputs[name]), TOLERANCE
        if on_integers and dense_outputs is not None:
            rounding = _distance(value, dense_outputs[name])
            difference, allowed = _distance(value, outputs[name]), max(ROUNDING_SHARE * rounding, TOLERANCE)
        if not difference <= allowed:
            raise CheckFailedError(
                f"PyTorch and ONNX Runtime differ by {difference:.2g} of an output's scale, allowed {allowed:.2g}"
            )
    return expected


def _distance(expected: Any, actual: Any) -> float:
    """Root mean square difference, relative to that of what is expected; infinite for what cannot be compared."""
    if not isinstance(expected, np.ndarray) or expected.dtype.kind != "f":
        return relative_difference(expected, actual)
    if expected.shape != actual.shape:
        return np.inf
    gap, size = (float(np.sqrt(np.mean(np.square(x, dtype=np.float64)))) for x in (actual - expected, expected))
    return gap / size if size else gap


def _alike(dense: ir.Model, model: ir.Model, names: tuple[str, ...]) -> tuple[str, ...]:
    """Of these values those that both models have."""
    of_dense, of_other = ({value.name for node in each.graph for value in node.outputs} for each in (dense, model))
    outputs = {value.name for value in dense.graph.outputs}
    return tuple(name for name in names if name in of_dense & of_other - outputs)


def _write(model: ir.Model, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Give a model the tuned weights."""
    for name, array in arrays.items():
        model.graph.initializers[name].const_value = ir.Tensor(array, name=name)
