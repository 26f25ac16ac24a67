"""The moments of one layer's input over a shard of the calibration inputs, and how those of shards become one.

All of it is made from a shard's values alone, wherever they lie, and from what is the same for every shard (`Drawing`).
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from netsurgeon.passes.layers import Counted, Layer, PooledMap, ridge_of
from netsurgeon.passes.pruning import LayerMoments
from netsurgeon.passes.solvers import Moments, Rows
from netsurgeon.pipeline.calibration.segments import prefetch
from netsurgeon.pipeline.data import PositionMask
from netsurgeon.pipeline.errors import InputError

BUFFERED_ROWS = 2048
"""Small batches, and small shards, wait until they have this many rows together, or as many as there are columns,
before they enter the moments: these take more room than the rows, and more time to join."""
HELD_EVERY = 5
"""One stretch of rows in so many is held out to choose the damping."""
FEW_OUTPUTS = 2
"""A layer with so many times more inputs than outputs gets what is lost at its outputs instead of X X̂ᵀ: less work."""
STRETCHES = 80
"""Rows of one picture are alike and pictures are often sorted by class: stretches are held out, from all over."""


class Part(Protocol):
    """Values of one model on the batches of a shard.

    Attributes:
        numbers: of its batches among all.
    """

    @property
    def numbers(self) -> range:
        """Numbers of its batches among all."""

    def holds(self, name: str) -> bool:
        """Whether a value has been made and is still needed."""

    def value(self, name: str, batch: int) -> Any:
        """A value by its name and the number of the batch."""

    def shape(self, name: str, batch: int) -> tuple[int, ...]:
        """Its shape."""

    def kept(self, batch: int) -> npt.NDArray[np.bool_]:
        """Which positions of a batch count, (samples, positions); there is none without a mask."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing:
    """Which rows of a layer's input enter its moments: the same ones of every model, whoever draws them.

    Attributes:
        seed: each batch has a generator of its own, made from this and its number.
        mask: which positions count; None = all.
        most: rows of all batches together, about.
        batches: how many there are, where as many rows are drawn of each; None = as large a share of each, as where
            samples are of varying length.
        branches: of each current model the branch added to the layer's output, whose loss is measured; None = none.
        is_observed: of each current model whether its own inputs are looked at beside the dense ones.
        is_pooled: whether a ridge is made from the map whose mean the layer reads.
    """

    seed: int
    mask: PositionMask | None
    most: int
    batches: int | None
    branches: Sequence[str | None]
    is_observed: Sequence[bool]
    is_pooled: bool

    def limits(self, positions: Mapping[int, int], total: int) -> dict[int, int]:
        """Most rows that are drawn of each batch, by its number.

        Args:
            positions: rows that count of each.
            total: of all batches of all shards; 0 where as many are drawn of each.
        """
        if self.batches is not None:
            return dict.fromkeys(positions, math.ceil(self.most / self.batches))
        return {batch: math.ceil(self.most * rows / max(total, 1)) for batch, rows in positions.items()}

    def generator(self, batch: int) -> np.random.Generator:
        """One a batch: the same rows are drawn from every value and model, or the pairs would not match."""
        return np.random.default_rng([self.seed, batch])


class RowMoments:
    """Moments of rows, and of those of them that are held out; the last rows wait until there are enough of them.

    Those of two shards are joined with the rows that wait: a shard with a row a picture is too small to hold rows out
    of it, and moments of its own would take columns² numbers for a few rows.
    """

    def __init__(self, groups: int, columns: int, *, paired: bool):
        self._shape, self._paired = (groups, columns), paired
        self._entered: tuple[Moments, Moments] | None = None
        self._waiting: list[tuple[Rows, Rows | None, Rows | None]] = []
        self._count = 0

    def add(self, dense: Rows, current: Rows | None, residual: Rows | None) -> None:
        """What `Moments.update` takes; no rows of a branch that is not taken."""
        if dense.shape[1] == 0:
            return
        self._waiting.append((dense, current, residual))
        self._count += dense.shape[1]
        if self._count >= max(BUFFERED_ROWS, self._shape[1]):
            self._enter()

    def joined(self, later: RowMoments) -> RowMoments:
        """Those of both, which stay what they are: a cluster may join them a second time."""
        result = RowMoments(*self._shape, paired=self._paired)
        if self._entered is None or later._entered is None:
            result._entered = copy.deepcopy(self._entered or later._entered)
        else:
            fit, held_out = (one.joined(other) for one, other in zip(self._entered, later._entered, strict=True))
            result._entered = fit, held_out
        for rows in (*self._waiting, *later._waiting):
            result.add(*rows)
        return result

    def ended(self) -> tuple[Moments, Moments]:
        """Those of most rows and those held out, the rows that have waited among them."""
        if self._waiting or self._entered is None:
            self._enter()
        assert self._entered is not None
        return self._entered

    def _enter(self) -> None:
        fit, held_out = self._entered or (Moments(*self._shape, paired=self._paired), None)
        if self._waiting:
            is_held_out = _held_out(self._count)
            dense, current, residual = (_joined(side) for side in zip(*self._waiting, strict=True))
            assert dense is not None
            self._waiting.clear()
            self._count = 0

            def update(moments: Moments, part: npt.NDArray[np.bool_]) -> None:
                at = np.flatnonzero(part)
                sides = (None if side is None else side.take(at, axis=1) for side in (current, residual))
                moments.update(dense.take(at, axis=1), *sides)

            update(fit, ~is_held_out)
            held_out = held_out or fit.like()  # around the same origin
            update(held_out, is_held_out)
        self._entered = fit, held_out or fit.like()


