"""Small unsigned integers side by side in bytes, and the bytes that they take in a file. Arrays only."""

import functools
import itertools
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
T = TypeVar("T", int, NDArray[np.int64])

# What one tensor and one node of `PackWeights` add to the file beside their data, in bytes; names are short there.
TENSOR_OVERHEAD = 14
NODE_OVERHEAD = 24
_FIELD_NODES = 3  # that look up the fields of bytes
_BLOCK = 8  # integers that fill bytes, however wide they are


@dataclass(frozen=True)
class Part:
    """Bits of integers, from `shift` on: fields of 1, 2, 4 or 8 bits side by side in bytes, the first the lowest."""

    data: NDArray[np.uint8]
    bits: int
    shift: int


@dataclass(frozen=True)
class PackedIntegers:
    """``count`` unsigned integers, and zeros that fill them up to a multiple of eight; 7 bits are parts of 4, 2 and 1.

    Fields are looked up in a table of all bytes rather than shifted: OpenVINO (2026.4) makes a shift a division and
    gets that of bytes wrong, words of 32 bits are right but take four bytes an integer in every node on the way.
    """

    parts: tuple[Part, ...]
    count: int

    @property
    def is_padded(self) -> bool:
        """Whether zeros follow the last integer."""
        return self.count % _BLOCK != 0


def pack_integers(integers: NDArray[np.uint8], bits: int) -> PackedIntegers:
    """Put integers (n,), each below ``2**bits``, side by side."""
    padded = np.zeros(-(-integers.size // _BLOCK) * _BLOCK, np.uint8)
    padded[: integers.size] = integers
    parts = []
    for width, shift in _parts(bits):
        fields = (padded >> shift) % (1 << width) if width < 8 else padded
        rows = fields.reshape(-1, 8 // width) << (np.arange(8 // width) * width).astype(np.uint8)
        parts.append(Part(np.bitwise_or.reduce(rows, axis=1).astype(np.uint8), width, shift))
    return PackedIntegers(tuple(parts), integers.size)


def integer_bytes(bits: int, count: int) -> int:
    """Bytes of ``count`` packed integers in the file, with what unpacks them."""
    parts = _parts(bits)
    nodes = sum(_FIELD_NODES if width < 8 else 1 for width, _ in parts) + len(parts) - 1
    return packed_bytes(bits, count) + len(parts) * TENSOR_OVERHEAD + nodes * NODE_OVERHEAD


def packed_bytes(bits: T, count: T) -> T:
    """Bytes of the packed integers alone; numbers, or arrays of them."""
    return -(-count // _BLOCK) * bits


@functools.cache
def _parts(bits: int) -> tuple[tuple[int, int], ...]:
    """Width of each part, and the bits below it."""
    widths = [width for width in (8, 4, 2, 1) if bits & width]
    return tuple(zip(widths, itertools.accumulate([0, *widths[:-1]]), strict=True))
