"""What stands for the rows of a table in a file: integers with a scale a row, or float16. Arrays only.

Scales are found again in the values, as those of codebooks are (`split_scales`): the largest number of a row is its
scale times a small integer, and scales have few digits, so that their products are exact in float32.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
RowForm = Literal["float16", "int8", "int4"]

BITS: dict[RowForm, int] = {"int4": 4, "int8": 8, "float16": 16}
"""Of a number, by form."""
MOST = {"int4": 7, "int8": 127}
"""Largest integer, by form."""
SAMPLED_ROWS = 64
"""Rows that show whether a table lies on integers, before all of it is looked at."""
BLOCK = 1 << 22
"""Numbers that are looked at together: a table of gigabytes has no second copy in float64."""


@dataclasses.dataclass(frozen=True)
class StoredRows:
    """A table taken apart.

    Attributes:
        form: of its rows.
        codes: what stands for the rows: (rows, columns) of int8 or float16; of int4 (rows, columns / 2) bytes, whose
            low halves are the first half of the columns, each integer 8 above what it means.
        scales: (rows, 1), float16 where that holds them; None where the codes are the numbers.
    """

    form: RowForm
    codes: Array = dataclasses.field(repr=False)
    scales: Array | None = dataclasses.field(default=None, repr=False)

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return int(self.codes.nbytes + (0 if self.scales is None else self.scales.nbytes))


def stored_rows(table: npt.NDArray[np.float32]) -> StoredRows | None:
    """The smallest form that gives back a table (rows, columns) to the last bit; None where there is none."""
    rows, columns = table.shape
    if not np.isfinite(table).all() or np.signbit(table[table == 0]).any():
        return None
    sample = table[:: max(1, rows // SAMPLED_ROWS)]
    if _on_integers(sample) is not None:
        parts = [_on_integers(part) for part in blocks_of(table)]
        on_integers = [part for part in parts if part is not None]
        if len(on_integers) == len(parts):
            codes, scales = (np.concatenate(side) for side in zip(*on_integers, strict=True))
            is_narrow = columns % 2 == 0 and int(np.abs(codes).max(initial=0)) <= MOST["int4"]
            return StoredRows("int4" if is_narrow else "int8", _halves(codes) if is_narrow else codes, _short(scales))
    if _is_float16(sample) and _is_float16(table):
        return StoredRows("float16", table.astype(np.float16))
    return None


def blocks_of(table: Array) -> list[Array]:
    """A table in parts of a few rows."""
    step = max(1, BLOCK // max(table.shape[1], 1))
    return [table[start : start + step] for start in range(0, len(table), step)]


def nibbles(high: bool) -> npt.NDArray[np.float32]:
    """What the low or the high half of every byte means, (256,)."""
    codes = np.arange(256)
    return ((codes >> 4 if high else codes & 15) - 8).astype(np.float32)


def _halves(codes: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    low, high = np.split((codes + 8).astype(np.uint8), 2, axis=1)
    return np.asarray(low | (high << np.uint8(4)), np.uint8)


def _on_integers(rows: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]] | None:
    """Integers (n, columns) and scales (n, 1) of rows; None where one lies on no integers up to 127."""
    largest = np.abs(rows).max(axis=1, initial=0.0).astype(np.float64)
    codes, scales = np.zeros(rows.shape, np.int8), np.ones(len(rows), np.float32)
    waiting = np.flatnonzero(largest)
    for most in (*range(MOST["int4"], 0, -1), *range(MOST["int8"], MOST["int4"], -1)):
        if not waiting.size:
            break
        steps = (largest[waiting] / most).astype(np.float32)
        likely = _first_fit(rows[waiting], steps)
        steps, candidates = steps[likely], waiting[likely]
        integers = np.rint(rows[candidates] / steps[:, None])
        exact = (integers * steps[:, None] == rows[candidates]).all(axis=1)
        codes[candidates[exact]], scales[candidates[exact]] = integers[exact], steps[exact]
        waiting = np.setdiff1d(waiting, candidates[exact], assume_unique=True)
    return None if waiting.size else (codes, scales[:, None])


def _first_fit(rows: npt.NDArray[np.float32], steps: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Whether the first few numbers of each row lie on its integers: most guesses are refuted by them."""
    first = rows[:, :8]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((np.rint(first / steps[:, None]) * steps[:, None] == first).all(axis=1) & (steps > 0))


def _short(scales: npt.NDArray[np.float32]) -> Array:
    with np.errstate(over="ignore", under="ignore"):
        narrow = scales.astype(np.float16)
    return narrow if np.array_equal(narrow.astype(np.float32), scales) else scales


def _is_float16(table: npt.NDArray[np.float32]) -> bool:
    with np.errstate(over="ignore", under="ignore"):
        return all(np.array_equal(part.astype(np.float16).astype(np.float32), part) for part in blocks_of(table))
