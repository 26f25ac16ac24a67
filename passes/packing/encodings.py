"""How a sparse weight is written in fewer bytes: the layouts, the value types, and the indices. Arrays only.

A weight, read in row-major order, is a *stream* of values and the places they belong to:

* ``dense``: every element, in order;
* ``gaps``: the nonzero elements and the distance of each to the one before it. A distance that its field cannot
  hold is bridged by zero values;
* ``bitmap``: one zero, then the nonzero elements, and one bit for each element of the weight.

The stream is kept in the smallest float type that holds each value exactly, or as indices into a codebook of its
distinct values, which each slice along an axis may scale by a power of two of its own (see `_row_scales`). Everything
here compares bit patterns: ``-0.0`` is a value unlike ``0.0``, and a NaN keeps its payload.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from netsurgeon.passes.codebooks import split_scales

Array: TypeAlias = NDArray[Any]
Layout: TypeAlias = Literal["dense", "gaps", "bitmap"]

_CODEBOOK_SIZE = 256
_UNSIGNED = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}
_SMALLER_FIRST = (np.dtype(np.float16), np.dtype(np.float32))

# What one tensor and one node of `PackWeights` add to the file beside their data, in bytes; names are short there.
_PLAIN_OVERHEAD = 20  # and the weight's name
_TENSOR_OVERHEAD = 16
_NODE_OVERHEAD = 26
_FIELD_NODES = 4  # that unpack fields of less than a byte; one more, with a tensor, cuts off what fills the last word
_ZERO_BYTES = 20  # in a node that makes zeros of another type than float32
_SPLIT_NODES = 2  # that put two parts of integers together
_LOW_BITS = 4


@dataclass(frozen=True)
class Encoding:
    """How one weight is stored.

    Attributes:
        layout: ``dense``, ``gaps`` or ``bitmap``.
        dtype: Float type (NumPy name) of the stored values or of the codebook's entries.
        gap_bits: Width of a gap's field, 2 to 8; 0 without gaps.
        index_bits: Width of an index into the codebook, 1 to 8; 0 without a codebook.
        scaled_axis: Axis along which each slice has a scale; None without scales.
    """

    layout: Layout
    dtype: str
    gap_bits: int = 0
    index_bits: int = 0
    scaled_axis: int | None = None

    def __str__(self) -> str:
        """Name it for a report, e.g. ``gaps (8 bit), scaled codebook of float16 (7 bit)``."""
        place = f"gaps ({self.gap_bits} bit)" if self.layout == "gaps" else self.layout
        book = "codebook" if self.scaled_axis is None else "scaled codebook"
        return f"{place}, " + (f"{book} of {self.dtype} ({self.index_bits} bit)" if self.index_bits else self.dtype)


@dataclass(frozen=True)
class PackedIntegers:
    """``count`` unsigned integers of ``bits`` bits each, in words of shape (m, 1), or (count,) bytes for 8 bits.

    Where integers of 5 or 6 bits are many, these are the lower 4, and ``high`` holds the others: both fill words, which
    5 and 6 bits do not.

    Words have 32 bits where integers fill them, else 64. Bytes would do for 1, 2 and 4 bits, but OpenVINO (2026.4)
    makes a shift a division, and gets that of bytes wrong. A Cast in front of the shift, or a division of int32, would
    be right, too, but costs a node for each weight (a table of all bytes: 2 KB), where longer words cost none.
    """

    words: Array
    bits: int
    count: int
    high: "PackedIntegers | None" = None

    @property
    def is_padded(self) -> bool:
        """Whether the last word has room for more than the last integer."""
        return self.bits < 8 and self.count < self.words.size * _fields(self.bits)

    @property
    def shifts(self) -> Array:
        """Right shifts (fields,) that bring each field of a word down to its lowest bits."""
        shifts: Array = np.arange(_fields(self.bits)) * self.bits
        return shifts.astype(self.words.dtype)


@dataclass(frozen=True)
class Encoded:
    """A weight in an encoding.

    Attributes:
        places: Gaps (stream length) or bits (weight size); None for a dense layout.
        values: The stream, or the codebook's entries.
        indices: Indices of the stream in ``values``; None without a codebook.
        scales: What the weight is multiplied with in the end, of its rank; None without scales.
    """

    places: PackedIntegers | None
    values: Array
    indices: PackedIntegers | None
    scales: Array | None = None


def choose_encoding(weight: Array, name_length: int) -> tuple[Encoding, int]:
    """Find the smallest exact encoding of ``weight`` (any shape, float).

    Args:
        weight: The values to keep to the last bit.
        name_length: Length of the weight's name.

    Returns:
        The encoding, and the bytes that it takes in the file. An encoding ``dense`` in the weight's own type and
        without a codebook means: leave it as it is; its bytes are those of the plain initializer.
    """
    keys = _keys(weight)
    positions = _nonzero_positions(keys)
    plain = Encoding("dense", weight.dtype.name), plain_bytes(weight.nbytes, name_length)
    best = plain
    for axis, distinct, extra in _value_sets(weight, keys[positions]):
        dtype = _smallest_exact(distinct.view(weight.dtype))
        for layout, gap_bits, length, with_zero in _streams(keys.size, positions):
            entries = distinct.size + int(with_zero and distinct[0] != 0)
            for index_bits in _index_widths(entries, axis is not None):
                encoding = Encoding(layout, dtype.name, gap_bits, index_bits, axis)
                size = _bytes(encoding, weight, length, entries) + extra + 2 * name_length
                if encoding != plain[0] and size < best[1]:
                    best = encoding, size
    return best


def _value_sets(weight: Array, nonzero: Array) -> Iterator[tuple[int | None, Array, int]]:
    """What a weight can be made of: the axis of its scales, ascending bit patterns (m,), bytes the scales add.

    Those it has as it is, and those it has when slices along an axis are scaled, where that leaves few. ONNX Runtime
    multiplies no float16 while it loads a model, so those are not scaled.
    """
    yield None, _distinct_or_all(nonzero), 0
    if weight.dtype.itemsize > 2 and weight.ndim > 1:
        for axis in (0, 1) if weight.ndim == 2 else (0,):  # outputs of a layer
            scaled = split_scales(weight, axis)
            if scaled is not None and scaled.values.size < _CODEBOOK_SIZE:
                more = scaled.scales.nbytes + 8 * weight.ndim + _TENSOR_OVERHEAD + 2 * _NODE_OVERHEAD
                yield axis, np.sort(_keys(scaled.values)), more


def encode(weight: Array, encoding: Encoding) -> Encoded:
    """Write ``weight`` (any shape) in ``encoding``.

    Raises:
        ValueError: If the encoding cannot hold the weight's values exactly.
    """
    scales: Array | None = None
    if encoding.scaled_axis is not None:
        scaled = split_scales(weight, encoding.scaled_axis)
        if scaled is None:
            raise ValueError("no scales bring the weight to few values any more; plan the packing again")
        weight, scales = scaled.weight, scaled.scales
    places, keys = _split(_keys(weight), encoding)
    stream = keys.view(weight.dtype)
    if not encoding.index_bits:
        return Encoded(places, _exact(stream, encoding.dtype), None)
    codebook, indices = _codebook(stream, encoding)
    return Encoded(places, codebook, pack_integers(indices, encoding.index_bits), scales)


def pack_integers(integers: NDArray[np.uint8], bits: int) -> PackedIntegers:
    """Put integers (n,), each below ``2**bits``, side by side in words, the first in the lowest bits."""
    if bits == 8:
        return PackedIntegers(integers, bits, integers.size)
    if _is_split(bits, integers.size):
        high = pack_integers((integers >> _LOW_BITS).astype(np.uint8), bits - _LOW_BITS)
        return replace(pack_integers(integers % 2**_LOW_BITS, _LOW_BITS), high=high)
    fields, word = _fields(bits), _word(bits)
    padded = np.zeros((-(-integers.size // fields), fields), np.uint8)
    padded.reshape(-1)[: integers.size] = integers
    words = np.zeros(padded.shape[0], word)
    for field in range(fields):
        words |= padded[:, field].astype(word) << word.type(field * bits)
    return PackedIntegers(words[:, None], bits, integers.size)


def plain_bytes(data: int, name_length: int) -> int:
    """Bytes in the file of an initializer with ``data`` bytes of values."""
    return data + _PLAIN_OVERHEAD + name_length


def _is_split(bits: int, count: int) -> bool:
    """Whether integers take fewer bytes in two parts."""
    return bits in (5, 6) and _part_bytes(bits, count) > _split_bytes(bits, count)


def _word(bits: int) -> np.dtype[Any]:
    return np.dtype(np.uint32 if 32 % bits == 0 else np.uint64)


def _fields(bits: int) -> int:
    return _word(bits).itemsize * 8 // bits


def _keys(weight: Array) -> Array:
    """The bit patterns (n,) of the elements in row-major order."""
    keys: Array = np.ascontiguousarray(weight).reshape(-1).view(_UNSIGNED[weight.dtype.itemsize])
    return keys


def _nonzero_positions(keys: Array) -> NDArray[np.int64]:
    """Places (k,) of all patterns but that of +0.0; a weight of only zeros keeps its first, so k is never 0."""
    positions = np.flatnonzero(keys)
    return positions if positions.size else np.zeros(1, np.int64)


def _distinct(keys: Array) -> Array:
    """Ascending distinct integers; where most differ, a sort is far quicker than the hash table of ``np.unique``."""
    ascending = np.sort(keys)
    first = np.ones(keys.size, bool)
    np.not_equal(ascending[1:], ascending[:-1], out=first[1:])
    return np.asarray(ascending[first])


def _distinct_or_all(keys: Array) -> Array:
    """Distinct integers, or all of them where a sample shows that a codebook cannot hold them: that saves the sort."""
    sample = keys[:: max(1, keys.size // (16 * _CODEBOOK_SIZE))]
    return keys if np.unique(sample).size > _CODEBOOK_SIZE else _distinct(keys)


def _smallest_exact(values: Array) -> np.dtype[Any]:
    """The smallest float type that holds every value to the last bit; a NaN is never converted, integers stay."""
    for dtype in _SMALLER_FIRST:
        if dtype.itemsize < values.dtype.itemsize and _is_exact(values, dtype):
            return dtype
    return values.dtype


def _is_exact(values: Array, dtype: np.dtype[Any]) -> bool:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        back = values.astype(dtype).astype(values.dtype)
    return not np.isnan(values).any() and np.array_equal(_keys(back), _keys(values))


def _exact(values: Array, dtype: str) -> Array:
    target = np.dtype(dtype)
    if target != values.dtype and not _is_exact(values, target):
        raise ValueError(f"{dtype} does not hold the weight's values exactly; plan the packing again")
    return values.astype(target)


def _streams(size: int, positions: NDArray[np.int64]) -> list[tuple[Layout, int, int, bool]]:
    """Every layout: its name, width of a gap, length of its stream, and whether the stream holds a zero."""
    count = positions.size
    streams: list[tuple[Layout, int, int, bool]] = [
        ("dense", 0, size, count < size),
        ("bitmap", 0, count + 1, True),
    ]
    steps, counts = np.unique(_bridgeable(positions), return_counts=True)
    for bits in range(8, 1, -1):
        bridges = int(np.dot(counts, steps // (2**bits - 1)))
        streams.append(("gaps", bits, count + bridges, bridges > 0))
    return streams


def _bridgeable(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Distance (k,) of each position to the one before, less one: an m-valued field needs this // m bridges."""
    bridgeable: NDArray[np.int64] = np.maximum(np.diff(positions, prepend=0) - 1, 0)
    return bridgeable


