"""Integer weights that are packed together: what unpacks them is then in the file once, not once for each of them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from netsurgeon.passes.packing.encodings import Encoding, choose_encoding

MOST_ELEMENTS = 1 << 24
"""Of a stream: up to here float32, in which places are summed up, holds every integer."""
MOST_OF_ONE = 1 << 20
"""Larger weights have a stream of their own: what unpacks them is next to nothing beside them."""
CUT_BYTES = 100
"""What cuts one weight out of a stream takes in the file, about."""
FEW_VALUES = 4
"""Bits of an index into the values of a weight that has few: those are packed apart from weights of 7 or 8 bits."""


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


def share_streams(packings: Sequence[Packing], arrays: Mapping[str, ir.TensorProtocol]) -> list[Packing]:
    """Put integer weights of a kind into streams where that makes the file smaller; the order stays.

    Args:
        packings: each weight by itself.
        arrays: the weights, by name.
    """
    groups: dict[tuple[str, bool], list[Packing]] = {}
    for packing in packings:
        tensor = arrays[packing.name]
        if tensor.dtype == ir.DataType.INT8 and tensor.size <= MOST_OF_ONE:
            has_few_values = 0 < packing.encoding.index_bits <= FEW_VALUES
            groups.setdefault((packing.encoding.layout, has_few_values), []).append(packing)
    shared: dict[str, Packing] = {}
    parts = itertools.chain.from_iterable(_parts(group, arrays) for group in groups.values())
    for stream, group in enumerate(parts):
        flat = concatenated(arrays[packing.name] for packing in group)
        encoding, size = choose_encoding(flat, 0)
        size += CUT_BYTES * len(group)
        if len(group) > 1 and size < sum(packing.bytes_after for packing in group):
            for packing in group:
                share = round(size * arrays[packing.name].size / flat.size)
                shared[packing.name] = dataclasses.replace(packing, encoding=encoding, bytes_after=share, stream=stream)
    return [shared.get(packing.name, packing) for packing in packings]


def concatenated(tensors: Iterable[ir.TensorProtocol]) -> NDArray[np.generic]:
    """Elements of tensors of one type, one behind the other, (elements,)."""
    return np.concatenate([tensor.numpy().reshape(-1) for tensor in tensors])


def _parts(group: Sequence[Packing], arrays: Mapping[str, ir.TensorProtocol]) -> Iterable[list[Packing]]:
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
