"""Store weights in fewer bytes, unpacked by plain ONNX operators when the model is loaded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from netsurgeon.passes.graph import FLOATS
from netsurgeon.passes.packing.chain_builder import ChainBuilder, names_in
from netsurgeon.passes.packing.encodings import MOST_LEVELS, Encoded, Encoding, choose_encoding, encode, plain_bytes
from netsurgeon.passes.packing.indices import IndexCode
from netsurgeon.passes.packing.packed_integers import PackedIntegers
from netsurgeon.passes.packing.shared_streams import Packing, concatenated, share_streams
from netsurgeon.passes.packing.unpack_weights import unpacking_chains

Array = NDArray[Any]

OPSET = 11
"""The first version of the default operator set that has CumSum and ScatterElements on every axis and type."""

PACKED_TYPES = (*FLOATS, ir.DataType.INT8)
"""Types of weights that are packed; integers are those of quantized layers, which fuse once they are unpacked."""

MOST_FOR_LEVELS = 1 << 21
"""Elements of all weights up to which indices may have several levels: unpacking takes memory while a session loads."""

_SHARED_BYTES = 400
"""What all chains have in common takes in the file, about."""
_EXACT_FLOAT32 = 2**24
"""Up to here float32 holds every integer."""


class OpsetTooLowError(ir.passes.PreconditionError, ValueError):
    """The model's operator set is older than the operators that unpack a weight."""