def _index_widths(entries: int, scaled: bool) -> list[int]:
    """No codebook, or one of ``entries`` values with indices of whole bytes or as narrow as they can be."""
    widths = [8, max(1, (entries - 1).bit_length())] if entries <= _CODEBOOK_SIZE else []
    return widths if scaled else [0, *widths]


def _bytes(encoding: Encoding, weight: Array, length: int, entries: int) -> int:
    """Bytes of an encoding in the file: data, and the tensors and nodes that unpack it (see ``PackWeights``)."""
    tensors, nodes = {"dense": (2, 1), "bitmap": (2, 5), "gaps": (3, 5)}[encoding.layout]
    nodes += (encoding.dtype != weight.dtype.name) + (encoding.index_bits > 0)
    stored = entries if encoding.index_bits else length
    data = stored * np.dtype(encoding.dtype).itemsize + 8 * (weight.ndim + tensors)
    if encoding.layout == "bitmap":
        data += _integer_bytes(1, weight.size)
    if encoding.layout == "gaps":
        data += _integer_bytes(encoding.gap_bits, length) + (weight.dtype != np.float32) * _ZERO_BYTES
    if encoding.index_bits:
        data += _integer_bytes(encoding.index_bits, length)
    return data + tensors * _TENSOR_OVERHEAD + nodes * _NODE_OVERHEAD


