"""Put the units of a graph in another order: its outputs stay, for who reads a unit reads it in its new place."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.axes import Slot
from netsurgeon.passes.dependencies import Dependencies
from netsurgeon.passes.graph import is_constant, label, names_read_once, optional_input, tensor
from netsurgeon.passes.layers import Layer
from netsurgeon.passes.trimming.trim_neurons import write_constant

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
LARGE = 0.3
"""Share of a layer's weights that counts as large."""


@dataclasses.dataclass(frozen=True)
class OrderUnits(ir.passes.InPlacePass):
    """Sort the units of each group by a score, the smallest first, and every constant along with them.

    Left as they are: groups with a unit in a convolution of several groups of more than one channel.

    Attributes:
        dependencies: of the model.
        scores: of the units, (units,).
    """

    dependencies: Dependencies = dataclasses.field(repr=False)
    scores: Array = dataclasses.field(repr=False)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Sort in place."""
        nodes, sources = {label(node): node for node in model.graph}, self._sources()
        changed: dict[tuple[object, ...], list[tuple[ir.Node, int]]] = {}
        arrays: dict[tuple[object, ...], npt.NDArray[np.generic]] = {}
        for (name, index), slots in self.dependencies.tracks.slots.items():
            orders = {slot.axis: self._order(slot, sources) for slot in slots if slot.groups == 1}
            orders = {axis: order for axis, order in orders.items() if (order != np.arange(len(order))).any()}
            value = optional_input(nodes[name], index) if name in nodes else None
            if not orders or value is None or not is_constant(value):
                continue
            key = (value.name, *((axis, order.tobytes()) for axis, order in orders.items()))
            changed.setdefault(key, []).append((nodes[name], index))
            if key not in arrays:
                array = tensor(value).numpy()
                for axis, order in orders.items():
                    array = array.take(order, axis)
                arrays[key] = np.ascontiguousarray(array)
        with names_read_once(model.graph):
            for key, uses in changed.items():
                write_constant(uses, arrays[key])
        return ir.passes.PassResult(model, bool(changed))

    def _sources(self) -> Ints:
        """The unit whose slices come into the place of each, (units,)."""
        grouped = {
            int(unit)
            for slots in self.dependencies.tracks.slots.values()
            for slot in slots
            if slot.groups > 1 and len(slot.labels) > slot.groups
            for unit in self._units(slot)
        }
        result = np.arange(len(self.dependencies.units))
        for group in self.dependencies.groups:
            units = np.array(group.units)
            if not grouped & set(group.units):
                result[units] = units[np.argsort(self.scores[units], kind="stable")]
        return result

    def _units(self, slot: Slot) -> Ints:
        """The unit of each index of an axis; a negative number where it is none."""
        return np.asarray(self.dependencies.unit_of[self.dependencies.classes.of[slot.labels]])

    def _order(self, slot: Slot, sources: Ints) -> Ints:
        """The index that comes into the place of each index of an axis."""
        units, order = self._units(slot), np.arange(len(slot.labels))
        for unit in np.unique(units[units >= 0]):
            places, taken = np.flatnonzero(units == unit), np.flatnonzero(units == sources[unit])
            if len(places) == len(taken):
                order[places] = taken
        return order


def large_weights(dependencies: Dependencies, layers: Sequence[Layer]) -> Array:
    """How many of its layers' largest weights the rows of each unit hold, (units,)."""
    counts: Mapping[str, tuple[Layer, Array]] = {label(layer.node): (layer, _large_in_rows(layer)) for layer in layers}
    scores = np.zeros(len(dependencies.units))
    for unit in dependencies.units:
        for part in unit.parts:
            if part.node in counts and part.groups == 1:
                layer, of_rows = counts[part.node]
                rows_axis = 0 if layer.rows_first() else tensor(layer.weight).numpy().ndim - 1
                if part.index == layer.weight_index and part.axis == rows_axis:
                    scores[unit.number] += of_rows[part.indices].sum()
    return scores


def _large_in_rows(layer: Layer) -> Array:
    sizes = np.abs(layer.matrix())
    counts = (sizes > np.quantile(sizes, 1.0 - LARGE)).sum(axis=-1, dtype=np.float64)
    return np.asarray(counts.reshape(layer.groups, layer.blocks, layer.rows).sum(axis=1).ravel())