@dataclasses.dataclass(frozen=True)
class ShardMoments:
    """Moments of one layer over some shards.

    Attributes:
        models: of each current model.
        ridge: of the map that the layer reads the mean of; None where there is no ridge.
        positions: rows that count of what the layer has seen, drawn or not.
    """

    models: tuple[RowMoments, ...]
    ridge: Moments | None
    positions: int

    def joined(self, later: ShardMoments) -> ShardMoments:
        """Those of both."""
        models = tuple(rows.joined(other) for rows, other in zip(self.models, later.models, strict=True))
        ridge = None if self.ridge is None or later.ridge is None else self.ridge.joined(later.ridge)
        return ShardMoments(models, ridge, self.positions + later.positions)

    def of_layer(self, model: int) -> LayerMoments:
        """As what a layer is pruned by, of a current model by its number."""
        ridge = None if self.ridge is None else ridge_of(self.ridge)
        return LayerMoments(*self.models[model].ended(), positions=self.positions, ridge=ridge)


def shard_moments(
    layer: Layer,
    parts: Sequence[Part],
    drawing: Drawing,
    total: int,
    weight: Rows | None,
    tick: Callable[[], None] = lambda: None,
) -> ShardMoments:
    """Moments of a layer over a shard.

    Args:
        layer: of the dense model.
        parts: values of the dense model on the shard, then those of each current model that is observed.
        drawing: which rows.
        total: what `count_positions` gives of all shards together; 0 where as many rows are drawn of each batch.
        weight: (groups, rows, columns) of a layer with few outputs, at which its loss is measured; else None. In the
            order in which it travels, since BLAS sums a transposed one in another.
        tick: called for every batch.

    Raises:
        InputError: the layer's input is not finite.
    """
    columns = layer.columns // layer.blocks
    pairs = [is_observed and weight is None for is_observed in drawing.is_observed]
    moments = [RowMoments(layer.groups * layer.blocks, columns, paired=paired) for paired in pairs]
    numbers, positions = parts[0].numbers, _positions(layer, parts[0], drawing.mask)
    limits = drawing.limits(positions, total)
    drawn = functools.partial(_drawn, layer, parts, drawing, limits)
    for sides in prefetch(lambda at: drawn(numbers[at]), len(numbers)):
        tick()
        for (before, now, residual), rows in zip(sides, moments, strict=True):
            if weight is None or now is None:
                rows.add(before, now, residual)
            else:
                at_outputs = np.asarray((before - now) @ weight.transpose(0, 2, 1), np.float32)
                rows.add(now, None, at_outputs if residual is None else at_outputs + residual)
    ridge = _ridge(layer, parts[0], drawing, limits) if drawing.is_pooled else None
    return ShardMoments(tuple(moments), ridge, sum(positions.values()))


def _drawn(
    layer: Layer, parts: Sequence[Part], drawing: Drawing, limits: Mapping[int, int], batch: int
) -> list[tuple[Rows, Rows | None, Rows | None]]:
    """Dense inputs, current inputs and what a branch has lost, for each of the current models."""
    dense, observed, source = parts[0], iter(parts[1:]), layer.input_name
    _check_finite(dense.value(source, batch), layer)
    counted = counted_rows(layer, dense, drawing.mask, batch)

    def draw(rows_of: Callable[..., Rows], part: Part, name: str) -> Rows:
        return rows_of(part.value(name, batch), limits[batch], drawing.generator(batch), counted)

    before, result = draw(layer.samples, dense, source), []
    known_branch = next((branch for branch in drawing.branches if branch is not None), None)
    branch_before = None if known_branch is None else draw(layer.output_samples, dense, known_branch)
    for is_observed, branch in zip(drawing.is_observed, drawing.branches, strict=True):
        current = next(observed) if is_observed else None
        now = None if current is None else draw(layer.samples, current, source)
        # The current model may take another branch, or iterate less: what it would see there is not known.
        now = before if now is not None and now.shape != before.shape and layer.host is not None else now
        residual = None
        if current is not None and branch is not None and branch_before is not None:
            residual = branch_before - draw(layer.output_samples, current, branch)
        result.append((before, now, residual))
    return result


