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
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from netsurgeon.passes.codebooks import split_scales
from netsurgeon.passes.packing.indices import IndexCode, Integers, choose_code
from netsurgeon.passes.packing.packed_integers import (
    NODE_OVERHEAD,
    TENSOR_OVERHEAD,
    PackedIntegers,
    integer_bytes,
    pack_integers,
)

Array: TypeAlias = NDArray[Any]
Layout: TypeAlias = Literal["dense", "gaps", "bitmap"]

MOST_LEVELS = 4
"""Of indices; a fifth saves less than a hundredth of what is left."""

_CODEBOOK_SIZE = 256
_UNSIGNED = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}
_LARGEST_POWER = 15  # of float16
_MOST_POWER = 100  # well within float32
_SMALLER_FIRST = (np.dtype(np.float16), np.dtype(np.float32))

_PLAIN_OVERHEAD = 20  # of a plain initializer in the file, in bytes, and its name
_ZERO_BYTES = 20  # in a node that makes zeros of another type than float32


@dataclass(frozen=True)
class Encoding:
    """How one weight is stored.

    Attributes:
        layout: ``dense``, ``gaps`` or ``bitmap``.
        dtype: Float type (NumPy name) of the stored values or of the codebook's entries.
        gap_bits: Width of a gap's field, 2 to 8; 0 without gaps.
        index: How indices into the codebook are written, whose most frequent values come first; None without one.
        scaled_axis: Axis along which each slice has a scale; None without scales.
        power: Stored values, or entries, are those of the weight times two to this power.
    """

    layout: Layout
    dtype: str
    gap_bits: int = 0
    index: IndexCode | None = None
    scaled_axis: int | None = None
    power: int = 0

    def __str__(self) -> str:
        """Name it for a report, e.g. ``gaps (8 bit), scaled codebook of float16 (7 bit)``."""
        place = f"gaps ({self.gap_bits} bit)" if self.layout == "gaps" else self.layout
        book = "codebook" if self.scaled_axis is None else "scaled codebook"
        return f"{place}, " + (f"{book} of {self.dtype} ({self.index})" if self.index else self.dtype)


@dataclass(frozen=True)
class Encoded:
    """A weight in an encoding.

    Attributes:
        places: Gaps (stream length) or bits (weight size); None for a dense layout.
        values: The stream, or the codebook's entries.
        indices: The stream's indices in ``values``: their levels, and last their lowest bits where these are apart;
            none without a codebook.
        scales: What the weight is multiplied with in the end, of its rank; None without scales.
    """

    places: PackedIntegers | None
    values: Array
    indices: tuple[PackedIntegers, ...] = ()
    scales: Array | None = None


def choose_encoding(weight: Array, name_length: int, most_levels: int = MOST_LEVELS) -> tuple[Encoding, int]:
    """Find the smallest exact encoding of ``weight`` (any shape, float or int8).

    Args:
        weight: The values to keep to the last bit.
        name_length: Length of the weight's name.
        most_levels: Of indices.

    Returns:
        The encoding, and the bytes that it takes in the file. An encoding ``dense`` in the weight's own type and
        without a codebook means: leave it as it is; its bytes are those of the plain initializer.
    """
    keys = _keys(weight)
    positions = _nonzero_positions(keys)
    plain = Encoding("dense", weight.dtype.name), plain_bytes(weight.nbytes, name_length)
    best = plain
    for axis, distinct, counts, extra in _value_sets(weight, keys[positions]):
        dtype, power = smallest_exact(distinct.view(weight.dtype))
        for layout, gap_bits, length, zeros in _streams(keys.size, positions):
            of_entries = _with_zeros(distinct, counts, zeros)
            for index, index_bytes in _index_codes(of_entries, axis is not None, most_levels):
                encoding = Encoding(layout, dtype.name, gap_bits=gap_bits, index=index, scaled_axis=axis, power=power)
                size = _bytes(encoding, weight, length, of_entries.size) + index_bytes + extra + 2 * name_length
                if encoding != plain[0] and size < best[1]:
                    best = encoding, size
    return best


