"""Between which numbers activations lie: one sweep over the calibration inputs, nothing kept but histograms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from netsurgeon.passes.layers import Layer, find_layers
from netsurgeon.passes.quantization import RangeStatistics
from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.progress import Ticks, no_ticks
from netsurgeon.pipeline.runtime import Feed, counted, observe, tapped

Array = npt.NDArray[np.floating]
Wide = npt.NDArray[np.float64]

MOST_NUMBERS = 1 << 20
"""Numbers of a value that enter its histogram, from each batch as many, evenly from all over it."""
BYTES_AT_ONCE = 200_000_000
"""Values that are looked at in one run of the model take no more than this together."""
NUMBER_BYTES = 4


def measure_ranges(
    model: ir.Model, names: Sequence[str], calibration: Calibration, ticks: Ticks = no_ticks
) -> dict[str, RangeStatistics]:
    """Statistics of values of a model over all calibration inputs.

    What an error in a channel costs the layers that take it decides how much its numbers count.

    Args:
        model: in normal form.
        names: of the values.
        calibration: the inputs.
        ticks: called for every batch, with the number of values done and of all.

    Raises:
        InputError: a value is NaN or infinite on an input.
    """
    importance, measured_count, mask = _importance(model.graph), 0, calibration.samples.mask
    statistics = {name: RangeStatistics() for name in names}
    most = max(1, MOST_NUMBERS // calibration.samples.batch_count)
    for part in _parts(model, names, calibration):
        session = calibration.runtime.session(_up_to(model, part))
        for feed in calibration.samples.batches():
            ticks(measured_count, len(names))
            values = {**feed, **session.run(feed, [name for name in part if name not in feed])}
            for name in part:
                entries = None if mask is None else mask.entries(name, mask.kept(feed), values[name].shape)
                are_even = not (calibration.samples.is_ragged or mask)
                _update(
                    statistics[name], name, values[name], entries, importance.get(name), most=most, are_even=are_even
                )
        measured_count += len(part)
    return statistics


def measure_reach(
    model: ir.Model, names: Sequence[str], calibration: Calibration, axis: int = 1, ticks: Ticks = no_ticks
) -> dict[str, Wide]:
    """Largest size of each channel of values over all calibration inputs, (channels,), by name of value.

    Args:
        model: in normal form.
        names: of the values.
        calibration: the inputs.
        axis: of the channels.
        ticks: called for every batch, with the number of values done and of all.
    """
    reach: dict[str, Wide] = {}
    measured_count = 0
    for part in _parts(model, names, calibration):
        session = counted(calibration.runtime.session(_up_to(model, part)), calibration.samples.mask)
        for feed in calibration.samples.batches():
            ticks(measured_count, len(names))
            for name, value in session.run(feed, part).items():
                axes = tuple(other for other in range(value.ndim) if other != axis % value.ndim)
                largest = np.maximum(value.max(axis=axes), -value.min(axis=axes)).astype(np.float64)
                reach[name] = np.maximum(reach.get(name, largest), largest)
        measured_count += len(part)
    return reach


def _parts(model: ir.Model, names: Sequence[str], calibration: Calibration) -> Iterator[list[str]]:
    """The names in parts whose values fit into memory together; in the order of the graph, so that runs stop early."""
    feed, times = _small_feed(calibration.samples)
    shapes = observe(model, feed, calibration.runtime).shapes
    sizes = {name: NUMBER_BYTES * times * math.prod(shapes[name]) for name in names}
    part: list[str] = []
    for name in names:
        if part and sum(sizes[other] for other in part) + sizes[name] > BYTES_AT_ONCE:
            yield part
            part = []
        part.append(name)
    if part:
        yield part


def _small_feed(samples: Samples) -> tuple[Feed, int]:
    """One sample where the batch is free, and how many times as large the largest feed is; else the first feed."""
    try:
        return next(samples.take([0]).batches()), samples.batch_size if samples.batched else 1
    except InputError:  # fewer than a fixed batch
        return next(samples.batches()), 1


def _up_to(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A clone that gives these values and computes no others than they need."""
    clone = tapped(model, names)
    needed = [value for value in clone.graph.outputs if value.name in names]
    if needed:  # none where the values are inputs
        clone.graph.outputs[:] = needed
        RemoveUnusedNodesPass()(clone)
    return clone


def _update(
    statistics: RangeStatistics,
    name: str,
    value: Array,
    entries: npt.NDArray[np.bool_] | None,
    importance: tuple[int, Array] | None,
    *,
    most: int,
    are_even: bool,
) -> None:
    """Add a batch of a value, at most so many numbers: those of its entries that count (None = all).

    Batches that are not even hold more or fewer numbers than others, and each number counts as much.
    """
    among = value if entries is None else value[np.broadcast_to(entries, value.shape)]
    low, high = float(among.min(initial=0.0)), float(among.max(initial=0.0))
    if not np.isfinite([low, high]).all():
        raise InputError(
            f"the value {name!r} is NaN or infinite on the calibration samples: check the samples' preprocessing, or "
            "the model itself"
        )
    places = np.linspace(0, among.size - 1, min(among.size, most)).astype(np.int64)
    if entries is not None:
        places = np.flatnonzero(np.broadcast_to(entries, value.shape))[places]
    numbers, weights = value.reshape(-1)[places], None
    if importance is not None and value.ndim > 1 and value.shape[importance[0]] == len(importance[1]):
        channel_stride = int(np.prod(value.shape[importance[0] % value.ndim + 1 :], dtype=np.int64))
        weights = importance[1][places // channel_stride % len(importance[1])]
    if not are_even and len(places) < among.size:
        weights = (1.0 if weights is None else weights) * np.full(len(places), among.size / len(places))
    statistics.update(numbers, weights)
    # the ends are those of all numbers, not of the ones that were drawn
    statistics.reach(low, high)


def _importance(graph: ir.Graph) -> dict[str, tuple[int, Array]]:
    """By name of a value that layers take: its axis of channels, and what an error in each costs them, 1 on average."""
    sums: dict[str, tuple[int, Array]] = {}
    for layer in find_layers(graph)[0]:
        axis, energy = _energy_of_inputs(layer)
        name = layer.input.name or ""
        if name in sums and (sums[name][0] != axis or len(sums[name][1]) != len(energy)):
            continue
        sums[name] = (axis, energy + (sums[name][1] if name in sums else 0.0))
    return {name: (axis, energy / energy.mean()) for name, (axis, energy) in sums.items() if energy.mean() > 0.0}


def _energy_of_inputs(layer: Layer) -> tuple[int, Array]:
    """The axis of a layer's input that its weight multiplies, and the energy of the weights of each index."""
    squares = (layer.matrix() ** 2).sum(axis=1).ravel()
    if layer.operator == "Conv":
        return 1, squares.reshape(-1, layer.kernel_size).sum(axis=1)
    return -1, squares
