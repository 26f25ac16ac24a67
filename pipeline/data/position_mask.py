"""Positions that are fed though a mask excludes them, where a model takes no shorter inputs: they count nowhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # data is opened without a graph as well
    from netsurgeon.passes.dependencies import PositionAxes

Booleans = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, eq=False)
class PositionMask:
    """Which positions of a feed count, and which entries of a model's values belong to them.

    Attributes:
        name: of the input that is the mask.
        keeps: what it holds at positions that count, 1 or 0.
        axes: of the model's values, by name, where they are known to run over positions; of others all entries count.
        is_proven: whether outputs were seen not to depend on what is fed at positions that do not count.
    """

    name: str
    keeps: int
    axes: Mapping[str, PositionAxes]
    is_proven: bool = False

    def kept(self, feed: Mapping[str, npt.NDArray[Any]]) -> Booleans:
        """Which positions of a feed count, (samples, positions)."""
        return np.asarray(feed[self.name] == self.keeps)

    def entries(self, name: str, kept: Booleans, shape: tuple[int, ...]) -> Booleans | None:
        """Which entries of a value count, of its rank, with extents of 1 where all do; None = all."""
        axes = self.axes.get(name)
        return None if axes is None else axes.of(kept, shape)

    def counted(self, outputs: Mapping[str, Any], feed: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
        """Outputs with 0 in the place of numbers that do not count."""
        kept, result = self.kept(feed), dict(outputs)
        for name, value in outputs.items():
            if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
                entries = self.entries(name, kept, value.shape)
                result[name] = value if entries is None else np.where(entries, value, np.zeros((), value.dtype))
        return result


def counted_entries(
    mask: PositionMask | None, name: str, shape: tuple[int, ...], feed: Mapping[str, npt.NDArray[Any]]
) -> Booleans:
    """Which entries of a value count, of its shape; all of them without a mask, or where nothing tells."""
    entries = None if mask is None else mask.entries(name, mask.kept(feed), shape)
    return np.broadcast_to(np.True_ if entries is None else entries, shape)
