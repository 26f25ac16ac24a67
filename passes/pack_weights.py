"""Store weights in fewer bytes, unpacked by plain ONNX operators when the model is loaded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from netsurgeon.passes._encodings import Encoded, Encoding, PackedIntegers, choose_encoding, encode, plain_bytes
from netsurgeon.passes._nodes import FLOATS
from netsurgeon.passes.unpack_weights import unpacking_chains, unpacking_node_name

Array = NDArray[Any]

OPSET = 11
"""The first version of the default operator set that has CumSum and ScatterElements on every axis and type."""


class OpsetTooLowError(ir.passes.PreconditionError, ValueError):
    """The model's operator set is older than the operators that unpack a weight."""


@dataclass(frozen=True)
class Packing:
    """How one weight is packed.

    Attributes:
        name: The initializer's name, which the unpacked value keeps.
        encoding: Its layout and value encoding.
        bytes_before: Bytes of the plain initializer in the file.
        bytes_after: Estimated bytes of the packed one, with the nodes that unpack it.
    """

    name: str
    encoding: Encoding
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True)
class PackWeights(ir.passes.InPlacePass):
    """Replace each weight by the smallest stored form that gives back its values to the last bit.

    With ``integers(words)`` the unsigned fields of a few bits in ``words``::

        integers = words -> BitShift(shifts) -> Mod(2^bits) -> Reshape(-1) -> Slice(count) -> Cast(int32)
                   (of 8 bits: Cast alone)
        values   = stored -> Cast, or Gather(codebook -> Cast, integers(indices))
        dense    = values -> Reshape(shape)
        gaps     = ScatterElements(ConstantOfShape(0), CumSum(integers(gaps)), values) -> Reshape(shape)
        bitmap   = Gather(values, CumSum(bits) * bits) -> Reshape(shape), bits = integers(bitmap), values[0] = 0

    ONNX Runtime folds the chain away while a session loads, and outputs are those of the plain model to the last bit.
    With optimisation off the chain runs each time. The weights are the same, but ONNX Runtime rearranges ahead only
    what is constant and takes other matrix kernels otherwise: outputs agree to rounding, and to the last bit where
    ``session.disable_prepacking`` is set for both models.

    The weight's name is now that of the chain's output, so nothing that uses it changes, in subgraphs neither.
    :class:`~netsurgeon.passes.unpack_weights.UnpackWeights` is the inverse. -0.0 is stored as a value of its own: turn
    it into 0.0 first where its sign means nothing.

    Packed are initializers of the main graph of type float32, float16 or float64 that some node uses, where that
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
    min_elements: int = 256

    def requires(self, model: ir.Model) -> None:
        """Raise :class:`OpsetTooLowError` for an operator set older than 11."""
        _require_opset(model)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Pack the weights of the main graph."""
        plan = plan_packing(model, self.min_elements) if self.plan is None else self.plan
        names = _names(model.graph)
        weights = {value.name: value for value in _weights(model.graph)}
        missing = [packing.name for packing in plan if packing.name not in weights]
        if missing:
            raise ValueError(f"not weights that can be packed: {', '.join(missing)}; plan the packing again")
        for packing in plan:
            _pack(model.graph, weights[packing.name], packing.encoding, names)
        return ir.passes.PassResult(model, modified=bool(plan))


def plan_packing(model: ir.Model, min_elements: int = 256) -> list[Packing]:
    """Choose an encoding for each weight, in the order of the initializers; the model is only read.

    Weights are read one at a time, external data included. A weight that no encoding makes smaller is not listed.

    Raises:
        OpsetTooLowError: If the default operator set is older than 11.
    """
    _require_opset(model)
    packings = (_plan(value) for value in _weights(model.graph) if _tensor(value).size >= min_elements)
    return [packing for packing in packings if packing.bytes_after < packing.bytes_before]


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
        if value.const_value.dtype in FLOATS and 0 < value.const_value.size < 2**31 - 1:
            yield value


def _tensor(value: ir.Value) -> ir.TensorProtocol:
    assert value.const_value is not None  # _weights has seen it
    return value.const_value


def _plan(value: ir.Value) -> Packing:
    tensor, name = _tensor(value), str(value.name)
    encoding, size = choose_encoding(tensor.numpy(), len(name))
    _release(tensor)
    return Packing(name, encoding, plain_bytes(tensor.nbytes, len(name)), size)


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


