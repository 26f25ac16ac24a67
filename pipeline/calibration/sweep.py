"""Run the model over the calibration samples and stream the statistics of each layer."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Collection, Container, Hashable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import names_read_once
from netsurgeon.passes.layers import Counted, Layer, PooledMap, find_layers, ridge_of
from netsurgeon.passes.pruning import LayerMoments
from netsurgeon.passes.solvers import AMPLE, Array, Moments, Rows
from netsurgeon.pipeline.calibration.segments import Segment, Walk, cut, prefetch
from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.progress import Ticks, no_ticks
from netsurgeon.pipeline.runtime import Runtime

MOST_ROWS = 262_144
BUFFERED_ROWS = 2048
"""Small batches wait until they have this many rows together before they enter the moments."""
HELD_EVERY = 5
"""One stretch of rows in so many is held out to choose the damping."""
FEWEST_RIDGED = 0.25
"""With fewer inputs a column a ridge, at the dampings it has, makes a layer look cheaper to prune than it is."""
FEW_OUTPUTS = 2
"""A layer with so many times more inputs than outputs gets what is lost at its outputs instead of X X̂ᵀ: less work."""
STRETCHES = 80
"""Rows of one picture are alike and pictures are often sorted by class: stretches are held out, from all over."""


SharedMoments = dict[Hashable, list[LayerMoments]]
"""Moments of a segment's layers, by what they read."""


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
        is_provisional: whether what is corrected on them is judged, and never delivered.
    """

    samples: Samples
    runtime: Runtime
    seed: int = 0
    max_elements: int = 30_000_000
    rows_per_column: int = 48
    population_size: int = 0
    is_provisional: bool = False

    def subsample(self, share: float) -> Calibration:
        """The same with this share of the rows of each layer."""
        fewer = round(share * self.max_elements), round(share * self.rows_per_column)
        return dataclasses.replace(self, max_elements=fewer[0], rows_per_column=fewer[1])

    def part(self, samples: Samples) -> Calibration:
        """The same on a part of the inputs that stands for all of them."""
        return dataclasses.replace(self, samples=samples, population_size=self.samples.fed)

    def dense(
        self, model: ir.Model, names: Sequence[str], ticks: Ticks = no_ticks
    ) -> Iterator[tuple[Layer, LayerMoments]]:
        """One dense sweep: the moments of each chosen layer's input, to be used and dropped one at a time.

        Every batch is a tick, with the number of the segment and of all segments.
        """
        layers = _by_name(model, names)
        segments = self._segments(model, layers.values())
        with Walk(model, segments, self.samples.batches(), self.runtime, self.samples.mask) as walk:
            for at, segment in enumerate(segments):
                tick = functools.partial(ticks, at, len(segments))
                walk.run(at, tick)
                shared: SharedMoments = {}
                for name in segment.layers:
                    yield layers[name], self._shared_moments(layers[name], walk, [None], tick, shared)[0]
                walk.release(at)

    def paired(
        self,
        dense: ir.Model,
        pruned_models: Sequence[ir.Model],
        plan: Mapping[str, bool],
        already_solved: Container[str] = (),
        ticks: Ticks = no_ticks,
    ) -> Iterator[tuple[int, int, list[dict[str, LayerMoments]]]]:
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
        richer = self._segments(dense, layers.values())
        with contextlib.ExitStack() as stack:
            reference, *walks = (
                stack.enter_context(Walk(model, parts, self.samples.batches(), self.runtime, self.samples.mask))
                for model, parts in ((dense, richer), *((current, segments) for current in pruned_models))
            )
            for current in pruned_models:  # layers get weights and biases of their own
                stack.enter_context(names_read_once(current.graph))
            for at, segment in enumerate(segments):
                tick = functools.partial(ticks, at, len(segments))
                for walk in (reference, *walks):
                    walk.run(at, tick)
                moments: list[dict[str, LayerMoments]] = [{} for _ in walks]
                shared: SharedMoments = {}
                for name in (layer_name for layer_name in segment.layers if layer_name not in already_solved):
                    observed_walks = walks if plan[name] else [None for _ in walks]
                    for by_layer, layer_moments in zip(
                        moments,
                        self._shared_moments(layers[name], reference, observed_walks, tick, shared),
                        strict=True,
                    ):
                        by_layer[name] = layer_moments
                for walk in (reference, *walks):
                    walk.release(at)
                yield at, len(segments), moments

    def most_rows(self, layer: Layer) -> int:
        """Rows that are drawn of a layer's input, at most."""
        width = layer.groups * layer.columns
        return max(self.rows_per_column * (layer.columns // layer.blocks), min(MOST_ROWS, self.max_elements // width))

    def _shared_moments(
        self,
        layer: Layer,
        dense: Walk,
        pruned_models: Sequence[Walk | None],
        tick: Callable[[], None],
        shared: SharedMoments,
    ) -> list[LayerMoments]:
        """`_moments`, once for all layers of a segment that read the same rows of the same value: query, key, value."""
        key = (layer.reading, tuple(walk is None for walk in pruned_models))
        branches = [walk and _available_branch(layer, dense, walk) for walk in pruned_models]
        if any(branches) or self._pooled(layer) is not None:
            return self._moments(layer, dense, pruned_models, tick)
        if key not in shared:
            result = self._moments(layer, dense, pruned_models, tick)
            if any(walk is not None for walk in pruned_models) and _has_few_outputs(layer):
                return result  # what is lost at its own outputs
            shared[key] = result
        return shared[key]

    def _moments(
        self, layer: Layer, dense: Walk, pruned_models: Sequence[Walk | None], tick: Callable[[], None]
    ) -> list[LayerMoments]:
        """Moments of a layer beside each of the current models; None = of the dense inputs alone."""
        columns = layer.columns // layer.blocks
        positions = self._positions(layer, dense)
        limits = self._limits(layer, positions)
        branches = [None if walk is None else _available_branch(layer, dense, walk) for walk in pruned_models]
        # With few outputs W (X − X̂) is accumulated at the outputs, at a cost of rows x columns a sample, not columns².
        has_few_outputs = _has_few_outputs(layer)
        weight = layer.matrix().astype(np.float32).transpose(0, 2, 1) if has_few_outputs else None
        pairs = [walk is not None and not has_few_outputs for walk in pruned_models]
        buffers = [_RowBuffer(Moments(layer.groups * layer.blocks, columns, paired=paired)) for paired in pairs]

        def drawn(batch: int) -> list[tuple[Rows, Rows | None, Rows | None]]:
            """Dense inputs, current inputs and what a branch has lost, for each of the current models."""
            # One generator a batch: the same rows are drawn from every value and model, or the pairs would not match.
            _check_finite(dense.value(source, batch), layer)
            counted = self._counted(layer, dense, batch)
            draw = functools.partial(self._draw, batch=batch, limit=limits[batch], counted=counted)
            before, result = draw(layer.samples, dense, source), []
            known_branch = next((branch for branch in branches if branch is not None), None)
            branch_before = None if known_branch is None else draw(layer.output_samples, dense, known_branch)
            for current, branch in zip(pruned_models, branches, strict=True):
                now = None if current is None else draw(layer.samples, current, source)
                # The current model may take another branch, or iterate less: what it would see there is not known.
                now = before if now is not None and now.shape != before.shape and layer.host is not None else now
                residual = None
                if current is not None and branch is not None and branch_before is not None:
                    residual = branch_before - draw(layer.output_samples, current, branch)
                result.append((before, now, residual))
            return result

        source = layer.input_name
        for sides in prefetch(drawn, dense.batches):
            tick()
            for (before, now, residual), buffer in zip(sides, buffers, strict=True):
                if weight is None or now is None:
                    buffer.add(before, now, residual)
                else:
                    at_outputs = np.asarray((before - now) @ weight, np.float32)
                    buffer.add(now, None, at_outputs if residual is None else at_outputs + residual)
        ridge = self._ridge(layer, dense, limits)
        return [dataclasses.replace(buffer.moments(), positions=sum(positions), ridge=ridge) for buffer in buffers]

    def _counted(self, layer: Layer, walk: Walk, batch: int) -> Counted | None:
        """Which rows of a layer's input count, (rows,); None = all."""
        mask = self.samples.mask
        if mask is None or layer.input_name not in mask.axes:
            return None
        x = np.broadcast_to(np.float32(0.0), walk.shape(layer.input_name, batch))
        entries = mask.entries(layer.input_name, walk.kept(batch), x.shape)
        return None if entries is None else layer.counted_rows(x, entries)

    def _positions(self, layer: Layer, dense: Walk) -> list[int]:
        """Rows that count of what a layer sees in each batch; in a body, as often as it is run."""
        counted = [self._counted(layer, dense, batch) for batch in range(dense.batches)]
        shapes = [dense.shape(layer.input_name, batch) for batch in range(dense.batches)]
        of_shape = {shape: layer.positions(np.broadcast_to(np.float32(0.0), shape)) for shape in set(shapes)}
        return [
            of_shape[shape] if rows is None else int(np.count_nonzero(rows))
            for shape, rows in zip(shapes, counted, strict=True)
        ]

    def _limits(self, layer: Layer, positions: Sequence[int]) -> list[int]:
        """Most rows that are drawn of each batch: where samples are of varying length as large a share of each."""
        most, count = self.most_rows(layer), len(positions)
        if not (self.samples.is_ragged or self.samples.mask):
            return [math.ceil(most / count)] * count
        return [math.ceil(most * rows / max(sum(positions), 1)) for rows in positions]

    def _ridge(self, layer: Layer, dense: Walk, limits: Sequence[int]) -> Array | None:
        """What damping multiplies where the layer's input is the mean of a map, one of each sample."""
        pooled = self._pooled(layer)
        name = "" if pooled is None else pooled.value.name or ""
        if pooled is None or not dense.holds(name):
            return None
        moments, waiting = Moments(1, layer.columns, paired=False), 0
        row_parts: list[Rows] = []
        for batch in range(dense.batches):
            x = dense.value(name, batch)
            if layer.positions(dense.value(layer.input.name or "", batch)) != len(x):
                return None
            rows = pooled.deviations(x, layer, limits[batch], np.random.default_rng([self.seed, batch]))
            if rows is None:
                return None
            row_parts.append(rows)
            waiting += rows.shape[1]
            if waiting >= BUFFERED_ROWS or batch == dense.batches - 1:
                moments.update(np.concatenate(row_parts, axis=1))
                row_parts, waiting = [], 0
        return ridge_of(moments)

    def _pooled(self, layer: Layer) -> PooledMap | None:
        """The map whose mean the layer reads; None where inputs are ample, or too few for a ridge (FEWEST_RIDGED)."""
        inputs = max(self.samples.fed, self.population_size)
        return PooledMap.of(layer) if FEWEST_RIDGED * layer.columns <= inputs < AMPLE * layer.columns else None

    def _segments(self, model: ir.Model, layers: Collection[Layer]) -> list[Segment]:
        """Segments of the walk that is matched; others need no maps, but have the same layers."""
        pooled = {layer.node: self._pooled(layer) for layer in layers}
        maps = {node: pooling.value for node, pooling in pooled.items() if pooling is not None}
        return cut(model.graph, [layer.node for layer in layers], maps)

    def _draw(
        self, rows_of: Callable[..., Rows], walk: Walk, name: str, *, batch: int, limit: int, counted: Counted | None
    ) -> Rows:
        """Rows of a value; the same ones of every value and model."""
        return rows_of(walk.value(name, batch), limit, np.random.default_rng([self.seed, batch]), counted)


class _RowBuffer:
    """Rows on their way into the moments; small batches wait for more."""

    def __init__(self, fit: Moments):
        self._fit = fit
        self._held_out_moments: Moments | None = None
        self._waiting: list[tuple[Rows, Rows | None, Rows | None]] = []
        self._count = 0
        self._is_fed = False

    def add(self, dense: Rows, current: Rows | None, residual: Rows | None) -> None:
        """What `Moments.update` takes; no rows of a branch that is not taken."""
        self._is_fed = True
        if dense.shape[1] == 0:
            return
        self._waiting.append((dense, current, residual))
        self._count += dense.shape[1]
        if self._count >= BUFFERED_ROWS:
            self._empty()

    def moments(self) -> LayerMoments:
        """What has come in.

        Raises:
            InputError: nothing has.
        """
        if self._waiting:
            self._empty()
        if not self._is_fed:
            raise InputError("no calibration samples were given")
        return LayerMoments(self._fit, self._held_out_moments or self._fit.like())

    def _empty(self) -> None:
        held_out = _held_out(self._count)
        dense, current, residual = (_joined(side) for side in zip(*self._waiting, strict=True))
        assert dense is not None
        self._waiting.clear()
        self._count = 0

        def update(moments: Moments, part: npt.NDArray[np.bool_]) -> None:
            at = np.flatnonzero(part)
            sides = (None if side is None else side.take(at, axis=1) for side in (current, residual))
            moments.update(dense.take(at, axis=1), *sides)

        update(self._fit, ~held_out)
        self._held_out_moments = self._held_out_moments or self._fit.like()
        update(self._held_out_moments, held_out)


def _has_few_outputs(layer: Layer) -> bool:
    return FEW_OUTPUTS * layer.rows <= layer.columns // layer.blocks


def _joined(parts: Sequence[Rows | None]) -> Rows | None:
    there = [part for part in parts if part is not None]
    return np.concatenate(there, axis=1) if there else None


def _by_name(model: ir.Model, names: Sequence[str]) -> dict[str, Layer]:
    wanted_names = set(names)
    return {layer.name: layer for layer in find_layers(model.graph)[0] if layer.name in wanted_names}


def _held_out(count: int) -> npt.NDArray[np.bool_]:
    """Which of so many rows are held out."""
    return np.asarray(np.arange(count) * STRETCHES // count % HELD_EVERY == HELD_EVERY - 1)


def _available_branch(layer: Layer, dense: Walk, current: Walk) -> str | None:
    """The branch that is added to the layer's output, where its values are there already and need no broadcasting."""
    branch = layer.branch
    if branch is None or not (dense.holds(branch.name or "") and current.holds(branch.name or "")):
        return None
    x, z = dense.value(layer.input.name or "", 0), dense.value(branch.name or "", 0)
    fits = z.ndim == x.ndim and z.ndim > 1 and z.size == layer.positions(x) * layer.groups * layer.rows
    return branch.name if fits else None


def _check_finite(x: np.ndarray, layer: Layer) -> None:
    if not np.isfinite(x).all():
        raise InputError(
            f"the input of layer {layer.name!r} is NaN or infinite on the calibration samples: "
            "check the samples' preprocessing, or the model itself"
        )