@dataclass(frozen=True)
class PackWeights(ir.passes.InPlacePass):
    """Replace each weight by the smallest stored form that gives back its values to the last bit.

    With ``table(b)`` the fields of b bits of all 256 bytes, (256, 8 / b), once in the file::

        table(b) = Range(256) -> Reshape(256, 1) -> Div(1, 2^b, ...) -> Mod(2^b)
        integers = bytes -> Cast -> Gather(table(b)) -> Reshape(-1)
                   (of 8 bits: Cast alone; of 3, 5, 6 and 7 bits: the sum of parts of 4, 2 and 1)
        indices  = integers, or of several levels, see indices.py:
                   Where(escapes, Gather(indices of the next level, CumSum(escapes) -> Cast), integers)
        values   = stored -> Cast, or Gather(codebook -> Cast, indices)
        dense    = values -> Reshape(shape)
        gaps     = ScatterElements(ConstantOfShape(0), CumSum(integers(gaps)) -> Cast, values) -> Reshape(shape)
        bitmap   = Gather(values, CumSum(bits) * bits -> Cast) -> Reshape(shape), bits = integers(bitmap), values[0] = 0

    and behind any of them -> Mul(scales -> Cast) where the slices along an axis share a codebook up to powers of two.
    Small weights of integers lie in one stream, biases and scales in another, which Split cuts.

    The types are those that runtimes compute rightly and fold (tests/passes/packing/test_runtimes.py): bytes are looked
    up, not shifted, for OpenVINO shifts them wrongly; and sums are float32, for OpenVINO folds no CumSum of another
    type but runs it each time the model runs. Where a weight has more than 2^24 elements, which float32 could not
    count, they are int32. Every shape is fixed: with NonZero in place of the sum OpenVINO takes seconds to load what
    takes it a tenth.

    ONNX Runtime folds the chain away while a session loads, and outputs are those of the plain model to the last bit.
    With optimisation off the chain runs each time. The weights are the same, but ONNX Runtime rearranges ahead only
    what is constant and takes other matrix kernels otherwise: outputs agree to rounding, and to the last bit where
    ``session.disable_prepacking`` is set for both models.

    The weight's name is now that of the chain's output, so nothing that uses it changes, in subgraphs neither.
    :class:`UnpackWeights` is the inverse. -0.0 is stored as a value of its own: turn
    it into 0.0 first where its sign means nothing.

    Packed are initializers of the main graph of type float32, float16, float64 or int8 that some node uses, where that
    saves bytes. Left as they are: inputs and outputs of the graph, and weights with fewer than ``min_elements``.

    Attributes:
        plan: What to do, from :func:`plan_packing`; planned on the spot if None.
        min_elements: Smallest weight that is looked at when planning on the spot.

    Raises:
        OpsetTooLowError: If the default operator set is older than 11.
        ValueError: If a weight of the plan is not there (then nothing has been changed), or its values are no longer
            those that were planned for and do not fit (then the weights before it have been packed).
    """

    plan: Sequence[Packing] | None = field(default=None, repr=False)
    min_elements: int = 64

    def requires(self, model: ir.Model) -> None:
        """Raise :class:`OpsetTooLowError` for an operator set older than 11."""
        _require_opset(model)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Pack the weights of the main graph.

        Raises:
            ValueError: the plan names a weight that the graph does not have.
        """
        plan = plan_packing(model, self.min_elements) if self.plan is None else self.plan
        builder = ChainBuilder(model.graph, names_in(model.graph))
        weights = {value.name: value for value in _weights(model.graph)}
        missing = [packing.name for packing in plan if packing.name not in weights]
        if missing:
            raise ValueError(f"not weights that can be packed: {', '.join(missing)}; plan the packing again")
        streams: dict[int, list[Packing]] = {}
        for packing in plan:
            if packing.stream is None:
                _pack(builder, weights[packing.name], packing.encoding)
            else:
                streams.setdefault(packing.stream, []).append(packing)
        for packings in streams.values():
            _pack_together(builder, [weights[packing.name] for packing in packings], packings[0].encoding)
        builder.insert()
        return ir.passes.PassResult(model, modified=bool(plan))


def plan_packing(model: ir.Model, min_elements: int = 64) -> list[Packing]:
    """Choose an encoding for each weight, in the order of the initializers; the model is only read.

    Weights are read one at a time, external data included. A weight that no encoding makes smaller is not listed.

    Raises:
        OpsetTooLowError: If the default operator set is older than 11.
    """
    _require_opset(model)
    weights = {str(value.name): value for value in _weights(model.graph)}
    arrays = {name: _tensor(value) for name, value in weights.items()}
    levels = MOST_LEVELS if sum(array.size for array in arrays.values()) <= MOST_FOR_LEVELS else 1
    packings = [_plan(value, min_elements, levels) for value in weights.values()]
    shared = share_streams(packings, arrays, levels)
    smaller = [packing for packing in shared if packing.bytes_after < packing.bytes_before]
    saved = sum(packing.bytes_before - packing.bytes_after for packing in smaller)
    return smaller if saved > _SHARED_BYTES else []


def _require_opset(model: ir.Model) -> None:
    version = model.graph.opset_imports.get("", 0)
    if version < OPSET:
        raise OpsetTooLowError(
            f"packed weights need operator set {OPSET} or later, the model has {version}; upgrade it first"
        )


def _weights(graph: ir.Graph) -> Iterator[ir.Value]:
    """Initializers that may be packed: none of those that already serve to unpack another."""
    chains = {node for chain in unpacking_chains(graph) for node in chain.nodes}
    for value in graph.initializers.values():
        if value.is_graph_input() or value.is_graph_output() or value.const_value is None:
            continue
        if not value.uses() or not chains.isdisjoint(value.consumers()):
            continue
        # Unpacked indices are int32.
        if value.const_value.dtype in PACKED_TYPES and 0 < value.const_value.size < 2**31 - 1:
            yield value


def _tensor(value: ir.Value) -> ir.TensorProtocol:
    assert value.const_value is not None  # _weights has seen it
    return value.const_value


def _plan(value: ir.Value, min_elements: int, most_levels: int) -> Packing:
    """What is best for a weight by itself: packed, or plain."""
    tensor, name = _tensor(value), str(value.name)
    before = plain_bytes(tensor.nbytes, len(name))
    encoding, after = Encoding("dense", tensor.dtype.numpy().name), before
    if tensor.size >= min_elements:
        encoding, after = choose_encoding(tensor.numpy(), len(name), most_levels)
        _release(tensor)
    return Packing(name=name, encoding=encoding, bytes_before=before, bytes_after=after)


def _release(tensor: ir.TensorProtocol) -> None:
    """Close the file behind an external tensor, so that never more than one is in memory."""
    if isinstance(tensor, ir.ExternalTensor):
        tensor.release()


def _pack(builder: ChainBuilder, weight: ir.Value, encoding: Encoding) -> None:
    """Replace an initializer by stored tensors and the nodes that unpack them."""
    tensor = _tensor(weight)
    encoded = encode(tensor.numpy(), encoding)
    _release(tensor)
    data = _elements(builder, encoded, encoding, tensor.dtype, tensor.size)
    _replace(builder, weight, builder.unpacked(data, tensor, str(weight.name), encoded.scales))


def _pack_together(builder: ChainBuilder, weights: Sequence[ir.Value], encoding: Encoding) -> None:
    """The same for several weights that lie one behind the other in one stream.

    Those that differ in nothing but the extent of their first axis get their shape together, and are cut along it.
    """
    alike: dict[tuple[int, ...], list[ir.Value]] = {}
    for weight in weights:
        alike.setdefault(tuple(_tensor(weight).shape.numpy()[1:]), []).append(weight)
    flat = concatenated(_tensor(weight) for group in alike.values() for weight in group)
    data = _elements(builder, encode(flat, encoding), encoding, _tensor(weights[0]).dtype, flat.size)
    parts = builder.cut(data, [sum(_tensor(weight).size for weight in group) for group in alike.values()])
    for part, (tail, group) in zip(parts, alike.items(), strict=True):
        names, tensors = [str(weight.name) for weight in group], [_tensor(weight) for weight in group]
        if len(group) == 1:
            unpacked = [builder.unpacked(part, tensors[0], names[0], None)]
        else:
            rows = builder.node("Reshape", [part, builder.integers(-1, *tail)]) if tail else part
            unpacked = builder.cut(rows, [tensor.shape.numpy()[0] for tensor in tensors], names)
        for weight, value in zip(group, unpacked, strict=True):
            _replace(builder, weight, value)


def _replace(builder: ChainBuilder, weight: ir.Value, unpacked: ir.Value) -> None:
    unpacked.metadata_props.update(weight.metadata_props)
    unpacked.doc_string = weight.doc_string
    del builder.graph.initializers[str(weight.name)]
    weight.replace_all_uses_with(unpacked)


def _elements(builder: ChainBuilder, encoded: Encoded, encoding: Encoding, dtype: ir.DataType, size: int) -> ir.Value:
    """All elements in row-major order, (size,), not scaled yet."""
    values = _values(builder, encoded, encoding, dtype)
    if encoded.places is None:
        return builder.first(values, size) if encoded.indices and encoded.indices[0].is_padded else values
    sums = ir.DataType.FLOAT if size <= _EXACT_FLOAT32 else ir.DataType.INT32
    places = builder.fields(encoded.places, sums)
    if encoding.layout == "bitmap":
        ranks = builder.node("Mul", [_summed(builder, places), places])
        elements = builder.node("Gather", [values, builder.cast(ranks, ir.DataType.INT32)])
        return builder.first(elements, size) if encoded.places.is_padded else elements
    ends = builder.cast(_summed(builder, places), ir.DataType.INT32)
    if encoded.places.is_padded:
        ends = builder.first(ends, encoded.places.count)
        values = builder.first(values, encoded.places.count) if encoded.indices else values
    # OpenVINO folds no ScatterElements of the integers that a DequantizeLinear takes
    kind = ir.DataType.FLOAT if dtype == ir.DataType.INT8 else dtype
    zero = {} if kind == ir.DataType.FLOAT else {"value": ir.tensor(np.zeros(1, kind.numpy()))}
    zeros = builder.node("ConstantOfShape", [builder.integers(size)], **zero)
    if kind != dtype:
        values = builder.cast(values, kind)
    scattered = builder.node("ScatterElements", [zeros, ends, values])
    return scattered if kind == dtype else builder.cast(scattered, dtype)


def _summed(builder: ChainBuilder, integers: ir.Value) -> ir.Value:
    return builder.node("CumSum", [integers, builder.constant(np.array(0, np.int64))])


def _values(builder: ChainBuilder, encoded: Encoded, encoding: Encoding, dtype: ir.DataType) -> ir.Value:
    """The stream in the weight's type; with a codebook, a few values more."""
    code = encoding.index
    stored = builder.of_type(encoded.values, dtype, is_shared=code is not None)
    if encoding.power:
        power = builder.constant(np.ldexp(dtype.numpy().type(1), -encoding.power))
        stored = builder.node("Mul", [stored, power])
    if code is None:
        return stored
    if len(code.levels) == 1 and not code.low:
        return builder.looked_up(encoded.indices[0], stored)[0]
    indices = builder.cast(_numbers(builder, encoded.indices, code), ir.DataType.INT32)
    if code.low:
        indices = builder.node("Add", [indices, builder.fields(encoded.indices[-1], ir.DataType.INT32)])
    return builder.node("Gather", [stored, indices])


def _numbers(builder: ChainBuilder, levels: Sequence[PackedIntegers], code: IndexCode, level: int = 0) -> ir.Value:
    """Indices without their lowest bits, from a level on, see ``indices.py``."""
    width, start = code.levels[level], code.starts()[level]
    meant = (np.arange(start, start + (1 << width)) << code.low).astype(np.uint8)  # what follows an escape is unused
    tables = [builder.constant(meant)]
    if level + 1 == len(code.levels):
        return builder.looked_up(levels[level], *tables)[0]
    tables.append(builder.constant(np.arange(1 << width) == (1 << width) - 1))
    numbers, escapes = builder.looked_up(levels[level], *tables)
    sums = ir.DataType.FLOAT if levels[level].count <= _EXACT_FLOAT32 else ir.DataType.INT32
    ranks = builder.cast(_summed(builder, builder.cast(escapes, sums)), ir.DataType.INT32)
    rest = builder.node("Gather", [_numbers(builder, levels, code, level + 1), ranks])
    return builder.node("Where", [escapes, rest, numbers])
