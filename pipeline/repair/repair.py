"""Repair a pruned model: a little gradient descent, without labels, towards what the dense model gives.

Closed forms correct a layer for what it loses itself. What is left, errors that add up from layer to layer and meet in
nonlinearities, is tuned here: outputs and narrow values inside are to be the dense model's, on calibration inputs that
are moved and mirrored, so that a few hundred of them are enough. Zeros stay zeros.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.graph import label
from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.execution import RunFolder
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.progress import Progress
from netsurgeon.pipeline.repair.behind import FRONT, INTEGERS, NOT_TUNED, RepairJob, reason_of, tune_behind
from netsurgeon.pipeline.repair.changes import choose_changes
from netsurgeon.pipeline.repair.facts import RepairFacts, StretchFacts
from netsurgeon.pipeline.repair.feeds import StepFeeds
from netsurgeon.pipeline.repair.inner_values import inner_values
from netsurgeon.pipeline.repair.known_part import known_part, nodes_in_front, unknown_operators
from netsurgeon.pipeline.repair.output_errors import OutputJudge
from netsurgeon.pipeline.repair.patterns import integer_patterns
from netsurgeon.pipeline.repair.torch_models import check_same, torch_modules
from netsurgeon.pipeline.runtime import Runtime, is_large

HELD_OUT = 1 / 8
LEAST_INPUTS = 64
"""With fewer, what is held out says nothing."""
BATCH = 32
"""Samples of a step."""
EPOCHS, FEWEST_STEPS, MOST_STEPS = 40, 200, 2000
"""How often each input is trained on, and the steps that makes, at least and at most. On ResNet-20 with a tenth of its
weights the error on held-out inputs went from 0.235 to 0.182 in 15 epochs, and to 0.168 in 42."""
SHORT = 4
"""By how much fewer steps `effort` "fast" takes, and a structure that is to be judged."""


@dataclasses.dataclass(frozen=True)
class Repaired:
    """What became of a repair.

    Attributes:
        model: with the tuned weights, or as it was.
        facts: how it went; None where nothing could be tuned.
        reason: why it could not, or not all of it.
        has_changed: whether its weights are others than before.
        left_out: why inputs were not varied in a way that the user named, by its name.
    """

    model: ir.Model = dataclasses.field(repr=False)
    facts: RepairFacts | None = None
    reason: str | None = None
    has_changed: bool = False
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)


def repair_steps(inputs: int, *, is_short: bool) -> int:
    """Updates of the weights for so many calibration inputs, held-out ones included."""
    steps = round(EPOCHS * (1.0 - HELD_OUT) * inputs / BATCH)
    return min(max(steps, FEWEST_STEPS), MOST_STEPS) // (SHORT if is_short else 1)


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
    is_short: bool,
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
        floats: the model that was rounded to integers; None = it is on floats.
        left_alone: labels of nodes whose weights stay.
        options: of the compression.
        is_short: whether it takes a quarter of the steps.
        runtime: to compare PyTorch with.
        run_folder: keeps what a run that is stopped goes on from.
        progress: called with stage, steps done and steps in all.
    """
    try:
        _check(model, samples)
        training, held_out = split_inputs(samples, options.seed)
    except (CheckFailedError, InputError, ValueError) as error:
        return Repaired(model, reason=reason_of(error))
    changes, left_out = choose_changes(training, options, dense, runtime)
    job = RepairJob(
        dense=dense,
        model=model,
        layers=layers,
        feeds=StepFeeds(training, held_out, BATCH, options.seed),
        changes=changes,
        steps=repair_steps(samples.count, is_short=is_short),
        left_alone=left_alone,
        options=options,
        runtime=runtime,
        run_folder=run_folder,
        progress=progress,
    )
    return dataclasses.replace(_repaired(job, floats), left_out=left_out)


def _repaired(job: RepairJob, floats: ir.Model | None) -> Repaired:
    """Tune what lies in front of operators that PyTorch does not know, then what lies behind; what loses is undone."""
    from netsurgeon.models.onnx_module import OPERATORS

    beyond = unknown_operators(job.dense.graph, OPERATORS)
    judge = OutputJudge(job.dense, job.model, job.feeds.held_out_samples, job.runtime) if beyond else None
    try:
        facts, reason = _tune_front(job, floats), None
    except NOT_TUNED as error:
        facts, reason = None, reason_of(error)
    if judge is None:
        return Repaired(job.model, facts, reason, has_changed=facts is not None and facts.has_helped)
    if facts is not None and facts.has_helped:
        reason = judge.undone()
    stretches = tune_behind(job, judge) if floats is None else ()
    if facts is None and not stretches:
        return Repaired(job.model, reason=reason)
    if set(job.layers).isdisjoint(nodes_in_front(job.dense.graph, OPERATORS)):
        reason = None if judge.has_gained else f"{reason}, and no stretch behind it got better"
    elif reason is not None:
        reason = f"in front of {', '.join(beyond)}, which PyTorch does not know: {reason}"
    facts = dataclasses.replace(
        _with_stretches(facts or _without_front(job, beyond), stretches, job),
        error_before=judge.first["relative error"],
        error_after=judge.losses["relative error"],
    )
    return Repaired(job.model, facts, reason, has_changed=judge.has_gained)