def _value_sets(weight: Array, nonzero: Array) -> Iterator[tuple[int | None, Array, Integers, int]]:
    """What a weight can be made of: the axis of its scales, bit patterns, how often each occurs, bytes of the scales.

    Those it has as it is, and those it has when slices along an axis are scaled, where that leaves few. ONNX Runtime
    multiplies no float16 while it loads a model, so those are not scaled.
    """
    yield None, *_distinct_or_all(nonzero), 0
    if weight.dtype.itemsize > 2 and weight.ndim > 1:
        for axis in (0, 1) if weight.ndim == 2 else (0,):  # outputs of a layer
            scaled = split_scales(weight, axis)
            if scaled is not None and scaled.values.size < _CODEBOOK_SIZE:
                more = scaled.scales.nbytes + 8 * weight.ndim + TENSOR_OVERHEAD + 2 * NODE_OVERHEAD
                keys = _keys(scaled.weight)
                yield axis, *_distinct(keys[_nonzero_positions(keys)]), more


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
    if encoding.index is None:
        return Encoded(places, _exact(stream, encoding.dtype, encoding.power))
    code = encoding.index
    codebook, indices = _codebook(_exact(stream, encoding.dtype, encoding.power), code)
    # all fields of a byte are looked up at once, also those that no index has
    codebook = np.pad(codebook, (0, _stored_entries(code, codebook.size) - codebook.size), mode="edge")
    widths = (*code.levels, code.low) if code.low else code.levels
    fields = zip(code.split(indices), widths, strict=True)
    return Encoded(places, codebook, tuple(pack_integers(numbers, bits) for numbers, bits in fields), scales)


def plain_bytes(data: int, name_length: int) -> int:
    """Bytes in the file of an initializer with ``data`` bytes of values."""
    return data + _PLAIN_OVERHEAD + name_length


def _keys(weight: Array) -> Array:
    """The bit patterns (n,) of the elements in row-major order."""
    keys: Array = np.ascontiguousarray(weight).reshape(-1).view(_UNSIGNED[weight.dtype.itemsize])
    return keys


def _nonzero_positions(keys: Array) -> NDArray[np.int64]:
    """Places (k,) of all patterns but that of +0.0; a weight of only zeros keeps its first, so k is never 0."""
    positions = np.flatnonzero(keys)
    return positions if positions.size else np.zeros(1, np.int64)


def _distinct(keys: Array) -> tuple[Array, Integers]:
    """Ascending distinct integers and their counts; where most differ, a sort is far quicker than a hash table."""
    ascending = np.sort(keys)
    first = np.ones(keys.size, bool)
    np.not_equal(ascending[1:], ascending[:-1], out=first[1:])
    return np.asarray(ascending[first]), np.diff(np.flatnonzero(first), append=keys.size)


