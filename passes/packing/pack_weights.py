"""Store weights in fewer bytes, unpacked by plain ONNX operators when the model is loaded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from netsurgeon.passes.graph import FLOATS
from netsurgeon.passes.packing.encodings import Encoded, Encoding, PackedIntegers, choose_encoding, encode, plain_bytes
from netsurgeon.passes.packing.shared_streams import Packing, concatenated, share_streams
from netsurgeon.passes.packing.unpack_weights import unpacking_chains, unpacking_node_name

Array = NDArray[Any]

OPSET = 11
"""The first version of the default operator set that has CumSum and ScatterElements on every axis and type."""

PACKED_TYPES = (*FLOATS, ir.DataType.INT8)
"""Types of weights that are packed; integers are those of quantized layers, which fuse once they are unpacked."""

_EXACT_FLOAT32 = 2**24
"""Up to here float32 holds every integer."""


class OpsetTooLowError(ir.passes.PreconditionError, ValueError):
    """The model's operator set is older than the operators that unpack a weight."""


@dataclass(frozen=True)
class PackWeights(ir.passes.InPlacePass):
    """Replace each weight by the smallest stored form that gives back its values to the last bit.

    With ``integers(words)`` the unsigned fields of a few bits in ``words``::

        integers = words -> BitShift(shifts) -> Mod(2^bits) -> Reshape(-1) -> Slice(count) -> Cast
                   (of 8 bits: Cast alone; of 5 and 6 bits: integers(the lower 4) + 16 integers(the others);
                   without Slice where they fill the last word)
        values   = stored -> Cast, or Gather(codebook -> Cast, integers(indices))
        dense    = values -> Reshape(shape)
        gaps     = ScatterElements(ConstantOfShape(0), CumSum(integers(gaps)) -> Cast, values) -> Reshape(shape)
        bitmap   = Gather(values, CumSum(bits) * bits -> Cast) -> Reshape(shape), bits = integers(bitmap), values[0] = 0

    and behind any of them -> Mul(scales -> Cast) where the slices along an axis share a codebook up to powers of two.
    Small weights of integers lie in one stream, from which -> Slice(start, end) cuts each in front of its Reshape.

    The types are those that runtimes compute rightly and fold (tests/passes/packing/test_runtimes.py): fields lie in
    words of 32 or 64 bits, not in bytes, which OpenVINO shifts wrongly; and sums are float32, for OpenVINO folds no
    CumSum of another type but runs it each time the model runs. Where a weight has more than 2^24 elements, which
    float32 could not count, they are int32. Every shape is fixed: with NonZero in place of the sum OpenVINO takes
    seconds to load what takes it a tenth.

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
        """Pack the weights of the main graph."""
        plan = plan_packing(model, self.min_elements) if self.plan is None else self.plan
        builder = _Builder(model.graph, _names(model.graph))
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
        return ir.passes.PassResult(model, modified=bool(plan))


def plan_packing(model: ir.Model, min_elements: int = 64) -> list[Packing]:
    """Choose an encoding for each weight, in the order of the initializers; the model is only read.

    Weights are read one at a time, external data included. A weight that no encoding makes smaller is not listed.

    Raises:
        OpsetTooLowError: If the default operator set is older than 11.
    """
    _require_opset(model)
    weights = {str(value.name): value for value in _weights(model.graph) if _tensor(value).size >= min_elements}
    packings = map(_plan, weights.values())
    smaller = [packing for packing in packings if packing.bytes_after < packing.bytes_before]
    return share_streams(smaller, {name: _tensor(value) for name, value in weights.items()})


def _require_opset(model: ir.Model) -> None:
    version = model.graph.opset_imports.get("", 0)
    if version < OPSET:
        raise OpsetTooLowError(
            f"packed weights need operator set {OPSET} or later, the model has {version}; upgrade it first"
        )


def _weights(graph: ir.Graph) -> Iterator[ir.Value]:
    """Initializers that may be packed: none of those that already serve to unpack another."""
    chains = {node for chain in unpacking_chains(graph) for node in chain}
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


def _plan(value: ir.Value) -> Packing:
    tensor, name = _tensor(value), str(value.name)
    encoding, size = choose_encoding(tensor.numpy(), len(name))
    _release(tensor)
    return Packing(name=name, encoding=encoding, bytes_before=plain_bytes(tensor.nbytes, len(name)), bytes_after=size)


def _release(tensor: ir.TensorProtocol) -> None:
    """Close the file behind an external tensor, so that never more than one is in memory."""
    if isinstance(tensor, ir.ExternalTensor):
        tensor.release()


def _names(graph: ir.Graph) -> set[str]:
    """Names of all values and nodes, subgraphs included."""
    names = {str(value.name) for part in (graph, *graph.subgraphs()) for value in part.inputs}
    names.update(name for part in (graph, *graph.subgraphs()) for name in part.initializers)
    for node in graph.all_nodes():
        names.update(str(value.name) for value in node.outputs)
        names.add(str(node.name))
    return names


@dataclass(frozen=True)
class _Builder:
    """Helper tensors and nodes, with short names, for they are repeated in the file; equal small tensors are one."""

    graph: ir.Graph
    names: set[str]
    nodes: list[ir.Node] = field(default_factory=list)
    _constants: dict[tuple[str, bytes], ir.Value] = field(default_factory=dict)

    def tensor(self, array: Array) -> ir.Value:
        name = self._unique("p{}")
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))  # with a shape it would be written twice
        self.graph.register_initializer(value)
        return value

    def constant(self, array: Array) -> ir.Value:
        """A tensor that others may have, too."""
        key = (f"{array.dtype}{array.shape}", array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.tensor(array)
        return self._constants[key]

    def integers(self, *integers: int) -> ir.Value:
        return self.constant(np.array(integers, np.int64))

    def node(self, operator: str, inputs: Sequence[ir.Value], **attributes: Any) -> ir.Value:
        output = ir.Value(name=self._unique("u{}"))
        self.nodes.append(ir.node(operator, inputs, attributes, outputs=[output]))
        return output

    def of_type(self, array: Array, dtype: ir.DataType, *, is_shared: bool = False) -> ir.Value:
        """A tensor in the weight's type, stored in its own."""
        stored = self.constant(array) if is_shared else self.tensor(array)
        return stored if array.dtype == dtype.numpy() else self.node("Cast", [stored], to=dtype.value)

    def unpacked(self, data: ir.Value, tensor: ir.TensorProtocol, weight: str, scales: Array | None) -> ir.Value:
        """The nodes that give the weight its shape and scales; the last one's name marks the chain."""
        operator, inputs = "Reshape", [data, self.integers(*tensor.shape.numpy())]
        if scales is not None:
            operator, inputs = "Mul", [self.node(operator, inputs), self.of_type(scales, tensor.dtype)]
        output = ir.val(weight, tensor.dtype, tensor.shape.numpy())
        mark = unpacking_node_name(weight)
        name = mark if mark not in self.names else self._unique(mark + "_{}")
        self.names.add(name)
        self.nodes.append(ir.node(operator, inputs, outputs=[output], name=name))
        return output

    def _unique(self, pattern: str) -> str:
        number = len(self.names)
        while (name := pattern.format(number)) in self.names:
            number += 1
        self.names.add(name)
        return name


