"""Samples cut to a part of their length, such as sentences without the padding behind them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from netsurgeon.pipeline.data.matching import Array, Feed, Shard
from netsurgeon.pipeline.data.opened import Indices, OpenedData, Piece


def shortened(
    opened: OpenedData, indices: Indices, starts: Indices, stops: Indices, axes: Mapping[str, Sequence[int]]
) -> OpenedData:
    """Some samples of a source as a source of their own, each cut from its start to its stop.

    Args:
        opened: the source, whose samples have a batch axis.
        indices: of the samples, (samples,).
        starts: where each begins, (samples,).
        stops: where it ends, (samples,).
        axes: of a batch of an input, by its name: those along which it is cut.
    """
    parts, lengths = np.searchsorted(opened.offsets, indices, side="right") - 1, stops - starts
    numbers = indices - opened.offsets[parts]
    # neighbours in the source of one length are one part
    same = (np.diff(parts) == 0) & (np.diff(numbers) == 1) & (np.diff(lengths) == 0)
    edges = np.concatenate([[0], np.flatnonzero(~same) + 1, [len(indices)]])
    shards = [
        _cut_shard(opened.parts[parts[first]], int(numbers[first]), int(last - first), int(lengths[first]), axes)
        for first, last in itertools.pairwise(edges)
    ]

    pairs = opened.pairs_of(indices)
    labels, follow = opened.labels if pairs is not None else opened.labels_of(indices), False
    if labels is not None and pairs is None and _follow_positions(opened, axes):
        follow, labels = True, np.stack([np.roll(row, -start) for row, start in zip(labels, starts, strict=True)])

    def read(pieces: Iterable[Piece]) -> Iterator[Feed]:
        listed = [edges[number] + rows for number, rows in pieces]
        feeds = opened.read((int(parts[places[0]]), numbers[places]) for places in listed)
        for places, feed in zip(listed, feeds, strict=True):
            yield {name: _cut(array, axes.get(name, ()), starts[places], stops[places]) for name, array in feed.items()}

    return replace(
        opened,
        parts=shards,
        read=read,
        labels=labels,
        taken=None,
        pair_numbers=pairs,
        label_lengths=lengths if follow else None,
    )


def _follow_positions(opened: OpenedData, axes: Mapping[str, Sequence[int]]) -> bool:
    """Whether labels are integers, one a position of what is cut, and of no other input: a decoder's may be as long."""
    labels = opened.labels
    if labels is None or labels.ndim != 2 or labels.dtype.kind not in "iu":
        return False
    shapes = [entry for part in opened.parts for entry in part.row_shapes]
    cut = {shape[axis - 1] for name, shape in shapes for axis in axes.get(name, ())}
    whole = {shape[0] for name, shape in shapes if shape and 1 not in axes.get(name, ())}
    lengths = {labels.shape[1]} if opened.label_lengths is None else set(opened.label_lengths.tolist())
    return cut == lengths and lengths.isdisjoint(whole)


def _cut_shard(part: Shard, first: int, rows: int, length: int, axes: Mapping[str, Sequence[int]]) -> Shard:
    shapes = tuple(
        (name, tuple(length if at + 1 in axes.get(name, ()) else extent for at, extent in enumerate(shape)))
        for name, shape in part.row_shapes
    )
    return replace(part, rows=rows, row_shapes=shapes, first=part.first + first)


def _cut(array: Array, axes: Sequence[int], starts: Indices, stops: Indices) -> Array:
    """Each sample of a batch cut along axes, all to one length."""
    if not axes:
        return array
    whole = np.arange(array.ndim)
    if len(set(starts.tolist())) == 1:
        return array[tuple(slice(starts[0], stops[0]) if axis in axes else slice(None) for axis in whole)]
    return np.stack(
        [
            sample[tuple(slice(start, stop) if axis in axes else slice(None) for axis in whole[1:])]
            for sample, start, stop in zip(array, starts, stops, strict=True)
        ]
    )
