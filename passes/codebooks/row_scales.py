"""One codebook for rows of different size: each row of a weight is a power of two times values of the codebook.

Where BatchNormalization has been folded, one row may be a hundred times as large as another. A power of two costs a
weight no bit, so the scales need not be handed from the solver to the file: they are found again in the values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
MOST_VALUES = 256
MOST_BEFORE = 4 * MOST_VALUES
"""Values beyond which no shifts are tried: rows whose scales are a power of two off bring the same ones again."""
SAMPLED = 4096
"""Elements that show whether a codebook can hold a weight, before all of it is looked at."""
_TRIED_SHIFTS = np.array([0, 1, -1, 2, -2])


@dataclass(frozen=True)
class Scaled:
    """A weight, taken apart.

    Attributes:
        weight: with every row divided by its scale, of the shape and type it had.
        scales: powers of two, float16 where that holds them, ready to be broadcast over it.
        values: ascending distinct nonzero values of `weight`.
    """

    weight: Array
    scales: Array
    values: Array


def row_scales(weight: Array) -> NDArray[np.float64]:
    """The power of two above the root mean square of each row's nonzero elements; 1 for a row of zeros.

    Args:
        weight: (..., rows, columns).

    Returns:
        (..., rows, 1).
    """
    wide = weight.astype(np.float64, copy=False)
    largest = np.abs(wide).max(axis=-1, keepdims=True, initial=0.0)
    largest[largest == 0.0] = 1.0
    squares = np.square(wide / largest).sum(axis=-1, keepdims=True)
    count = np.maximum(np.count_nonzero(weight, axis=-1, keepdims=True), 1)
    size = largest * np.sqrt(squares / count)
    return np.ldexp(1.0, np.where(size > 0.0, np.frexp(size)[1], 0))


def split_scales(weight: Array, axis: int) -> Scaled | None:
    """Find scales along `axis` with which few values make up `weight`; None where they are over 256.

    A weight with NaN, infinities or -0.0, which rounding would have made 0.0, is left as it is.

    Rounding to the codebook may have moved a row's root mean square over a power of two: rows are tried with up to four
    times more and less, too.
    """
    rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
    if not np.isfinite(rows).all() or np.signbit(rows[rows == 0]).any() or _is_hopeless(rows):
        return None
    scales = row_scales(rows)
    at, columns = np.nonzero(rows)
    values, indices = np.unique((rows / scales)[at, columns], return_inverse=True)
    if not 0 < values.size <= MOST_BEFORE:
        return None
    used = np.zeros((len(rows), values.size), bool)
    used[at, indices] = True
    factors = np.ldexp(scales[:, 0], -_shifts(values, used))
    factors = factors.reshape([len(rows) if place == axis % weight.ndim else 1 for place in range(weight.ndim)])
    with np.errstate(over="ignore", under="ignore"):
        scaled, stored = (weight / factors).astype(weight.dtype), factors.astype(weight.dtype)
        narrow = factors.astype(np.float16)
    distinct = np.unique(scaled[scaled != 0])
    if distinct.size > MOST_VALUES or not np.array_equal(scaled * stored, weight):
        return None
    return Scaled(scaled, narrow if np.array_equal(narrow, factors) else stored, distinct)


def _is_hopeless(rows: Array) -> bool:
    """Whether a few rows alone have too many values."""
    sampled = rows[: max(1, SAMPLED // max(rows.shape[1], 1))]
    return np.unique((sampled / row_scales(sampled))[sampled != 0]).size > MOST_BEFORE


def _shifts(values: NDArray[np.float64], used: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Powers of two (rows,) by which each row's values are multiplied so that the rows share most of them.

    In turn each row, that with the most values first, takes the one that adds the fewest values to all others'.

    Args:
        values: ascending distinct values (m,).
        used: which of them each row has (rows, m).
    """
    shifted = np.ldexp(values, _TRIED_SHIFTS[:, None])
    places = np.unique(shifted, return_inverse=True)[1].reshape(shifted.shape)
    rows = [places[:, row] for row in used]
    users = np.zeros(places.max() + 1, np.int64)
    shifts = np.zeros(len(rows), np.int64)
    # Twice: the first rows chose when hardly any values were taken, and may choose better now.
    for again in range(2):
        for row in np.argsort(-used.sum(axis=1), kind="stable"):
            if again:
                users[rows[row][shifts[row]]] -= 1
            shifts[row] = np.argmin((users[rows[row]] == 0).sum(axis=1))
            users[rows[row][shifts[row]]] += 1
    return _TRIED_SHIFTS[shifts]
