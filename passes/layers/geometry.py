"""How a convolution slides over its input, and the patches it sees there (im2col)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How a convolution slides: kernel, strides, dilations and padding, one entry a spatial axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    auto_pad: str

    def padding(self, extent: tuple[int, ...]) -> list[tuple[int, int]]:
        """Begin and end padding of each spatial axis for an input of these spatial extents."""
        if self.auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
            rank = len(self.kernel)
            pads = (0,) * (2 * rank) if self.auto_pad == "VALID" else self.pads
            return [(pads[i], pads[i + rank]) for i in range(rank)]
        result = []
        for size, k, s, d in zip(extent, self.kernel, self.strides, self.dilations, strict=True):
            total = max((math.ceil(size / s) - 1) * s + (k - 1) * d + 1 - size, 0)
            small, large = total // 2, total - total // 2
            result.append((small, large) if self.auto_pad == "SAME_UPPER" else (large, small))
        return result

    def patches(self, x: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """View of x (batch, channels, *extent) as (batch, channels, *positions, *kernel)."""
        pads = self.padding(x.shape[2:])
        padded = np.pad(x, [(0, 0), (0, 0), *pads]) if any(map(any, pads)) else x
        window = tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))
        axes = tuple(range(2, 2 + len(window)))
        view = np.lib.stride_tricks.sliding_window_view(padded, window, axis=axes)
        steps = [slice(None, None, s) for s in self.strides] + [slice(None, None, d) for d in self.dilations]
        result: npt.NDArray[np.generic] = view[(slice(None), slice(None), *steps)]
        return result
