"""Tables that a Gather looks rows up in, such as the embeddings of a vocabulary."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, label, present, tensor, traits_of

FEWEST_NUMBERS = 1 << 16
"""Smaller tables are not worth the nodes that look up what stands for their rows."""


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A constant matrix of floats, (rows, columns), of which nodes look rows up.

    Attributes:
        value: its initializer.
        lookups: the Gathers, in graph order, some of which may lie in bodies of If and Loop.
        tied: all other nodes that take it, such as a Transpose in front of a language model's head.
    """

    value: ir.Value
    lookups: tuple[ir.Node, ...]
    tied: tuple[ir.Node, ...] = ()

    @property
    def name(self) -> str:
        """Name of its initializer."""
        return self.value.name or ""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the nodes that look rows up."""
        return tuple(label(node) for node in self.lookups)

    def indices(self, graph: ir.Graph) -> list[ir.Value] | None:
        """Values of the graph that hold the numbers of all rows that are looked up, in any shape; None = not known.

        A body may bring what it is given into another shape first.
        """
        shown = [_shown_outside(present(node.inputs[1]), graph) for node in self.lookups]
        return None if None in shown else [value for value in shown if value is not None]


def _shown_outside(indices: ir.Value, graph: ir.Graph) -> ir.Value | None:
    """The value of the graph that indices in a body have the entries of; None where the body makes them itself."""
    value: ir.Value | None = indices
    while value is not None and value.graph is not graph:
        producer = value.producer()
        is_copy = producer is not None and (traits_of(producer).is_view or producer.op_type == "Cast")
        value = producer.inputs[0] if producer is not None and is_copy else None
    return value


def find_tables(graph: ir.Graph) -> list[Table]:
    """Every large constant matrix of float32 of which Gathers of the graph and its bodies look rows up, in graph order.

    What is stored inside a body is left out.
    """
    tables: dict[ir.Value, list[ir.Node]] = {}
    for node in graph.all_nodes():
        if looks_up(node) and present(node.inputs[0]).graph is graph:
            tables.setdefault(present(node.inputs[0]), []).append(node)
    large_tables = []
    for value, lookups in tables.items():
        users = list(dict.fromkeys(use.node for use in value.uses()))
        if is_large(value):
            large_tables.append(Table(value, tuple(lookups), tuple(user for user in users if user not in lookups)))
    return large_tables


def looks_up(node: ir.Node) -> bool:
    """Whether a node is a Gather of rows of a constant matrix."""
    if node.op_type != "Gather" or node.domain or node.attributes.get_int("axis", 0) != 0:
        return False
    table, indices = node.inputs
    if not is_constant(table) or is_constant(indices) or indices is table:
        return False
    return len(tensor(present(table)).shape) == 2 and not present(table).is_graph_output()


def is_large(value: ir.Value) -> bool:
    """Whether what rows are looked up in is worth other nodes, and of a type that they give."""
    constant = tensor(value)
    return constant.dtype == ir.DataType.FLOAT and constant.size >= FEWEST_NUMBERS