def _with_stretches(facts: RepairFacts, stretches: tuple[StretchFacts, ...], job: RepairJob) -> RepairFacts:
    """The facts of what lies in front, with what became of the stretches behind it."""
    steps = facts.steps + sum(stretch.steps for stretch in stretches)
    seconds = facts.seconds + sum(stretch.seconds for stretch in stretches)
    augmentation = facts.augmentation
    if stretches and augmentation != str(job.changes):
        augmentation = f"{augmentation}; {job.changes} behind {', '.join(facts.beyond)}"
    return dataclasses.replace(facts, steps=steps, seconds=seconds, stretches=stretches, augmentation=augmentation)


def _tune_front(job: RepairJob, floats: ir.Model | None) -> RepairFacts:
    """Tune what lies in front of the first operator that PyTorch does not know: where it knows all, the whole model.

    Raises:
        CheckFailedError: PyTorch does not give ONNX Runtime's outputs, or no layer lies there.
        ValueError: nothing can be trained.
        RuntimeError: PyTorch cannot run a network on the device.
    """
    from netsurgeon.models.repair import Augmentation, RepairRecipe

    stage = FRONT if floats is None else INTEGERS
    pair = _pair(job, floats)
    tuned = job.tune(
        pair.network,
        pair.dense,
        pair.inner,
        job.feeds,
        recipe=RepairRecipe(steps=job.steps),
        augmentation=Augmentation(**dataclasses.asdict(job.changes)),
        stage=stage,
        is_whole=not pair.beyond,
    )
    figures = ("error_before", "error_after", "learning_rate", "tries", "steps", "seconds")
    return RepairFacts(
        **{name: getattr(tuned, name) for name in figures},
        augmentation=str(job.changes) if tuned.augmented else "none",
        inputs=job.feeds.training.count,
        held_out=job.feeds.held_out_samples.count,
        inner=pair.inner,
        beyond=pair.beyond,
    )


def _without_front(job: RepairJob, beyond: tuple[str, ...]) -> RepairFacts:
    """The facts of a model in which nothing was tuned in front of the operators that PyTorch does not know."""
    return RepairFacts(
        error_before=0.0,
        error_after=0.0,
        inputs=job.feeds.training.count,
        held_out=job.feeds.held_out_samples.count,
        inner=(),
        learning_rate=0.0,
        tries=0,
        steps=0,
        augmentation=str(job.changes),
        seconds=0.0,
        beyond=beyond,
    )


def _check(model: ir.Model, samples: Samples) -> None:
    """Raise what stands in the way before anything is loaded."""
    if is_large(model):
        raise CheckFailedError("the model has more than 1.5 GB of weights, which are not held in memory")
    if samples.count < LEAST_INPUTS:
        raise CheckFailedError(
            f"there are {samples.count} calibration inputs, expected {LEAST_INPUTS} or more, of which some are held out"
        )
    if not any(value.dtype is None or value.dtype.is_floating_point() for value in model.graph.outputs):
        raise CheckFailedError("no output is a float, and nothing else tells how near the model is to the dense one")


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


def _pair(job: RepairJob, floats: ir.Model | None) -> _Pair:
    """Both models in PyTorch, as far as it knows their operators, proven on a feed.

    Raises:
        CheckFailedError: PyTorch does not give ONNX Runtime's outputs, or lacks operators that the dense model has not.
        ValueError: nothing can be trained.
    """
    from netsurgeon.models.onnx_module import OPERATORS

    feed, _ = next(job.feeds.held_out())
    labels = [label(layer) for layer in job.layers]
    (dense_part, beyond), (part, unknown) = (
        known_part(whole, OPERATORS, labels, feed) for whole in (job.dense, job.model)
    )
    dense_names, names = ({value.name for value in model.graph.outputs} for model in (dense_part, part))
    if unknown != beyond or names != dense_names:
        raise CheckFailedError(f"PyTorch does not know {', '.join(unknown)}, which other values enter than before")
    patterns = {} if floats is None else integer_patterns(floats, job.model)
    teacher, network = torch_modules(dense_part, part, job.left_alone, patterns)
    dense_outputs = check_same(dense_part, teacher, feed, job.runtime)
    check_same(part, network, feed, job.runtime, dense_outputs)
    return _Pair(teacher, network, _alike(dense_part, part, inner_values(job.dense.graph, job.layers)), beyond)


def _alike(dense: ir.Model, model: ir.Model, names: tuple[str, ...]) -> tuple[str, ...]:
    """Of these values those that both models have."""
    of_dense, of_other = (
        {value.name for node in graph for value in node.outputs} for graph in (dense.graph, model.graph)
    )
    outputs = {value.name for value in dense.graph.outputs}
    return tuple(name for name in names if name in of_dense & of_other - outputs)
