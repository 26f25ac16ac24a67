"""Run the model over the calibration samples and stream the statistics of each layer."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Collection, Container, Hashable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.dependencies import position_axes
from netsurgeon.passes.graph import names_read_once
from netsurgeon.passes.layers import Layer, PooledMap, find_layers
from netsurgeon.passes.pruning import LayerMoments
from netsurgeon.passes.solvers import AMPLE
from netsurgeon.pipeline.calibration.remote_shards import RemoteShards
from netsurgeon.pipeline.calibration.row_moments import (
    Drawing,
    ShardMoments,
    available_branch,
    count_positions,
    has_few_outputs,
    shard_moments,
    total_of,
)
from netsurgeon.pipeline.calibration.segments import Segment, cut
from netsurgeon.pipeline.calibration.shards import LocalShards, Shards, Walker
from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.execution import Executor, InProcess, Pending, as_is
from netsurgeon.pipeline.progress import Ticks, no_ticks
from netsurgeon.pipeline.runtime import Runtime, observe

MOST_ROWS = 262_144
FEWEST_RIDGED = 0.25
"""With fewer inputs a column a ridge, at the dampings it has, makes a layer look cheaper to prune than it is."""


class SharedMoments:
    """Moments of a segment's layers by what they read, held until the last layer that reads it has come.

    Args:
        readings: what each of these layers reads.
    """

    def __init__(self, readings: Iterable[Hashable]):
        self._to_come = Counter(readings)
        self._moments: dict[Hashable, list[Pending[LayerMoments]]] = {}

    def take(self, reading: Hashable) -> list[Pending[LayerMoments]] | None:
        """What a layer reads, once for each; None where no layer before it had moments that serve it."""
        self._to_come[reading] -= 1
        return self._moments.get(reading) if self._to_come[reading] else self._moments.pop(reading, None)

    def keep(self, reading: Hashable, moments: list[Pending[LayerMoments]]) -> None:
        """Hold moments for the layers that are still to come, if there are any."""
        if self._to_come[reading]:
            self._moments[reading] = moments


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Everything a sweep needs.

    Attributes:
        samples: inputs of the model.
        runtime: how sessions are made.
        seed: of the rows drawn from large feature maps.
        max_elements: numbers drawn for a layer: narrow ones get more rows, up to MOST_ROWS.
        rows_per_column: rows drawn for each column of a layer's matrix, at least.
        population_size: inputs of which `samples` are a part that stands for all; 0 = they are all.
        executor: where the model is run and moments are made.
    """

    samples: Samples
    runtime: Runtime
    seed: int = 0
    max_elements: int = 30_000_000
    rows_per_column: int = 48
    population_size: int = 0
    executor: Executor = dataclasses.field(default_factory=InProcess)

    def subsample(self, share: float) -> Calibration:
        """The same with this share of the rows of each layer."""
        fewer = round(share * self.max_elements), round(share * self.rows_per_column)
        return dataclasses.replace(self, max_elements=fewer[0], rows_per_column=fewer[1])

    def part(self, samples: Samples) -> Calibration:
        """The same on a part of the inputs that stands for all of them."""
        return dataclasses.replace(self, samples=samples, population_size=self.samples.fed)

    def counting_in(self, model: ir.Model) -> Calibration:
        """The same, which knows of values that the model has since it was rewritten, too, which entries count.

        Args:
            model: of the same inputs; its values may be others.
        """
        mask = self.samples.mask
        if mask is None:
            return self
        names = [value.name or "" for value in model.graph.inputs]
        axis_of_inputs = {name: mask.axes[name].length for name in names if name in mask.axes}
        lengths = {name: (axis,) for name, axis in axis_of_inputs.items() if axis > 0}
        if not lengths:  # nothing tells which entries count
            return self
        observation = observe(model, self.samples.few(2, np.random.default_rng(0)), self.runtime)
        axes = position_axes(model.graph, observation, lengths)
        samples = self.samples.counting(dataclasses.replace(mask, axes={**axes, **mask.axes}))
        return dataclasses.replace(self, samples=samples)

    def dense(
        self, model: ir.Model, names: Sequence[str], ticks: Ticks = no_ticks
    ) -> Iterator[tuple[Layer, LayerMoments]]:
        """One dense sweep: the moments of each chosen layer's input, to be used and dropped one at a time.

        Every batch is a tick, with the number of the segment and of all segments.
        """
        for layer, moments in self.dense_where_made(model, names, ticks):
            yield layer, moments.result()

    def dense_where_made(
        self, model: ir.Model, names: Sequence[str], ticks: Ticks = no_ticks
    ) -> Iterator[tuple[Layer, Pending[LayerMoments]]]:
        """The same, of moments that stay where they are made; on workers a tick is then what has been sent to them."""
        layers = _by_name(model, names)
        segments, shards = self._segments(model, layers.values()), self._shards(model)
        with shards.walk(model, segments) as walk:
            for at, segment in enumerate(segments):
                tick = functools.partial(ticks, at, len(segments))
                walk.run(at, tick)
                shared = SharedMoments(_reading(layers[name], is_paired=False) for name in segment.layers)
                for name in segment.layers:
                    yield layers[name], self._shared_moments(layers[name], shards, [walk, None], tick, shared)[0]
                walk.release(at)

    def paired(
        self,
        dense: ir.Model,
        pruned_models: Sequence[ir.Model],
        plan: Mapping[str, bool],
        already_solved: Container[str] = (),
        ticks: Ticks = no_ticks,
    ) -> Iterator[tuple[int, int, list[dict[str, LayerMoments]]]]:
        """`paired_where_made`, of moments that are here."""
        for at, count, moments in self.paired_where_made(dense, pruned_models, plan, already_solved, ticks):
            yield at, count, [{name: made.result() for name, made in by_layer.items()} for by_layer in moments]

    def paired_where_made(
        self,
        dense: ir.Model,
        pruned_models: Sequence[ir.Model],
        plan: Mapping[str, bool],
        already_solved: Container[str] = (),
        ticks: Ticks = no_ticks,
    ) -> Iterator[tuple[int, int, list[dict[str, Pending[LayerMoments]]]]]:
        """Segment by segment, dense and current models side by side.

        The caller prunes the `pruned_models` between two segments, so later ones see their new activations.

        Args:
            dense: the model to be matched.
            pruned_models: clones of it, changed on the way.
            plan: layers to look at; True = on the current model's inputs, False = on the dense ones.
            already_solved: those of them whose moments nobody needs.
            ticks: called for every batch, with the number of the segment and of all segments.

        Yields:
            index of the segment, number of segments, and for each of `pruned_models` the moments of its layers.
        """
        layers = _by_name(dense, list(plan))
        segments = cut(dense.graph, [layer.node for layer in layers.values()])
        richer, shards = self._segments(dense, layers.values()), self._shards(dense)
        with contextlib.ExitStack() as stack:
            reference, *walks = (
                stack.enter_context(shards.walk(model, parts))
                for model, parts in ((dense, richer), *((current, segments) for current in pruned_models))
            )
            for current in pruned_models:  # layers get weights and biases of their own
                stack.enter_context(names_read_once(current.graph))
            for at, segment in enumerate(segments):
                tick = functools.partial(ticks, at, len(segments))
                for walk in walks if at else (reference, *walks):
                    walk.run(at, tick)
                moments: list[dict[str, Pending[LayerMoments]]] = [{} for _ in walks]
                names = [name for name in segment.layers if name not in already_solved]
                shared = SharedMoments(_reading(layers[name], is_paired=plan[name]) for name in names)
                for name in names:
                    observed_walks = walks if plan[name] else [None for _ in walks]
                    for by_layer, layer_moments in zip(
                        moments,
                        self._shared_moments(layers[name], shards, [reference, *observed_walks], tick, shared),
                        strict=True,
                    ):
                        by_layer[name] = layer_moments
                for walk in (reference, *walks):
                    walk.release(at)
                if at + 1 < len(segments):  # the dense model need not wait until the layers are solved
                    reference.run(at + 1, tick)
                yield at, len(segments), moments

    def _shards(self, dense: ir.Model) -> Shards:
        """The inputs of one sweep, here or on the workers."""
        if self.executor.is_here:
            return LocalShards(dense, self.samples, self.runtime)
        return RemoteShards(dense, self.samples, self.runtime, self.executor)

    def most_rows(self, layer: Layer) -> int:
        """Rows that are drawn of a layer's input, at most."""
        width = layer.groups * layer.columns
        return max(self.rows_per_column * (layer.columns // layer.blocks), min(MOST_ROWS, self.max_elements // width))

    def _shared_moments(
        self,
        layer: Layer,
        shards: Shards,
        walks: Sequence[Walker | None],
        tick: Callable[[], None],
        shared: SharedMoments,
    ) -> list[Pending[LayerMoments]]:
        """`_moments`, once for all layers of a segment that read the same rows of the same value: query, key, value.

        Args:
            layer: of the dense model.
            shards: of the inputs.
            walks: the dense model's, then those of the current models; None = the dense inputs alone.
            tick: called for every batch.
            shared: moments of the segment so far; every layer of it comes once.
        """
        is_paired = any(walk is not None for walk in walks[1:])
        reading = _reading(layer, is_paired=is_paired)
        moments = shared.take(reading)
        has_branch = layer.branch is not None
        branches = [
            shards.submit([0], available_branch, layer, [walks[0], walk])[0].result() if walk and has_branch else None
            for walk in walks[1:]
        ]
        if any(branches) or self._pooled(layer) is not None:
            return self._moments(layer, shards, walks, branches, tick)
        if moments is None:
            moments = self._moments(layer, shards, walks, branches, tick)
            if not (is_paired and has_few_outputs(layer)):  # else of what is lost at its own outputs
                shared.keep(reading, moments)
        return moments

    def _moments(
        self,
        layer: Layer,
        shards: Shards,
        walks: Sequence[Walker | None],
        branches: Sequence[str | None],
        tick: Callable[[], None],
    ) -> list[Pending[LayerMoments]]:
        """Moments of a layer beside each of the current models: those of all shards, joined in a fixed tree."""
        executor, numbers = self.executor, range(len(shards.ranges))
        batches = None if self.samples.is_ragged or self.samples.mask else shards.ranges[-1].stop
        total: Pending[int] | int = 0
        if batches is None:  # a shard alone does not know which share of all its rows are
            seen = shards.submit(numbers, count_positions, layer, walks[:1], self.samples.mask)
            total = executor.start(total_of, *seen, about=layer.name)
        observed = [walk for walk in walks if walk is not None]
        drawing = Drawing(
            seed=self.seed,
            mask=self.samples.mask,
            most=self.most_rows(layer),
            batches=batches,
            branches=branches,
            is_observed=[walk is not None for walk in walks[1:]],
            is_pooled=self._pooled(layer) is not None,
        )
        is_at_outputs = len(observed) > 1 and has_few_outputs(layer)
        weight = executor.start(as_is, layer.matrix().astype(np.float32)) if is_at_outputs else None
        values = (drawing, total, weight, *((tick,) if executor.is_here else ()))
        joined = executor.tree_reduce(  # tasks that have no name here hold their results no longer than the tree does
            ShardMoments.joined, shards.submit(numbers, shard_moments, layer, observed, *values), layer.name
        )
        for _ in () if executor.is_here else range(shards.ranges[-1].stop):  # what workers do is told when it is sent
            tick()
        models = range(len(walks) - 1)
        return [executor.start(ShardMoments.of_layer, joined, at, about=layer.name) for at in models]

    def _pooled(self, layer: Layer) -> PooledMap | None:
        """The map whose mean the layer reads; None where inputs are ample, or too few for a ridge (FEWEST_RIDGED)."""
        inputs = max(self.samples.fed, self.population_size)
        return PooledMap.of(layer) if FEWEST_RIDGED * layer.columns <= inputs < AMPLE * layer.columns else None

    def _segments(self, model: ir.Model, layers: Collection[Layer]) -> list[Segment]:
        """Segments of the walk that is matched; others need no maps, but have the same layers."""
        pooled = {layer.node: self._pooled(layer) for layer in layers}
        maps = {node: pooling.value for node, pooling in pooled.items() if pooling is not None}
        return cut(model.graph, [layer.node for layer in layers], maps)


def _reading(layer: Layer, *, is_paired: bool) -> Hashable:
    """What moments of a layer are of: which rows, of the dense model's inputs alone or beside a current model's."""
    return layer.reading, is_paired


def _by_name(model: ir.Model, names: Sequence[str]) -> dict[str, Layer]:
    wanted_names = set(names)
    return {layer.name: layer for layer in find_layers(model.graph)[0] if layer.name in wanted_names}
