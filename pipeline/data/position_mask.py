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
    """

    name: str
    keeps: int
    axes: Mapping[str, PositionAxes]

    def kept(self, feed: Mapping[str, npt.NDArray[Any]]) -> Booleans:
        """Which positions of a feed count, (samples, positions)."""
        return np.asarray(feed[self.name] == self.keeps)

    def entries(self, name: str, kept: Booleans, shape: tuple[int, ...]) -> Booleans | None:
        """Which entries of a value count, of its rank, with extents of 1 where all do; None = all."""
        axes = self.axes.get(name)
        return None if axes is None else axes.of(kept, shape)

    def select(self, name: str, value: npt.NDArray[Any], feed: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """The entries of a value that count, flat."""
        entries = self.entries(name, self.kept(feed), value.shape)
        return value.ravel() if entries is None else value[np.broadcast_to(entries, value.shape)]

    def counted(self, outputs: Mapping[str, Any], feed: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
        """Outputs with 0 in the place of numbers that do not count."""
        kept, result = self.kept(feed), dict(outputs)
        for name, value in outputs.items():
            if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
                entries = self.entries(name, kept, value.shape)
                result[name] = value if entries is None else np.where(entries, value, np.zeros((), value.dtype))
        return result