def _pack(builder: _Builder, weight: ir.Value, encoding: Encoding) -> None:
    """Replace an initializer by stored tensors and the nodes that unpack them, at the start of the graph."""
    tensor = _tensor(weight)
    encoded = encode(tensor.numpy(), encoding)
    _release(tensor)
    data = _elements(builder, encoded, encoding, tensor.dtype, tensor.size)
    _replace(builder, weight, builder.unpacked(data, tensor, str(weight.name), encoded.scales))
    _insert(builder)


def _pack_together(builder: _Builder, weights: Sequence[ir.Value], encoding: Encoding) -> None:
    """The same for several weights that lie one behind the other in one stream."""
    flat = concatenated(map(_tensor, weights))
    data = _elements(builder, encode(flat, encoding), encoding, _tensor(weights[0]).dtype, flat.size)
    end = 0
    for weight in weights:
        tensor = _tensor(weight)
        start, end = end, end + tensor.size
        part = builder.node("Slice", [data, builder.integers(start), builder.integers(end)])
        _replace(builder, weight, builder.unpacked(part, tensor, str(weight.name), None))
    _insert(builder)


def _replace(builder: _Builder, weight: ir.Value, unpacked: ir.Value) -> None:
    unpacked.metadata_props.update(weight.metadata_props)
    unpacked.doc_string = weight.doc_string
    del builder.graph.initializers[str(weight.name)]
    weight.replace_all_uses_with(unpacked)


