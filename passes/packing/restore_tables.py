"""Turn lookups of codes back into lookups of the table that they stand for."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import graph_of, is_constant, operator_key, present, tensor

Array = npt.NDArray[Any]

ROWS_MARK = "unpack_rows"
"""Begins the name of the node that gives rows of a table, by which it is found again after a save; a number ends it."""
_NUMBERED_MARK = re.compile(rf"{ROWS_MARK}\d+")
_OPERATORS: dict[str, Callable[..., Array]] = {
    "Cast": lambda node, data: data.astype(ir.DataType(node.attributes["to"].as_int()).numpy()),
    "Concat": lambda _, *parts: np.concatenate(parts, axis=-1),
    "Gather": lambda _, data, indices: data[indices],
    "Mul": lambda _, left, right: left * right,
}
"""The operators of a lookup in NumPy."""


@dataclasses.dataclass(frozen=True)
class StoredLookup:
    """Nodes that give rows of a table from what stands for them.

    Attributes:
        gathers: those that look up codes, and scales where there are some.
        nodes: all nodes, in order; the last one gives the rows.
    """

    gathers: Sequence[ir.Node]
    nodes: Sequence[ir.Node]

    @property
    def codes(self) -> ir.Value:
        """What stands for the rows, without their scales."""
        return present(self.gathers[0].inputs[0])

    def table(self) -> Array:
        """What it would give of all rows, in order.

        Raises:
            ArithmeticError, AttributeError, LookupError, TypeError, ValueError: its numbers are damaged.
        """
        return self._whole(self.nodes[-1])

    def _whole(self, node: ir.Node) -> Array:
        if node in self.gathers:
            return tensor(present(node.inputs[0])).numpy()
        inputs = [present(value) for value in node.inputs]
        makers = [value.producer() for value in inputs]
        arrays = [
            tensor(value).numpy() if maker is None else self._whole(maker)
            for value, maker in zip(inputs, makers, strict=True)
        ]
        return _OPERATORS[node.op_type](node, *arrays)


class RestoreTables(ir.passes.InPlacePass):
    """The exact inverse of :class:`StoreTables`: tables are initializers of float32 again, of the names they had.

    What other nodes take of the same table must have been unpacked before. Lookups whose numbers are damaged, so that
    they give no rows, stay.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Restore in place."""
        modified = False
        lookups: dict[ir.Value, list[StoredLookup]] = {}
        for lookup in _stored_lookups(model.graph):
            lookups.setdefault(lookup.codes, []).append(lookup)
        for codes, of_table in lookups.items():
            try:
                array = of_table[0].table()
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
                continue
            table = _found(model.graph, array) or _registered(model.graph, array, codes)
            for lookup in of_table:
                _restore(lookup, table)
            modified = True
        return ir.passes.PassResult(model, modified)


def stored_tables(graph: ir.Graph) -> list[ir.Value]:
    """What holds the codes of tables, in order."""
    return list(dict.fromkeys(lookup.codes for lookup in _stored_lookups(graph)))


def _stored_lookups(graph: ir.Graph) -> list[StoredLookup]:
    order = {node: place for place, node in enumerate(graph.all_nodes())}
    lookups = []
    for last in order:
        if _NUMBERED_MARK.fullmatch(last.name or ""):
            nodes = sorted(_nodes_behind(last), key=order.__getitem__)
            gathers = [node for node in nodes if _takes_rows(node)]
            others = [node for node in nodes if node not in gathers]
            if len({node.inputs[1] for node in gathers}) == 1 and all(map(_is_of_a_lookup, others)):
                lookups.append(StoredLookup(gathers, nodes))
    return lookups


def _nodes_behind(last: ir.Node) -> set[ir.Node]:
    """The node and all that it depends on, up to those that look rows up."""
    nodes: set[ir.Node] = set()
    waiting = [last]
    while waiting:
        node = waiting.pop()
        nodes.add(node)
        if not _takes_rows(node):
            makers = (value.producer() for value in node.inputs if value is not None)
            waiting += [maker for maker in makers if maker is not None]
    return nodes


def _takes_rows(node: ir.Node) -> bool:
    """Whether a node looks up rows of a constant matrix."""
    if node.op_type != "Gather" or node.domain or not is_constant(node.inputs[0]):
        return False
    return len(tensor(present(node.inputs[0])).shape) == 2


def _is_of_a_lookup(node: ir.Node) -> bool:
    """Whether a node is one of a lookup's operators, on constants and on what other nodes give."""
    is_operator = operator_key(node.domain, node.op_type) in _OPERATORS
    return is_operator and all(value is not None and (is_constant(value) or value.producer()) for value in node.inputs)


def _found(graph: ir.Graph, array: Array) -> ir.Value | None:
    """The initializer that holds the table already, for nodes that do not look rows up."""
    alike = (
        value
        for value in graph.initializers.values()
        if is_constant(value)
        and tuple(tensor(value).shape.numpy()) == array.shape
        and tensor(value).dtype == ir.DataType.FLOAT
    )
    return next((value for value in alike if np.array_equal(tensor(value).numpy(), array)), None)


def _registered(graph: ir.Graph, array: Array, codes: ir.Value) -> ir.Value:
    """The table as a new initializer, of the name of its codes."""
    name = codes.name or ""
    del graph.initializers[name]
    table = ir.val(name, const_value=ir.tensor(array, name=name), metadata_props=dict(codes.metadata_props))
    graph.register_initializer(table)
    return table


def _restore(lookup: StoredLookup, table: ir.Value) -> None:
    """Put one Gather of the table in the place of a lookup."""
    first, last = lookup.gathers[0], lookup.nodes[-1]
    graph = graph_of(first)
    old, name = last.outputs[0], first.name
    output = ir.Value(name=old.name, type=old.type, shape=old.shape)
    restored = ir.node("Gather", [table, first.inputs[1]], outputs=[output], name=name)
    graph.insert_before(first, restored)
    ir.convenience.replace_all_uses_with(old, output, replace_graph_outputs=True)
    stored = [present(value) for node in lookup.nodes for value in node.inputs]
    for node in reversed(lookup.nodes):
        graph.remove(node, safe=True)
    for value in stored:
        if not value.uses() and value.is_initializer() and value.graph is not None:
            del value.graph.initializers[value.name or ""]
    restored.name, output.name = name, old.name
