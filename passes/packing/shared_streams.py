"""Small weights that are packed together: what unpacks them is then in the file once, not once for each of them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from netsurgeon.passes.packing.encodings import Encoding, choose_encoding, smallest_exact

MOST_ELEMENTS = 1 << 22
"""Of a stream: what unpacks it is next to nothing beside it, and takes memory while a session loads."""
MOST_OF_ONE = 1 << 20
"""Larger weights have a stream of their own."""
CUT_BYTES = 16
"""What cuts one weight out of a stream takes in the file, about."""
SHAPE_BYTES = 100
"""What gives weights their shape that differ in their first extent alone; vectors have theirs."""
FEWEST_OF_VECTOR = 4
"""Shorter vectors take more bytes to be cut out than they have."""
FEW_VALUES = 16
"""Of a weight of 4 bits: those are packed apart from weights of 7 or 8 bits."""


@dataclasses.dataclass(frozen=True)
class Packing:
    """How one weight is packed.

    Attributes:
        name: The initializer's name, which the unpacked value keeps.
        encoding: Its layout and value encoding.
        bytes_before: Bytes of the plain initializer in the file.
        bytes_after: Estimated bytes of the packed one, with the nodes that unpack it; of a stream its share.
        stream: Weights with the same number lie in one stream; None = in one of its own.
    """

    name: str
    encoding: Encoding
    bytes_before: int
    bytes_after: int
    stream: int | None = None


def share_streams(
    packings: Sequence[Packing], arrays: Mapping[str, ir.TensorProtocol], most_levels: int
) -> list[Packing]:
    """Put weights of a kind into streams where that makes the file smaller; the order stays.

    Args:
        packings: each weight by itself, packed or plain.
        arrays: the weights, by name.
        most_levels: of indices.
    """
    groups: dict[tuple[object, ...], list[Packing]] = {}
    for packing in packings:
        kind = _kind(packing, arrays[packing.name])
        if kind is not None:
            groups.setdefault(kind, []).append(packing)
    streams = [_Stream.of(part, arrays, most_levels) for group in groups.values() for part in _parts(group, arrays)]
    shared: dict[str, Packing] = {}
    for number, stream in enumerate(_merged(streams, arrays, most_levels)):
        if len(stream.packings) > 1 and stream.bytes < stream.bytes_apart:
            shared.update({packing.name: packing for packing in stream.numbered(number, arrays)})
    return [shared.get(packing.name, packing) for packing in packings]


@dataclasses.dataclass(frozen=True)
class _Stream:
    """Weights that may be packed together.

    Attributes:
        packings: of each by itself.
        encoding: of all together.
        bytes: what they take then.
    """

    packings: list[Packing]
    encoding: Encoding
    bytes: int

    @staticmethod
    def of(packings: list[Packing], arrays: Mapping[str, ir.TensorProtocol], most_levels: int) -> _Stream:
        tensors = [arrays[packing.name] for packing in packings]
        encoding, size = choose_encoding(concatenated(tensors), 0, most_levels)
        tails = {tensor.shape.numpy()[1:] for tensor in tensors} - {()}
        size += len(tails) * SHAPE_BYTES + sum(CUT_BYTES + len(packing.name) for packing in packings)
        return _Stream(packings, encoding, size)

    @property
    def bytes_apart(self) -> int:
        """What the weights take if each is packed by itself."""
        return sum(packing.bytes_after for packing in self.packings)

    @property
    def best_bytes(self) -> int:
        return min(self.bytes, self.bytes_apart)

    def numbered(self, number: int, arrays: Mapping[str, ir.TensorProtocol]) -> Iterator[Packing]:
        """What becomes of each weight."""
        share = self.bytes / sum(arrays[packing.name].size for packing in self.packings)
        for packing in self.packings:
            size = round(share * arrays[packing.name].size)
            yield dataclasses.replace(packing, encoding=self.encoding, bytes_after=size, stream=number)


def _merged(streams: list[_Stream], arrays: Mapping[str, ir.TensorProtocol], most_levels: int) -> list[_Stream]:
    """Fewer streams of integers where that is smaller: what unpacks one may take more than a code of its own saves."""
    for one, other in itertools.combinations(streams, 2):
        packings = [*one.packings, *other.packings]
        tensors = [arrays[packing.name] for packing in packings]
        if {tensor.dtype for tensor in tensors} == {ir.DataType.INT8} and _size(tensors) <= MOST_ELEMENTS:
            both = _Stream.of(packings, arrays, most_levels)
            if both.bytes < one.best_bytes + other.best_bytes:
                rest = [stream for stream in streams if stream not in (one, other)]
                return _merged([both, *rest], arrays, most_levels)
    return streams


def _size(tensors: Iterable[ir.TensorProtocol]) -> int:
    return sum(tensor.size for tensor in tensors)


def concatenated(tensors: Iterable[ir.TensorProtocol]) -> NDArray[np.generic]:
    """Elements of tensors of one type, one behind the other, (elements,)."""
    return np.concatenate([tensor.numpy().reshape(-1) for tensor in tensors])


def _kind(packing: Packing, tensor: ir.TensorProtocol) -> tuple[object, ...] | None:
    """What weights of one stream have in common; None where a weight has one of its own.

    Of floats only vectors share one: biases, and scales of rows, which are short and often numbers of 16 bits.
    """
    if tensor.size > MOST_OF_ONE or not tensor.shape:
        return None
    if tensor.dtype == ir.DataType.INT8:
        return packing.encoding.layout, np.unique(tensor.numpy()).size <= FEW_VALUES
    is_vector = tensor.dtype == ir.DataType.FLOAT and len(tensor.shape) == 1 and tensor.size >= FEWEST_OF_VECTOR
    if not is_vector or packing.bytes_after < 2 * tensor.size:  # such as one number many times
        return None
    dtype, power = smallest_exact(tensor.numpy())
    return (dtype, power != 0) if dtype == np.float16 else None


def _parts(group: Sequence[Packing], arrays: Mapping[str, ir.TensorProtocol]) -> Iterator[list[Packing]]:
    """A group in parts that streams can hold."""
    part: list[Packing] = []
    size = 0
    for packing in group:
        if part and size + arrays[packing.name].size > MOST_ELEMENTS:
            yield part
            part, size = [], 0
        part.append(packing)
        size += arrays[packing.name].size
    if part:
        yield part