def _integer_bytes(bits: int, count: int) -> int:
    """Bytes of ``count`` packed integers in the file, with what unpacks them."""
    if bits == 8:
        return count + _TENSOR_OVERHEAD + _NODE_OVERHEAD
    return _split_bytes(bits, count) if _is_split(bits, count) else _part_bytes(bits, count)


def _part_bytes(bits: int, count: int) -> int:
    words = -(-count // _fields(bits)) * _word(bits).itemsize
    cut = _NODE_OVERHEAD + _TENSOR_OVERHEAD + 8 if count % _fields(bits) else 0
    return words + _TENSOR_OVERHEAD + _FIELD_NODES * _NODE_OVERHEAD + cut


def _split_bytes(bits: int, count: int) -> int:
    parts = _part_bytes(_LOW_BITS, count) + _part_bytes(bits - _LOW_BITS, count)
    return parts + _TENSOR_OVERHEAD + _SPLIT_NODES * _NODE_OVERHEAD


def _split(keys: Array, encoding: Encoding) -> tuple[PackedIntegers | None, Array]:
    """The places of a layout, and the bit patterns of its stream."""
    if encoding.layout == "dense":
        return None, keys
    if encoding.layout == "bitmap":
        kept = keys != 0
        return pack_integers(kept.view(np.uint8), 1), np.concatenate([keys[:1] * 0, keys[kept]])
    gaps, stream = _bridge(keys, _nonzero_positions(keys), 2**encoding.gap_bits - 1)
    return pack_integers(gaps, encoding.gap_bits), stream


def _bridge(keys: Array, positions: NDArray[np.int64], widest: int) -> tuple[NDArray[np.uint8], Array]:
    """Gaps of at most ``widest`` (m,), summing up to the places of the stream (m,)."""
    bridges = _bridgeable(positions) // widest
    ends = np.cumsum(bridges + 1) - 1
    gaps = np.full(int(ends[-1]) + 1, widest, np.uint8)
    gaps[ends] = np.diff(positions, prepend=0) - widest * bridges
    stream = np.zeros(gaps.size, keys.dtype)
    stream[ends] = keys[positions]
    return gaps, stream


def _codebook(stream: Array, encoding: Encoding) -> tuple[Array, NDArray[np.uint8]]:
    """The distinct values (m,) of a stream (n,) in the encoding's type, and the index (n,) of each element."""
    narrow = _exact(stream, encoding.dtype)
    keys = _keys(narrow)
    distinct = _distinct(keys)
    if distinct.size > 2**encoding.index_bits:
        raise ValueError(f"the weight has {distinct.size} distinct values; plan the packing again")
    if keys.dtype == np.uint16:  # a table is ten times as fast as a search
        table = np.zeros(2**16, np.uint8)
        table[distinct] = np.arange(distinct.size)
        return distinct.view(narrow.dtype), table[keys]
    return distinct.view(narrow.dtype), np.searchsorted(distinct, keys).astype(np.uint8)
