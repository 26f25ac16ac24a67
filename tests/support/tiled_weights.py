"""What tiles of 16 rows hold, counted one by one: the judge of masks for a sparse kernel."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def kernel_order(stored: Array) -> Array:
    """A convolution's weight (out, in, kh, kw) as the kernel reads it: (out, kh x kw x in)."""
    return np.ascontiguousarray(stored.transpose(0, 2, 3, 1)).reshape(len(stored), -1)


def tiles_of(matrix: Array, width: int) -> list[list[Array]]:
    """The tiles of a matrix in the kernel's order, by rows of tiles; those at the ends are smaller."""
    rows, columns = matrix.shape
    return [
        [matrix[top : top + 16, left : left + width] for left in range(0, columns, width)] for top in range(0, rows, 16)
    ]


def loose_tiles(matrix: Array, width: int) -> int:
    """Tiles in which not every row has the same multiple of 4 weights, or all that there are.

    A mask of tiles has one such tile at most: that of the last step, which the number of weights to keep cuts short.
    """
    loose = 0
    for row in tiles_of(matrix, width):
        for tile in row:
            counts = np.count_nonzero(tile, axis=1)
            full = min(-(-counts.max() // 4) * 4, tile.shape[1])
            loose += int((counts != full).any())
    return loose


def slots_of(matrix: Array, width: int) -> int:
    """Weights that the kernel's steps have room for: 4 for each of 16 rows, as often as the fullest row needs."""
    counts = [np.count_nonzero(tile, axis=1).max() for row in tiles_of(matrix, width) for tile in row]
    return sum(64 * -(-int(count) // 4) for count in counts)
