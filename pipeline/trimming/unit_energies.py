"""Prices of what trimming cannot correct, from observed activations: E‖removed term‖² over the energy of the sum.

Transposed convolutions and recurrent cells sum W x over the indices of their input: with Ψ = E[x xᵀ] the terms of two
indices have the product (Wᵀ W) ∘ Ψ, summed over the rows of W. A product of two activations sums A B: there it is
(Aᵀ A) ∘ (B Bᵀ). What is sampled are the inputs; where the patches of a transposed convolution overlap, the products
of neighbouring positions are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.axes import Slot
from netsurgeon.passes.dependencies import Dependencies
from netsurgeon.passes.graph import label, optional_input, present, tensor, traits_of
from netsurgeon.passes.trimming import Uncorrected, by_unit
from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.data import counted_entries
from netsurgeon.pipeline.progress import Ticks, no_ticks, ticking
from netsurgeon.pipeline.runtime import tapped
from netsurgeon.pipeline.trimming.unit_owners import owners_of

Array = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

OBSERVED = 64
"""Most inputs on which activations are observed."""
MOST_ROWS = 4096
"""Positions of one batch that count, drawn evenly."""


@dataclasses.dataclass(frozen=True)
class _Sum:
    """A sum over indices that units own.

    Attributes:
        node: the node that sums.
        slot: the weight's axis it sums over; None for a product of two activations.
        owners: unit of each index, negative where it stays, (indices,).
        heads: of queries and keys, where the product is theirs.
    """

    node: ir.Node
    slot: Slot | None
    owners: Ints = dataclasses.field(repr=False)
    heads: tuple[int, int] | None = None

    @property
    def values(self) -> list[str]:
        """Names of the activations that say what its terms are."""
        if self.slot is None:
            return [present(value).name or "" for value in self.node.inputs[:2]]
        if traits_of(self.node).is_recurrent and self.slot.index == 2:
            return [value.name for value in self.node.outputs if value.name][:1]
        return [present(self.node.inputs[0]).name or ""]

    def energies(self, values: Mapping[str, npt.NDArray[Any]], counts: Mapping[str, Booleans]) -> tuple[Array, float]:
        """What each pair of indices adds to the sum's energy, (indices, indices), and that of the varying sum.

        Args:
            values: activations of a batch, by name.
            counts: which of their entries count, of the same shapes.
        """
        arrays = [values[name] for name in self.values]
        if self.slot is None:
            left, right = (np.where(counts[name], values[name], 0.0) for name in self.values)
            return _product(left, right) if self.heads is None else _product(*_scores(left, right, *self.heads))
        weight = tensor(present(optional_input(self.node, self.slot.index))).numpy()
        if traits_of(self.node).is_recurrent:
            # Y is (steps, directions, batch, hidden), Y_h without the steps (as is Y_c, where neither is an output);
            # X (steps, batch, inputs) has no directions
            x, of_x, hidden = arrays[0], counts[self.values[0]], self.slot.index == 2
            directions = [(..., at, slice(None), slice(None)) if hidden else ... for at in range(len(weight))]
            rows = [_rows(x[at], of_x[at], -1) for at in directions]
            return _added(_weighted(w.T, part, x.shape[-2]) for w, part in zip(weight, rows, strict=True))
        groups = self.node.attributes.get_int("group", 1)
        x = _rows(arrays[0], counts[self.values[0]], 1)
        parts = zip(np.split(weight.reshape(len(weight), -1), groups), np.split(x, groups, axis=1), strict=True)
        return _blocks(_weighted(w, rows, len(arrays[0])) for w, rows in parts)


def uncorrected(
    model: ir.Model, dependencies: Dependencies, number: Ints, calibration: Calibration, ticks: Ticks = no_ticks
) -> tuple[list[Uncorrected], list[Slot]]:
    """The sums that candidates add to and nobody corrects, and axes of weights of which nothing is known.

    Args:
        model: the dense model.
        dependencies: of the model.
        number: number of each unit among the candidates, negative where it is none; one more for what no unit owns.
        calibration: inputs.
        ticks: called for every batch.
    """
    sums, unknown = _find(model, dependencies, number)
    if not sums:
        return [], unknown
    count = min(OBSERVED, calibration.samples.count)
    samples = calibration.samples.subset(count, np.random.default_rng(calibration.seed))
    names = sorted({name for consumer in sums for name in consumer.values})
    session = calibration.runtime.session(tapped(model, names))
    totals: list[Array] = [np.zeros((len(consumer.owners), len(consumer.owners))) for consumer in sums]
    energy = np.zeros(len(sums))
    for feed in ticking(samples.batches(), ticks, samples.batch_count):
        values = session.run(feed, names)
        counts = {name: counted_entries(samples.mask, name, value.shape, feed) for name, value in values.items()}
        for at, consumer in enumerate(sums):
            energies, whole = consumer.energies(values, counts)
            totals[at] += energies
            energy[at] += whole
    for node in {consumer.node for consumer in sums if traits_of(consumer.node).is_recurrent}:
        same = [at for at, consumer in enumerate(sums) if consumer.node is node]
        energy[same] = energy[same].sum()  # gates see the sum of what both weights make
    scale = 1.0 / np.maximum(energy, np.finfo(float).tiny)
    return [
        Uncorrected(*by_unit(total * factor, consumer.owners))
        for total, factor, consumer in zip(totals, scale, sums, strict=True)
    ], unknown


def _find(model: ir.Model, dependencies: Dependencies, number: Ints) -> tuple[list[_Sum], list[Slot]]:
    nodes = {label(node): node for node in model.graph}
    keys = {(c.node, c.index, c.axis) for unit in dependencies.units for c in unit.consumers if c.columns is None}
    sums, unknown = [], []
    for name, index, axis in sorted(keys):
        slot = dependencies.tracks.slots[name, index][axis]
        if traits_of(nodes[name]).is_recurrent or nodes[name].op_type == "ConvTranspose":
            sums.append(_Sum(nodes[name], slot, number[owners_of(slot.labels, dependencies)]))
        else:
            unknown.append(slot)
    for product in dependencies.tracks.products:
        owners = number[owners_of(product.labels, dependencies)]
        if (owners >= 0).any():
            sums.append(_Sum(nodes[product.node], None, owners, product.heads))
    return sums, unknown


def _rows(value: npt.NDArray[Any], counts: Booleans, axis: int) -> Array:
    """A value as (positions, indices of an axis), at most MOST_ROWS of those that count."""
    rows, of_rows = (np.moveaxis(array, axis, -1).reshape(-1, value.shape[axis]) for array in (value, counts))
    rows = rows[of_rows.any(axis=1)]
    return rows[:: max(1, -(-len(rows) // MOST_ROWS))].astype(np.float64)


def _weighted(weight: npt.NDArray[Any], rows: Array, samples: int) -> tuple[Array, float]:
    """Of a sum over the indices of axis 0 of a weight (indices, outputs), one position of each sample on average.

    Args:
        weight: (indices, outputs).
        rows: inputs of the sum, (positions, indices).
        samples: whole inputs that the positions are from.
    """
    if not len(rows):
        return np.zeros((len(weight), len(weight))), 0.0
    products = weight.astype(np.float64) @ weight.T.astype(np.float64) * (samples / len(rows))
    varying = rows - rows.mean(axis=0)
    return products * (rows.T @ rows), float(np.sum(products * (varying.T @ varying)))


def _product(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> tuple[Array, float]:
    """Of A B summed over A's last axis, (..., rows, indices) and (..., indices, columns)."""
    one, other = left.astype(np.float64), right.astype(np.float64)
    products = (np.swapaxes(one, -1, -2) @ one) * (other @ np.swapaxes(other, -1, -2))
    total = products.reshape(-1, *products.shape[-2:]).sum(axis=0)
    return total, float(total.sum())


def _scores(
    query: npt.NDArray[Any], key: npt.NDArray[Any], heads: int, shared: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Queries and keys as the matrices that are multiplied: a stack a head, groups of heads share a key."""
    parts = [
        array if array.ndim == 4 else array.reshape(*array.shape[:2], count, -1).swapaxes(1, 2)
        for array, count in ((query, heads), (key, shared))
    ]
    return parts[0], parts[1].repeat(heads // shared, axis=1).swapaxes(-1, -2)


def _added(parts: Iterable[tuple[Array, float]]) -> tuple[Array, float]:
    energies, wholes = zip(*parts, strict=True)
    return np.sum(energies, axis=0), float(sum(wholes))


def _blocks(parts: Iterator[tuple[Array, float]]) -> tuple[Array, float]:
    """Sums that share no output: indices of different groups have nothing in common."""
    energies, wholes = zip(*parts, strict=True)
    edges = np.cumsum([0, *map(len, energies)])
    whole = np.zeros((edges[-1], edges[-1]))
    for start, end, energy in zip(edges, edges[1:], energies, strict=False):
        whole[start:end, start:end] = energy
    return whole, float(sum(wholes))