def count_positions(layer: Layer, parts: Sequence[Part], mask: PositionMask | None) -> int:
    """Rows that count of what a layer sees in a shard; in a body, as often as it is run."""
    return sum(_positions(layer, parts[0], mask).values())


def total_of(*counts: int) -> int:
    """What `count_positions` gives, of all shards."""
    return sum(counts)


def _positions(layer: Layer, part: Part, mask: PositionMask | None) -> dict[int, int]:
    """Rows that count of each batch of a shard, by its number."""
    counted = {batch: counted_rows(layer, part, mask, batch) for batch in part.numbers}
    shapes = {batch: part.shape(layer.input_name, batch) for batch in part.numbers}
    of_shape = {shape: layer.positions(np.broadcast_to(np.float32(0.0), shape)) for shape in set(shapes.values())}
    return {
        batch: of_shape[shapes[batch]] if rows is None else int(np.count_nonzero(rows))
        for batch, rows in counted.items()
    }


def counted_rows(layer: Layer, part: Part, mask: PositionMask | None, batch: int) -> Counted | None:
    """Which rows of a layer's input count, (rows,); None = all."""
    if mask is None or layer.input_name not in mask.axes:
        return None
    x = np.broadcast_to(np.float32(0.0), part.shape(layer.input_name, batch))
    entries = mask.entries(layer.input_name, part.kept(batch), x.shape)
    return None if entries is None else layer.counted_rows(x, entries)


def available_branch(layer: Layer, parts: Sequence[Part]) -> str | None:
    """The branch that is added to the layer's output, where its values are there already and need no broadcasting.

    Args:
        layer: of the dense model.
        parts: values of the dense and of the current model on the first shard.
    """
    dense, current = parts
    branch, first = layer.branch, dense.numbers[0]
    if branch is None or not (dense.holds(branch.name or "") and current.holds(branch.name or "")):
        return None
    x, z = dense.value(layer.input.name or "", first), dense.value(branch.name or "", first)
    fits = z.ndim == x.ndim and z.ndim > 1 and z.size == layer.positions(x) * layer.groups * layer.rows
    return branch.name if fits else None


def has_few_outputs(layer: Layer) -> bool:
    """Whether W (X − X̂) is accumulated at the outputs, at a cost of rows x columns a sample, not columns²."""
    return FEW_OUTPUTS * layer.rows <= layer.columns // layer.blocks


def _ridge(layer: Layer, part: Part, drawing: Drawing, limits: Mapping[int, int]) -> Moments | None:
    """What damping multiplies where the layer's input is the mean of a map, one of each sample."""
    pooled = PooledMap.of(layer)
    name = "" if pooled is None else pooled.value.name or ""
    if pooled is None or not part.holds(name):
        return None
    moments, waiting = Moments(1, layer.columns, paired=False), 0
    row_parts: list[Rows] = []
    for batch in part.numbers:
        x = part.value(name, batch)
        if layer.positions(part.value(layer.input.name or "", batch)) != len(x):
            return None
        rows = pooled.deviations(x, layer, limits[batch], drawing.generator(batch))
        if rows is None:
            return None
        row_parts.append(rows)
        waiting += rows.shape[1]
        if waiting >= BUFFERED_ROWS or batch == part.numbers[-1]:
            moments.update(np.concatenate(row_parts, axis=1))
            row_parts, waiting = [], 0
    return moments


def _joined(parts: Sequence[Rows | None]) -> Rows | None:
    there = [part for part in parts if part is not None]
    if len(there) == 1:  # which is copied soon enough
        return there[0]
    return np.concatenate(there, axis=1) if there else None


def _held_out(count: int) -> npt.NDArray[np.bool_]:
    """Which of so many rows are held out."""
    return np.asarray(np.arange(count) * STRETCHES // count % HELD_EVERY == HELD_EVERY - 1)


def _check_finite(x: np.ndarray, layer: Layer) -> None:
    if not np.isfinite(x).all():
        raise InputError(
            f"the input of layer {layer.name!r} is NaN or infinite on the calibration samples: "
            "check the samples' preprocessing, or the model itself"
        )
