"""Which unit owns what: rows and columns of layers, indices of axes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from netsurgeon.passes import solvers
from netsurgeon.passes.dependencies import Dependencies, by_group
from netsurgeon.passes.graph import label
from netsurgeon.passes.layers import Layer

Ints = npt.NDArray[np.int64]
STAYS = solvers.FIXED
"""Owner of what no unit takes along."""


@dataclasses.dataclass(frozen=True)
class Owners:
    """The unit of each column and row of a layer's matrix, STAYS where there is none.

    Attributes:
        columns: (groups x blocks, columns / blocks).
        rows: (groups x blocks, rows).
    """

    columns: Ints
    rows: Ints

    @classmethod
    def of(cls, layer: Layer, dependencies: Dependencies) -> Owners:
        """Owners of a layer's columns and rows, by the labels of its weight's axes."""
        slots = dependencies.tracks.slots.get((label(layer.node), layer.weight_index))
        if slots is None:
            return cls._none(layer)
        owners = [owners_of(slot.labels, dependencies) for slot in slots]
        if layer.operator == "Conv":
            rows, columns = owners[0], np.repeat(owners[1].reshape(slots[1].groups, -1), layer.kernel_size, axis=1)
        else:
            rows, columns = owners[-2:] if layer.rows_first() else owners[:-3:-1]
        stacked = np.broadcast_to(columns, (layer.groups, layer.columns))
        height, blocks = layer.groups * layer.blocks, layer.blocks
        return cls(stacked.reshape(height, -1), np.repeat(rows.reshape(layer.groups, -1), blocks, axis=0))

    @classmethod
    def _none(cls, layer: Layer) -> Owners:
        height = layer.groups * layer.blocks
        return cls(np.full((height, layer.columns // layer.blocks), STAYS), np.full((height, layer.rows), STAYS))


def owners_of(labels: Ints, dependencies: Dependencies) -> Ints:
    """The unit of each index of an axis, STAYS where there is none."""
    return np.asarray(dependencies.unit_of[dependencies.classes.of[labels]])


def along(array: npt.NDArray[Any], axis: int, groups: int) -> npt.NDArray[Any]:
    """A constant as rows, one for each index of an axis (of each group of axis 0, where there are any)."""
    if groups > 1:
        array = np.moveaxis(by_group(array, groups), axis + 1, 1)
        return np.asarray(array.reshape(groups * array.shape[1], -1))
    return np.asarray(np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1))
