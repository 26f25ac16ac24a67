"""Indices of different length, frequent ones in few bits: what a field cannot hold is told by the next level.

Of an index the lowest bits, where frequencies are alike, are stored as they are. The field of the others on a level of
b bits is their number, where that is below 2^b - 1; else 2^b - 1, an escape, and the next level holds the number less
2^b - 1. So a level holds only what escapes all levels before it, behind a zero that stands for what does not::

    number_l = fields_l, or where that is an escape 2^b - 1 + number_(l+1)[how many have escaped up to here]

That is two Gathers and one sum a level, however many indices there are, where a Huffman code of about the same size is
read one index after the other. A bitmap of zeros is the case of one bit: number 0 is the zero.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netsurgeon.passes.packing.packed_integers import NODE_OVERHEAD, TENSOR_OVERHEAD, integer_bytes, packed_bytes

Integers = NDArray[np.int64]

WIDEST = 8
LEVEL_WIDTHS = (1, 2, 4)
"""Bits of fields that can escape: those that are looked up at once."""
LEVEL_BYTES = 8 * NODE_OVERHEAD + TENSOR_OVERHEAD
"""What finds the escapes of a level, and what they stand for, takes in the file."""
FEWEST_FOR_LEVELS = 2048
"""Fewer indices save less than that."""


@dataclass(frozen=True)
class IndexCode:
    """How indices are written.

    Attributes:
        levels: width of the fields of each level; of all but the last one of LEVEL_WIDTHS.
        low: how many of the lowest bits are stored as they are.
    """

    levels: tuple[int, ...]
    low: int = 0

    def __str__(self) -> str:
        """Name it for a report, e.g. ``2 + 1 + 2 and 5 bit``."""
        return " + ".join(map(str, self.levels)) + (f" and {self.low}" if self.low else "") + " bit"

    @property
    def entries(self) -> int:
        """How many indices it tells apart."""
        return (sum((1 << width) - 1 for width in self.levels) + 1) << self.low

    def starts(self) -> list[int]:
        """The number that field 0 of each level stands for."""
        return [0, *itertools.accumulate((1 << width) - 1 for width in self.levels[:-1])]

    def split(self, indices: Integers) -> list[NDArray[np.uint8]]:
        """The fields of each level, those of the first for all indices (n,), and last the lowest bits (n,), if any."""
        fields, rest = [], indices >> self.low
        for width in self.levels[:-1]:
            escape = (1 << width) - 1
            fields.append(np.minimum(rest, escape).astype(np.uint8))
            rest = np.concatenate([[0], rest[rest >= escape] - escape])
        fields.append(rest.astype(np.uint8))
        return [*fields, (indices % (1 << self.low)).astype(np.uint8)] if self.low else fields


def choose_code(counts: Integers, most_levels: int) -> tuple[IndexCode, int]:
    """The code that takes the fewest bytes for indices that occur so often, the most frequent first (1 to 256,).

    Beside it these bytes in the file, with what unpacks the indices.
    """
    levels = most_levels if counts.sum() >= FEWEST_FOR_LEVELS else 1
    candidates = _candidates(counts.size, levels)
    sizes = candidates.bytes(counts)
    smallest = int(np.argmin(sizes))
    return candidates.codes[smallest], int(sizes[smallest])


@dataclass(frozen=True, eq=False)
class _Codes:
    """Codes, and the bits of their fields as arrays: a search for units and bits compares millions of sizes.

    Attributes:
        codes: in turn.
        widths: bits of the fields of each level, and last of the lowest bits; 0 = there are none, (codes, levels + 1).
        firsts: the index from which on the fields of each level are needed, (codes, levels + 1).
        zeros: fields before them that stand for what does not escape, (levels + 1,).
        overheads: bytes of what unpacks the fields, (codes,).
    """

    codes: tuple[IndexCode, ...]
    widths: Integers
    firsts: Integers
    zeros: Integers
    overheads: Integers

    @classmethod
    def of(cls, codes: tuple[IndexCode, ...]) -> _Codes:
        """Those of some codes."""
        depth = max(len(code.levels) for code in codes)
        widths, firsts = np.zeros((2, len(codes), depth + 1), np.int64)
        for row, code in enumerate(codes):
            widths[row, : len(code.levels)], widths[row, depth] = code.levels, code.low
            firsts[row, : len(code.levels)] = np.array(code.starts()) << code.low
        zeros = np.array([0, *[1] * (depth - 1), 0])
        return cls(codes, widths, firsts, zeros, np.array([_overhead(code) for code in codes]))

    def bytes(self, counts: Integers) -> Integers:
        """Bytes in the file of indices that occur so often (entries,) by each code, (codes,)."""
        occurring = np.append(np.cumsum(counts[::-1])[::-1], 0)  # those from each index on
        fields = occurring[np.minimum(self.firsts, counts.size)] + self.zeros
        sizes: Integers = packed_bytes(self.widths, fields).sum(axis=1) + self.overheads
        return sizes


def _overhead(code: IndexCode) -> int:
    """Bytes of what unpacks a code's fields."""
    size = (len(code.levels) > 1) * 2 * NODE_OVERHEAD
    size += integer_bytes(code.low, 0) + NODE_OVERHEAD if code.low else 0
    size += sum(integer_bytes(width, 0) for width in code.levels)
    return size + sum(LEVEL_BYTES + (1 << width) for width in code.levels[1:])


@functools.cache
def _candidates(entries: int, most_levels: int) -> _Codes:
    """Codes of so many entries: of one level, as narrow as it can be or of whole bytes, and of several."""
    narrow, wide = IndexCode((_narrowest(entries),)), IndexCode((WIDEST,))
    return _Codes.of((wide, narrow, *_codes_of_levels(entries, most_levels)))


def _codes_of_levels(entries: int, most_levels: int) -> Iterator[IndexCode]:
    for low, depth in itertools.product(range(WIDEST - 1), range(1, most_levels)):
        high = (entries - 1 >> low) + 1
        for widths in itertools.product(LEVEL_WIDTHS, repeat=depth):
            rest = high - sum((1 << width) - 1 for width in widths)
            if rest > 1:
                yield IndexCode((*widths, _narrowest(rest)), low)


def _narrowest(entries: int) -> int:
    return max(1, (entries - 1).bit_length())
