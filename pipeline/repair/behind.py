"""Tune what lies behind operators that PyTorch does not know: ONNX Runtime says what enters each stretch of it."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import label
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.execution import RunFolder
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.progress import Progress
from netsurgeon.pipeline.repair.changes import Changes
from netsurgeon.pipeline.repair.facts import StretchFacts
from netsurgeon.pipeline.repair.feeds import StepFeeds
from netsurgeon.pipeline.repair.inner_values import inner_values
from netsurgeon.pipeline.repair.known_part import nodes_in_front
from netsurgeon.pipeline.repair.output_errors import OutputJudge
from netsurgeon.pipeline.repair.stretches import Stretch, in_front_of, part_of, stretches_behind
from netsurgeon.pipeline.repair.torch_models import check_same, frozen_weights, write_weights
from netsurgeon.pipeline.runtime import Feed, Runtime, Session
from netsurgeon.pipeline.verification import score_divergence

logger = logging.getLogger(__name__)

TRIES = 2
"""At most, for each stretch: what does not learn at a third of the learning rate either stays."""
FRONT, STRETCH, INTEGERS = "repairing", "repairing stretch {}", "repairing integers"
"""Stages of the progress: of what lies in front of what PyTorch lacks, of each stretch behind, and of integers."""
REASONS = (CheckFailedError, InputError, ValueError, RuntimeError, IndexError)
"""Errors whose text says by itself why a part of the model stays as it is; the last three are PyTorch's, too."""
FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, TypeError)
"""What else may go wrong on the way through PyTorch. Nothing of the model has been changed by then, and a model, or a
whole search, is worth more than its repair."""
NOT_TUNED = (*REASONS, *FAILURES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RepairJob:
    """All that tuning needs.

    Attributes:
        dense: not changed.
        model: its weights are changed.
        layers: of `dense`, with weights.
        feeds: inputs, step by step.
        changes: what is done to them.
        steps: of a try.
        left_alone: labels of nodes whose weights stay.
        options: of the compression.
        runtime: to compare PyTorch with, and to run what lies in front of a stretch.
        run_folder: keeps what a run that is stopped goes on from.
        progress: called with stage, steps done and steps in all.
    """

    dense: ir.Model = dataclasses.field(repr=False)
    model: ir.Model = dataclasses.field(repr=False)
    layers: Collection[ir.Node]
    feeds: StepFeeds
    changes: Changes
    steps: int
    left_alone: Collection[str]
    options: Options
    runtime: Runtime
    run_folder: RunFolder
    progress: Progress

    def tune(
        self,
        network: Any,
        dense: Any,
        inner: Sequence[str],
        inputs: Any,
        *,
        recipe: Any,
        augmentation: Any,
        stage: str,
        is_whole: bool = False,
    ) -> Any:
        """Tune a network and give its weights to the model; how it went, a `netsurgeon.models.repair.Tuned`.

        Args:
            network: a part of the model, or all of it, as a `netsurgeon.models.onnx_module.OnnxModule`.
            dense: what it is to imitate.
            inner: names of values of both that are compared besides the outputs.
            inputs: a `netsurgeon.models.repair.RepairInputs`.
            recipe: a `netsurgeon.models.repair.RepairRecipe`.
            augmentation: a `netsurgeon.models.repair.Augmentation` of them.
            stage: told to `progress`, and the name under which the run folder keeps what a run goes on from.
            is_whole: whether its outputs are the model's: then the divergence of class scores, too, chooses the state.

        Raises:
            ValueError: nothing can be trained, or compared.
            RuntimeError: PyTorch cannot run a network on the device.
        """
        from netsurgeon.models.repair import tune

        tuned = tune(
            network,
            dense,
            inner,
            inputs,
            recipe,
            augmentation=augmentation,
            seed=self.options.seed,
            device=self.options.device,
            divergence=score_divergence if is_whole else None,
            report=functools.partial(self.progress, stage),
            kept=self.run_folder.arrays(stage),
            keep=functools.partial(self.run_folder.keep_arrays, stage),
        )
        if tuned.best_step:
            write_weights(self.model, network.arrays())
        return tuned


def layers_by_stage(graph: ir.Graph, layers: Collection[ir.Node]) -> dict[str, tuple[str, ...]]:
    """Labels of the layers that are tuned at once, by stage: what lies in front of operators that PyTorch lacks first.

    Args:
        graph: of the dense model.
        layers: its nodes with weights.
    """
    from netsurgeon.models.onnx_module import OPERATORS

    in_front = tuple(label(node) for node in nodes_in_front(graph, OPERATORS) if node in layers)
    stretches = stretches_behind(graph, layers, OPERATORS)
    return {FRONT: in_front} | {STRETCH.format(at): stretch.layers for at, stretch in enumerate(stretches, 1)}


def reason_of(error: Exception) -> str:
    """Why a part of the model stays as it is: the first line of an error, whose traceback the log has."""
    text = next(iter(str(error).splitlines()), type(error).__name__)
    if isinstance(error, REASONS):
        return text
    logger.info("a repair failed", exc_info=error)
    return f"PyTorch failed on it ({type(error).__name__}: {text})"


def tune_behind(job: RepairJob, judge: OutputJudge) -> tuple[StretchFacts, ...]:
    """Tune stretch by stretch, in the order of the graph, each on what those before it leave.

    A stretch that brings its own values no nearer, or the model's outputs, is undone.
    """
    from netsurgeon.models.onnx_module import OPERATORS

    facts = []
    for number, stretch in enumerate(stretches_behind(job.dense.graph, job.layers, OPERATORS), 1):
        stretch_facts = _tune_stretch(job, stretch, STRETCH.format(number))
        reason = judge.undone() if stretch_facts.has_helped else None
        if reason is not None:
            stretch_facts = dataclasses.replace(stretch_facts, error_after=stretch_facts.error_before, reason=reason)
        facts.append(stretch_facts)
    return tuple(facts)


def _tune_stretch(job: RepairJob, stretch: Stretch, stage: str) -> StretchFacts:
    """Tune one; what cannot be tuned stays, with the reason."""
    facts = StretchFacts(start=stretch.start, ends=stretch.ends, layers=stretch.layers)
    try:
        tuned = _tuned(job, stretch, stage)
    except NOT_TUNED as error:
        return dataclasses.replace(facts, reason=reason_of(error))
    figures = ("error_before", "error_after", "steps", "seconds")
    return dataclasses.replace(facts, **{name: getattr(tuned, name) for name in figures})


def _tuned(job: RepairJob, stretch: Stretch, stage: str) -> Any:
    """Tune one in place; how it went.

    Raises:
        CheckFailedError: it cannot be told from what is in front of it, or PyTorch gives other outputs.
        ValueError: nothing of it can be trained.
    """
    from netsurgeon.models.onnx_module import OnnxModule
    from netsurgeon.models.repair import Augmentation, Recorded, RepairRecipe

    feed, _ = next(job.feeds.held_out())
    feed = dict(feed) | _run(job.runtime.on_floats().session(in_front_of(job.model, [stretch.start], feed)), feed)
    part = part_of(job.model, stretch, (), feed)
    inner = inner_values(part.graph, [node for node in part.graph if label(node) in stretch.layers])
    part, dense_part = (part_of(whole, stretch, inner, feed) for whole in (job.model, job.dense))
    for one in (part, dense_part):
        _check_layers(one, stretch, {label(layer) for layer in job.layers})
    network = OnnxModule(ir.to_proto(part), frozen=_frozen(job, part))
    check_same(part, network, {name: feed[name] for name in network.inputs}, job.runtime)
    inputs = StretchFeeds(
        job.feeds,
        Augmentation(**dataclasses.asdict(job.changes)),
        job.options.seed,
        dense=job.runtime.session(in_front_of(job.dense, [*stretch.ends, *inner], feed)),
        current=job.runtime.session(in_front_of(job.model, [stretch.start], feed)),
    )
    network.outputs = list(stretch.ends)
    return job.tune(
        network,
        Recorded(stretch.ends),
        inner,
        inputs,
        recipe=RepairRecipe(steps=job.steps, tries=TRIES),
        augmentation=Augmentation(),
        stage=stage,
    )


def _frozen(job: RepairJob, part: ir.Model) -> set[str]:
    """Weights of a part that stay: those that were left alone, and those that the rest of the model takes, too."""
    inside = {label(node) for node in part.graph}
    shared = {
        value.name or ""
        for node in job.model.graph
        if label(node) not in inside
        for value in node.inputs
        if value is not None
    }
    return frozen_weights(part, job.left_alone) | (shared & set(part.graph.initializers))


@dataclasses.dataclass(frozen=True)
class StretchFeeds:
    """Feeds of a stretch: the model's inputs, what enters the stretch now, and what the dense model has inside it.

    Attributes:
        feeds: of the model's inputs.
        augmentation: a `netsurgeon.models.repair.Augmentation` of them.
        seed: of it.
        dense: gives the dense model's values that are compared.
        current: gives what enters.
    """

    feeds: StepFeeds
    augmentation: Any
    seed: int
    dense: Session = dataclasses.field(repr=False)
    current: Session = dataclasses.field(repr=False)

    def steps(self, start: int) -> Iterator[Sequence[tuple[Feed, int]]]:
        """The feeds of each step from this one on, with the samples in each; without end."""
        from netsurgeon.models.repair import augmented

        for step, feeds in enumerate(self.feeds.steps(start), start):
            yield [
                (self._recorded(augmented(self.augmentation, feed, self.seed, step, number)), count)
                for number, (feed, count) in enumerate(feeds)
            ]

    def held_out(self) -> Iterator[tuple[Feed, int]]:
        """Feeds of the inputs held out, with the samples in each."""
        return iter(self._held_out)

    @functools.cached_property
    def _held_out(self) -> list[tuple[Feed, int]]:
        return [(self._recorded(feed), count) for feed, count in self.feeds.held_out()]

    def entries(
        self, name: str, feed: Mapping[str, npt.NDArray[Any]], shape: tuple[int, ...]
    ) -> npt.NDArray[np.bool_] | None:
        """Which entries of a value count; None = all."""
        return self.feeds.entries(name, feed, shape)

    def _recorded(self, feed: Feed) -> Feed:
        return {**_run(self.dense, feed), **_run(self.current, feed), **feed}


def _run(session: Session, feed: Feed) -> dict[str, Any]:
    return dict(session.run(feed))


def _check_layers(part: ir.Model, stretch: Stretch, layers: Collection[str]) -> None:
    """Check that a part holds its own layers alone.

    Raises:
        CheckFailedError: something else of the model enters it, such as the shape of a value in front.
    """
    others = [name for name in (label(node) for node in part.graph) if name in layers and name not in stretch.layers]
    if others:
        raise CheckFailedError(f"more than the value {stretch.start!r} enters it, such as what {others[0]} gives")
