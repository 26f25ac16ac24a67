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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netsurgeon.passes.packing.packed_integers import NODE_OVERHEAD, TENSOR_OVERHEAD, integer_bytes

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

    def bytes(self, counts: Integers) -> int:
        """Bytes in the file of indices that occur so often (entries,), with what unpacks them."""
        return self.bytes_of(_remaining(counts))

    def bytes_of(self, remaining: Sequence[int]) -> int:
        """The same, by how often the indices from each one on occur (entries,)."""
        size = (len(self.levels) > 1) * 2 * NODE_OVERHEAD
        size += integer_bytes(self.low, remaining[0]) + NODE_OVERHEAD if self.low else 0
        for level, (width, start) in enumerate(zip(self.levels, self.starts(), strict=True)):
            first = start << self.low
            count = (remaining[first] if first < len(remaining) else 0) + (level > 0)
            size += integer_bytes(width, count) + (level > 0) * (LEVEL_BYTES + (1 << width))
        return size


def choose_code(counts: Integers, most_levels: int) -> IndexCode:
    """The code that takes the fewest bytes for indices that occur so often, the most frequent first (1 to 256,)."""
    remaining = _remaining(counts)
    levels = most_levels if remaining[0] >= FEWEST_FOR_LEVELS else 1
    return min(_codes(counts.size, levels), key=lambda code: code.bytes_of(remaining))


def _remaining(counts: Integers) -> list[int]:
    totals: list[int] = np.cumsum(counts[::-1])[::-1].tolist()
    return totals


@functools.cache
def _codes(entries: int, most_levels: int) -> tuple[IndexCode, ...]:
    """Codes of so many entries: of one level, as narrow as it can be or of whole bytes, and of several."""
    return (IndexCode((WIDEST,)), IndexCode((_narrowest(entries),)), *_codes_of_levels(entries, most_levels))


def _codes_of_levels(entries: int, most_levels: int) -> Iterator[IndexCode]:
    for low, depth in itertools.product(range(WIDEST - 1), range(1, most_levels)):
        high = (entries - 1 >> low) + 1
        for widths in itertools.product(LEVEL_WIDTHS, repeat=depth):
            rest = high - sum((1 << width) - 1 for width in widths)
            if rest > 1:
                yield IndexCode((*widths, _narrowest(rest)), low)


def _narrowest(entries: int) -> int:
    return max(1, (entries - 1).bit_length())