def _distinct_or_all(keys: Array) -> tuple[Array, Integers]:
    """Distinct integers, or all of them where a sample shows that a codebook cannot hold them: that saves the sort."""
    sample = keys[:: max(1, keys.size // (16 * _CODEBOOK_SIZE))]
    is_hopeless = np.unique(sample).size > _CODEBOOK_SIZE
    return (keys, np.ones(keys.size, np.int64)) if is_hopeless else _distinct(keys)


def _with_zeros(distinct: Array, counts: Integers, zeros: int) -> Integers:
    """How often each entry of a codebook occurs in a stream with some zeros more, most frequent first."""
    if zeros and distinct[0] == 0:
        counts = np.append(counts[1:], counts[0] + zeros)
    elif zeros:
        counts = np.append(counts, zeros)
    return -np.sort(-counts) if counts.size <= _CODEBOOK_SIZE else counts


def smallest_exact(values: Array) -> tuple[np.dtype[Any], int]:
    """The smallest float type that holds every value, times a power of two, to the last bit, and that power.

    A NaN is never converted, integers stay.
    """
    for dtype in _SMALLER_FIRST:
        if dtype.itemsize < values.dtype.itemsize:
            for power in (0, _room(values)):
                if _is_exact(values, dtype, power):
                    return dtype, power
    return values.dtype, 0


def _room(values: Array) -> int:
    """The power of two that brings the largest value to the upper end of what float16 holds."""
    largest = np.abs(values).max(initial=0.0)
    power = _LARGEST_POWER - int(np.frexp(largest)[1]) if 0 < largest < np.inf else 0
    return power if abs(power) <= _MOST_POWER else 0


def _is_exact(values: Array, dtype: np.dtype[Any], power: int) -> bool:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        back = np.ldexp(np.ldexp(values, power).astype(dtype).astype(values.dtype), -power)
    return not np.isnan(values).any() and np.array_equal(_keys(back), _keys(values))


def _exact(values: Array, dtype: str, power: int) -> Array:
    target = np.dtype(dtype)
    if target == values.dtype:
        return values
    if not _is_exact(values, target, power):
        raise ValueError(f"{dtype} does not hold the weight's values exactly; plan the packing again")
    return np.ldexp(values, power).astype(target)


def _streams(size: int, positions: NDArray[np.int64]) -> list[tuple[Layout, int, int, int]]:
    """Every layout: its name, width of a gap, length of its stream, and zeros in it beside what is at `positions`."""
    count = positions.size
    streams: list[tuple[Layout, int, int, int]] = [
        ("dense", 0, size, size - count),
        ("bitmap", 0, count + 1, 1),
    ]
    steps, counts = np.unique(_bridgeable(positions), return_counts=True)
    for bits in range(8, 1, -1):
        bridges = int(np.dot(counts, steps // (2**bits - 1)))
        streams.append(("gaps", bits, count + bridges, bridges))
    return streams


def _bridgeable(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Distance (k,) of each position to the one before, less one: an m-valued field needs this // m bridges."""
    bridgeable: NDArray[np.int64] = np.maximum(np.diff(positions, prepend=0) - 1, 0)
    return bridgeable


def _index_codes(counts: Integers, scaled: bool, most_levels: int) -> Iterator[tuple[IndexCode | None, int]]:
    """No codebook; or one, how its indices take the fewest bytes, and these bytes."""
    if not scaled:
        yield None, 0
    if counts.size <= _CODEBOOK_SIZE:
        yield choose_code(counts, most_levels)


def _bytes(encoding: Encoding, weight: Array, length: int, entries: int) -> int:
    """Bytes of an encoding in the file: data, and the tensors and nodes that unpack it (see ``PackWeights``).

    Without the indices of its codebook, which has so many entries.
    """
    tensors, nodes = {"dense": (2, 1), "bitmap": (2, 5), "gaps": (3, 5)}[encoding.layout]
    nodes += (encoding.dtype != weight.dtype.name) + (encoding.index is not None) + (encoding.power != 0)
    stored = _stored_entries(encoding.index, entries) if encoding.index else length
    data = stored * np.dtype(encoding.dtype).itemsize + 8 * (weight.ndim + tensors)
    if encoding.layout == "bitmap":
        data += integer_bytes(1, weight.size)
    if encoding.layout == "gaps":
        data += integer_bytes(encoding.gap_bits, length) + (weight.dtype != np.float32) * _ZERO_BYTES
    return data + tensors * TENSOR_OVERHEAD + nodes * NODE_OVERHEAD


def _stored_entries(code: IndexCode, entries: int) -> int:
    """Entries of the stored codebook."""
    return code.entries if code.levels in ((1,), (2,), (4,)) and not code.low else entries


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


def _codebook(stream: Array, code: IndexCode) -> tuple[Array, Integers]:
    """The distinct values (m,) of a stream (n,), and the index (n,) of each element."""
    keys = _keys(stream)
    distinct, counts = _distinct(keys)
    if distinct.size > code.entries:
        raise ValueError(f"the weight has {distinct.size} distinct values; plan the packing again")
    order = np.argsort(-counts, kind="stable")
    indices = np.empty(order.size, np.int64)
    indices[order] = np.arange(order.size)
    codebook = distinct[order].view(stream.dtype)
    if keys.itemsize <= 2:  # a table is ten times as fast as a search
        table = np.zeros(1 << (8 * keys.itemsize), np.int64)
        table[distinct] = indices
        return codebook, table[keys]
    return codebook, indices[np.searchsorted(distinct, keys)]