def _insert(builder: _Builder) -> None:
    """Put what has been built at the start of the graph, under no names but those that mark weights."""
    marks = {id(node) for node in builder.nodes if node.name}
    builder.graph.insert_before(builder.graph[0], builder.nodes)
    for node in builder.nodes:
        if id(node) not in marks:
            node.name = None  # the graph has given it one
    builder.nodes.clear()


def _elements(builder: _Builder, encoded: Encoded, encoding: Encoding, dtype: ir.DataType, size: int) -> ir.Value:
    """All elements in row-major order, (size,), not scaled yet."""
    values = _values(builder, encoded, dtype)
    if encoded.places is None:
        return values
    sums = ir.DataType.FLOAT if size <= _EXACT_FLOAT32 else ir.DataType.INT32
    places = _integers(builder, encoded.places, sums)
    if encoding.layout == "bitmap":
        ranks = builder.node("Mul", [_summed(builder, places), places])
        return builder.node("Gather", [values, _int32(builder, ranks)])
    zero = {} if dtype == ir.DataType.FLOAT else {"value": ir.tensor(np.zeros(1, dtype.numpy()))}
    zeros = builder.node("ConstantOfShape", [builder.integers(size)], **zero)
    return builder.node("ScatterElements", [zeros, _int32(builder, _summed(builder, places)), values])


def _summed(builder: _Builder, integers: ir.Value) -> ir.Value:
    return builder.node("CumSum", [integers, builder.constant(np.array(0, np.int64))])


def _int32(builder: _Builder, integers: ir.Value) -> ir.Value:
    return builder.node("Cast", [integers], to=ir.DataType.INT32.value)


def _values(builder: _Builder, encoded: Encoded, dtype: ir.DataType) -> ir.Value:
    """The stream in the weight's type."""
    if encoded.indices is None:
        return builder.of_type(encoded.values, dtype)
    stored = builder.of_type(encoded.values, dtype, is_shared=True)
    return builder.node("Gather", [stored, _integers(builder, encoded.indices)])


def _integers(builder: _Builder, packed: PackedIntegers, dtype: ir.DataType = ir.DataType.INT32) -> ir.Value:
    """Packed integers (count,) in a type."""
    fields = builder.tensor(packed.words)
    if packed.bits < 8:
        fields = builder.node("BitShift", [fields, builder.constant(packed.shifts)], direction="RIGHT")
        fields = builder.node("Mod", [fields, builder.constant(np.array(2**packed.bits, packed.words.dtype))])
        fields = builder.node("Reshape", [fields, builder.integers(-1)])
    if packed.is_padded:
        fields = builder.node("Slice", [fields, builder.integers(0), builder.integers(packed.count)])
    integers = builder.node("Cast", [fields], to=dtype.value)
    if packed.high is None:
        return integers
    step = builder.constant(np.array(2**packed.bits, dtype.numpy()))
    return builder.node("Add", [integers, builder.node("Mul", [_integers(builder, packed.high, dtype), step])])
