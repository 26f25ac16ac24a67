"""Patterns that the weights of a layer keep to, as users name them, and what they are on a layer's columns."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import ClassVar, TypeAlias

from netsurgeon.passes.layers import Layer
from netsurgeon.passes.solvers import TILE_ROWS, NOfM, Tiles


@dataclasses.dataclass(frozen=True)
class SharePattern:
    """N:M along the input channels, which says how many weights stay.

    Attributes:
        kept: N.
        size: M.
    """

    says_share: ClassVar[bool] = True

    kept: int
    size: int

    def on(self, layer: Layer) -> NOfM:
        """The pattern on a layer's columns.

        Raises:
            ValueError: its input channels are not a multiple of M.
        """
        channels = layer.columns // layer.blocks // layer.kernel_size
        if channels % self.size:
            raise ValueError(
                f"layer {layer.name!r} has {channels} input channels a group, not a multiple of {self.size}"
            )
        return NOfM(self.kept, self.size, layer.pattern_columns)


@dataclasses.dataclass(frozen=True)
class TilePattern:
    """Tiles of a sparse kernel, which leave open how many weights stay.

    A layer smaller than one tile has none, and its weights stay anywhere: most of what the kernel read of it would be
    padding. So it is with convolutions of each channel by itself.

    Attributes:
        width: columns of a tile.
    """

    says_share: ClassVar[bool] = False

    width: int

    def on(self, layer: Layer) -> Tiles | None:
        """The pattern on the columns of each group of a layer; None where the group is smaller than a tile."""
        if layer.rows < TILE_ROWS or layer.columns < self.width:
            return None
        return Tiles(self.width, layer.kernel_columns, layer.blocks)


LayerPattern: TypeAlias = SharePattern | TilePattern

TILE_PATTERNS: Mapping[str, TilePattern] = {"k:64": TilePattern(64), "tile:16x16": TilePattern(16)}
"""By the names that users give."""


def read_pattern(text: str) -> LayerPattern:
    """The pattern of this name.

    Raises:
        ValueError: there is none.
    """
    match = re.fullmatch(r"(\d{1,9}):(\d{1,9})", text)
    if match and 0 < int(match[1]) < int(match[2]):
        return SharePattern(int(match[1]), int(match[2]))
    if text in TILE_PATTERNS:
        return TILE_PATTERNS[text]
    raise ValueError(f"expected N:M with 0 < N < M, such as 2:4, or {' or '.join(TILE_PATTERNS)}")
