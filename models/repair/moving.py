"""Masks that move while a network is tuned: the least weights go, and those come back that the gradient asks for.

As in dynamic network surgery (Guo, Yao and Chen, arXiv 1608.04493) weights that are masked go on learning, here from 0
and only from one move to the next. What has come furthest takes the place of weights that are smaller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.utils import parametrize

from netsurgeon.models.onnx_module import OnnxModule
from netsurgeon.models.surgery import Mask

Cells = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class MaskMoves:
    """When masks move, and how far.

    Attributes:
        cells: by name of an initializer, numbers in its shape: weights of one number change places with each other, so
            that as many of them stay as before.
        every: steps from one move to the next.
        until: share of the steps after which masks stay.
        share: of the weights left that change places in the first move, at most; it falls to 0 as a cosine.
    """

    cells: Mapping[str, Cells]
    every: int = 25
    until: float = 0.5
    share: float = 0.05

    def share_at(self, step: int, steps: int) -> float:
        """The share after so many steps of a try; 0 = masks stay."""
        end = self.until * steps
        if step % self.every or step >= end:
            return 0.0
        return self.share * 0.5 * (1.0 + float(np.cos(np.pi * step / end)))


@torch.no_grad()
def move_masks(network: OnnxModule, moves: MaskMoves, share: float) -> None:
    """Let masks move, in place; a row or column of which nothing is left stays so.

    Args:
        network: whose masked weights have learnt since the last move.
        moves: where weights may change places.
        share: of the weights left, at most.
    """
    for name, cells in moves.cells.items():
        place = network.places.get(name, "")
        if name not in network.trained or not parametrize.is_parametrized(network, place):
            continue
        weight = cast(parametrize.ParametrizationList, getattr(network.parametrizations, place))
        masking, original = cast(Mask, weight[0]), weight.original
        mask, sizes = masking.mask.cpu().numpy(), original.abs().cpu().numpy()
        moved = torch.from_numpy(moved_mask(mask, sizes, cells, share)).to(original.device)
        original.mul_(moved & masking.mask)
        masking.mask.copy_(moved)


def moved_mask(
    mask: npt.NDArray[np.bool_], sizes: npt.NDArray[np.float32], cells: Cells, share: float
) -> npt.NDArray[np.bool_]:
    """A mask of the largest weights of each cell, of which so many stay as before.

    Args:
        mask: as it is, True = kept.
        sizes: of weights, and of what masked ones have learnt.
        cells: number of the cell of each weight.
        share: of the weights left that change places, at most.
    """
    later = tuple(range(2, mask.ndim))
    has_row, has_column = (mask.any(axis=(axis, *later), keepdims=True) for axis in (1, 0))
    grown = np.where(has_row & has_column & ~mask, sizes, 0.0)
    most = int(share * np.count_nonzero(mask))
    candidates = np.argsort(-grown, axis=None, kind="stable")[:most]
    scores = np.where(mask, sizes, -1.0).ravel()
    candidates = candidates[grown.flat[candidates] > 0.0]
    if len(candidates):
        scores[candidates] = grown.flat[candidates] * (np.median(sizes[mask]) / grown.max())
    kept_of_cell = np.bincount(cells.ravel(), mask.ravel(), minlength=int(cells.max()) + 1).astype(np.int64)
    order = np.lexsort((-scores, cells.ravel()))  # by cell, the largest first
    sizes_of_cells = np.bincount(cells.ravel(), minlength=len(kept_of_cell))
    begins = np.cumsum(sizes_of_cells) - sizes_of_cells
    ranks = np.arange(order.size) - begins[cells.ravel()[order]]
    moved = np.zeros(mask.size, bool)
    moved[order] = ranks < kept_of_cell[cells.ravel()[order]]
    return moved.reshape(mask.shape)
