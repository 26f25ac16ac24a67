"""Which weights are kept: the largest overall, or N of every M."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Pattern:
    """N:M sparsity: of every `size` consecutive weights at most `kept` are not zero.

    Attributes:
        kept: N.
        size: M.
        order: columns in the order the pattern runs (along the input channels), (columns,).
    """

    kept: int
    size: int
    order: npt.NDArray[np.int64] = dataclasses.field(repr=False)

    @property
    def tuples(self) -> npt.NDArray[np.int64]:
        """Columns of each group of M, (columns / M, M)."""
        return self.order.reshape(-1, self.size)

    @property
    def tuple_of(self) -> npt.NDArray[np.int64]:
        """Index of the group of M that each column belongs to, (columns,)."""
        result = np.empty(self.order.size, np.int64)
        result[self.order] = np.arange(self.order.size) // self.size
        return result


def largest(score: npt.NDArray[np.floating], keep: int) -> Mask:
    """Mask of the `keep` largest scores of the whole array; ties fall to the lower index."""
    flat = score.ravel()
    mask = np.zeros(flat.size, bool)
    if keep >= flat.size:
        mask[:] = True
    elif keep > 0:
        threshold = np.partition(flat, flat.size - keep)[flat.size - keep]
        mask = flat > threshold
        missing = keep - int(mask.sum())
        mask[np.flatnonzero(flat == threshold)[:missing]] = True
    return mask.reshape(score.shape)


def choose(score: npt.NDArray[np.floating], keep: int, pattern: Pattern | None) -> Mask:
    """Mask of the largest scores (groups, rows, columns): `keep` over all, or what `pattern` allows."""
    if pattern is None:
        return largest(score, keep)
    grouped = score[..., pattern.tuples]
    ranked = np.argsort(-grouped, axis=-1, kind="stable")
    kept = np.zeros(grouped.shape, bool)
    np.put_along_axis(kept, ranked[..., : pattern.kept], True, axis=-1)
    mask = np.zeros(score.shape, bool)
    mask[..., pattern.tuples] = kept
    return mask
