"""Tables that a Gather looks rows up in, such as the embeddings of a vocabulary."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, label, present, tensor

FEWEST_NUMBERS = 1 << 16
"""Smaller tables are not worth the nodes that look up what stands for their rows."""


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A constant matrix of floats, (rows, columns), of which nodes look rows up.

    Attributes:
        value: its initializer.
        lookups: the Gathers, in graph order.
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


def find_tables(graph: ir.Graph) -> list[Table]:
    """Every large constant matrix of float32 of which Gathers of the graph look rows up, in graph order.

    Where a body of an If, Loop or Scan takes it as well, it is left out.
    """
    tables: dict[str, list[ir.Node]] = {}
    for node in graph:
        if looks_up(node):
            tables.setdefault(present(node.inputs[0]).name or "", []).append(node)
    large_tables = []
    for lookups in tables.values():
        value = present(lookups[0].inputs[0])
        users = list(dict.fromkeys(use.node for use in value.uses()))
        if is_large(value) and all(user.graph is graph for user in users):
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
