"""Turn packed weights back into plain initializers."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from netsurgeon.passes.graph import operator_key
from netsurgeon.passes.packing.restore_tables import RestoreTables, stored_tables

Array = NDArray[Any]


MARK = "unpack"
"""Begins the name of the node that gives packed weights, by which it is found again after a save; a number ends it.

Where names are to be read it is named after its first weight: ``w/unpack``, or ``w/unpack_2`` where that was taken.
"""
_NUMBERED_MARK = re.compile(rf"{MARK}\d+")


@dataclass(frozen=True)
class Chain:
    """A packed weight.

    Attributes:
        weight: what is unpacked.
        nodes: all that it depends on, in order; other chains may have some of them in common.
    """

    weight: ir.Value
    nodes: Sequence[ir.Node]


@dataclass(frozen=True)
class UnpackWeights(ir.passes.InPlacePass):
    """The exact inverse of :class:`PackWeights` and :class:`StoreTables`.

    Every unpacking chain becomes an initializer with the weight's name, type, shape and values to the last bit; the
    chain's nodes and helper initializers go. A chain is a node of the main graph whose name says that it unpacks its
    own output and whose every ancestor is one of the chain's operators on initializers; how they are put together is
    not looked at, so that chains of earlier versions are unpacked, too. Anything else stays: a node that bears the mark
    but depends on an input of the graph, or gives an output of it, is left as it is, and so is a chain whose numbers
    are damaged, so that it gives no weight.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Unpack every packed weight of the main graph."""
        arrays: dict[ir.Value, Array] = {}
        unpacked = [_unpack(model.graph, chain, arrays) for chain in unpacking_chains(model.graph)]
        restored = RestoreTables()(model).modified  # whose codes may have been packed themselves
        return ir.passes.PassResult(model, modified=any(unpacked) or restored)


def packed_weights(model: ir.Model) -> list[str]:
    """Names of the packed weights of the main graph, in order, and of tables of which codes are looked up."""
    chains = unpacking_chains(model.graph)
    taken = {value for chain in chains for node in chain.nodes for value in node.inputs}
    tables = [str(codes.name) for codes in stored_tables(model.graph) if codes not in taken]
    return [*(str(chain.weight.name) for chain in chains), *tables]


def unpacking_chains(graph: ir.Graph) -> list[Chain]:
    """Every packed weight in ``graph``, in order."""
    order = {node: place for place, node in enumerate(graph)}
    chains = []
    for node in order:
        weights = _marked(node)
        cone = _ancestry(node) if weights else set()
        if cone and all(part in order and _is_unpacking(part) for part in cone):
            nodes = sorted(cone, key=order.__getitem__)
            chains += [Chain(weight, nodes) for weight in weights]
    return chains


def _marked(node: ir.Node) -> Sequence[ir.Value]:
    """The weights that a node gives by its name."""
    if any(value.is_graph_output() for value in node.outputs):
        return ()
    if _NUMBERED_MARK.fullmatch(node.name or ""):
        return node.outputs
    name, _, number = (node.name or "").rpartition("_")
    mark = f"{node.outputs[0].name}/{MARK}" if node.outputs else None
    return node.outputs if mark and (mark == node.name or (mark == name and number.isdigit())) else ()


def _ancestry(last: ir.Node) -> set[ir.Node]:
    """The node and every node that it depends on."""
    unpacking_nodes: set[ir.Node] = set()
    waiting = [last]
    while waiting:
        node = waiting.pop()
        if node not in unpacking_nodes:
            unpacking_nodes.add(node)
            producers = (value.producer() for value in node.inputs if value is not None)
            waiting += [producer for producer in producers if producer is not None]
    return unpacking_nodes


def _is_unpacking(node: ir.Node) -> bool:
    """Whether the node is one of a chain's operators, on constant initializers and outputs of other nodes."""
    if operator_key(node.domain, node.op_type) not in _OPERATORS:
        return False
    return all(
        value is not None
        and not value.is_graph_input()
        and (value.producer() is not None or value.const_value is not None)
        for value in node.inputs
    )