def _pack(graph: ir.Graph, weight: ir.Value, encoding: Encoding, names: set[str]) -> None:
    """Replace an initializer by stored tensors and the nodes that unpack them, at the start of the graph."""
    tensor = _tensor(weight)
    encoded = encode(tensor.numpy(), encoding)
    _release(tensor)
    chain = _Chain(graph, str(weight.name), names)
    unpacked = _unpacked(chain, encoded, encoding, tensor)
    unpacked.metadata_props.update(weight.metadata_props)
    unpacked.doc_string = weight.doc_string
    del graph.initializers[str(weight.name)]
    weight.replace_all_uses_with(unpacked)
    graph.insert_before(graph[0], chain.nodes)


@dataclass(frozen=True)
class _Chain:
    """The helper tensors and nodes of one weight, named after it."""

    graph: ir.Graph
    weight: str
    names: set[str]
    nodes: list[ir.Node] = field(default_factory=list)

    def unique(self, name: str) -> str:
        free, number = name, 0
        while free in self.names:
            number += 1
            free = f"{name}_{number}"
        self.names.add(free)
        return free

    def tensor(self, role: str, array: Array) -> ir.Value:
        name = self.unique(f"{self.weight}/{role}")
        value = ir.val(name, const_value=ir.tensor(array, name=name))
        self.graph.register_initializer(value)
        return value

    def node(self, operator: str, inputs: Sequence[ir.Value], role: str, **attributes: Any) -> ir.Value:
        output = ir.Value(name=self.unique(f"{self.weight}/{role}"))
        node = ir.node(operator, inputs, attributes, outputs=[output], name=output.name)
        self.nodes.append(node)
        return output

    def constant(self, role: str, *integers: int) -> ir.Value:
        return self.tensor(role, np.array(integers, np.int64))

    def unpacked(self, data: ir.Value, tensor: ir.TensorProtocol) -> ir.Value:
        """The node that gives the weight its shape and, by its own name, marks the chain."""
        shape = self.constant("shape", *tensor.shape.numpy())
        output = ir.val(self.weight, tensor.dtype, tensor.shape.numpy())
        name = self.unique(unpacking_node_name(self.weight))
        self.nodes.append(ir.node("Reshape", [data, shape], outputs=[output], name=name))
        return output


def _unpacked(chain: _Chain, encoded: Encoded, encoding: Encoding, tensor: ir.TensorProtocol) -> ir.Value:
    """Build the whole chain; its output has the weight's name, type and shape."""
    values = _values(chain, encoded, tensor.dtype)
    if encoded.places is None:
        return chain.unpacked(values, tensor)
    places = _integers(chain, encoded.places, encoding.layout)
    axis = chain.tensor("axis", np.array(0, np.int64))
    summed = chain.node("CumSum", [places, axis], "positions")
    if encoding.layout == "bitmap":
        ranks = chain.node("Mul", [summed, places], "ranks")
        return chain.unpacked(chain.node("Gather", [values, ranks], "flat"), tensor)
    zero = ir.tensor(np.zeros(1, tensor.dtype.numpy()))
    zeros = chain.node("ConstantOfShape", [chain.constant("size", tensor.size)], "zeros", value=zero)
    return chain.unpacked(chain.node("ScatterElements", [zeros, summed, values], "flat"), tensor)


def _values(chain: _Chain, encoded: Encoded, dtype: ir.DataType) -> ir.Value:
    """The stream in the weight's type."""
    stored = chain.tensor("values" if encoded.indices is None else "codebook", encoded.values)
    if stored.dtype != dtype:
        stored = chain.node("Cast", [stored], "cast", to=dtype.value)
    if encoded.indices is None:
        return stored
    return chain.node("Gather", [stored, _integers(chain, encoded.indices, "indices")], "decoded")


def _integers(chain: _Chain, packed: PackedIntegers, role: str) -> ir.Value:
    """Packed integers as int32 (count,)."""
    fields = chain.tensor(role, packed.words)
    if packed.bits < 8:
        word = packed.words.dtype.type
        shifts = chain.tensor(f"{role}_shifts", packed.shifts)
        fields = chain.node("BitShift", [fields, shifts], f"{role}_shifted", direction="RIGHT")
        radix = chain.tensor(f"{role}_radix", np.array(2**packed.bits, word))
        fields = chain.node("Mod", [fields, radix], f"{role}_fields")
        fields = chain.node("Reshape", [fields, chain.constant(f"{role}_flat", -1)], f"{role}_padded")
        bounds = chain.constant(f"{role}_start", 0), chain.constant(f"{role}_count", packed.count)
        fields = chain.node("Slice", [fields, *bounds], f"{role}_sliced")
    return chain.node("Cast", [fields], f"{role}_integers", to=ir.DataType.INT32.value)