def _unpack(graph: ir.Graph, chain: Chain, arrays: dict[ir.Value, Array]) -> bool:
    """Put a weight in place of its chain; whether there was one. `arrays` keeps what several chains have in common."""
    packed = chain.weight
    try:
        tensor = ir.tensor(_evaluate(packed, arrays), name=packed.name)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return False  # NumPy's words for places beyond the weight, shapes that do not fit, attributes that are missing
    plain = ir.val(packed.name, const_value=tensor, metadata_props=dict(packed.metadata_props))
    plain.doc_string = packed.doc_string
    packed.replace_all_uses_with(plain)
    for node in reversed(chain.nodes):
        # Other chains may use some of them, or another tool has merged equal ones: only what nobody uses goes.
        if node.graph is None or any(value.uses() for value in node.outputs):
            continue
        inputs = [value for value in node.inputs if value is not None]
        graph.remove(node, safe=True)
        for value in inputs:
            if value.is_initializer() and not value.uses() and not value.is_graph_output():
                graph.initializers.pop(str(value.name), None)
    graph.register_initializer(plain)
    return True


def _evaluate(value: ir.Value, arrays: dict[ir.Value, Array]) -> Array:
    """What a chain gives; `arrays` keeps what other chains take as well."""
    if value in arrays:
        return arrays[value]
    node = value.producer()
    if node is None:
        assert value.const_value is not None  # _is_unpacking has seen it
        return value.const_value.numpy()
    result = _OPERATORS[node.op_type](node, *(_evaluate(entry, arrays) for entry in node.inputs if entry is not None))
    if isinstance(result, list):
        arrays.update(zip(node.outputs, result, strict=True))
        return arrays[value]
    if len(value.uses()) > 1:
        arrays[value] = result
    return result


def _split(node: ir.Node, data: Array, sizes: Array | None = None) -> list[Array]:
    sizes = np.array(node.attributes["split"].as_ints()) if sizes is None else sizes
    if sizes.sum() != len(data) or sizes.min() < 0:
        raise ValueError("the parts are not the whole")
    return np.split(data, np.cumsum(sizes)[:-1])


def _where(_: ir.Node, condition: Array, one: Array, other: Array) -> Array:
    return np.where(condition, one, other)


def _cast(node: ir.Node, data: Array) -> Array:
    return data.astype(ir.DataType(node.attributes["to"].as_int()).numpy())


def _constant_of_shape(node: ir.Node, shape: Array) -> Array:
    value = node.attributes.get("value")
    return np.zeros(tuple(shape), np.float32) if value is None else np.full(tuple(shape), value.as_tensor().numpy()[0])


def _scatter(_: ir.Node, data: Array, indices: Array, updates: Array) -> Array:
    scattered = data.copy()
    scattered[indices] = updates
    return scattered


def _cumsum(_: ir.Node, data: Array, axis: Array) -> Array:
    return np.cumsum(data, axis=int(axis), dtype=data.dtype)


_OPERATORS: dict[str, Callable[..., Array | list[Array]]] = {
    "Add": lambda _, left, right: left + right,
    "BitShift": lambda _, words, shifts: np.right_shift(words, shifts),
    "Cast": _cast,
    "Concat": lambda _, *parts: np.concatenate(parts, axis=-1),
    "ConstantOfShape": _constant_of_shape,
    "CumSum": _cumsum,
    "Div": lambda _, dividend, divisor: dividend // divisor,
    "Gather": lambda _, data, indices: data[indices],
    "Mod": lambda _, data, divisor: data % divisor,
    "Mul": lambda _, left, right: left * right,
    "Range": lambda _, start, limit, step: np.arange(start, limit, step, dtype=start.dtype),
    "Reshape": lambda _, data, shape: data.reshape(tuple(shape)),
    "ScatterElements": _scatter,
    "Slice": lambda _, data, start, end: data[int(start[0]) : int(end[0])],
    "Split": _split,
    "Where": _where,
}
"""The chain's operators in NumPy, for the attributes and ranks that a chain has."""
