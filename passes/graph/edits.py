"""What removing units changes in a graph besides the weights: planned as data, then applied."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph.nodes import present, set_initializer, unused_name

Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class SetConstant:
    """Input `index` of a node becomes a constant of its own."""

    node: str
    index: int
    array: npt.NDArray[np.generic]

    def apply(self, nodes: Mapping[str, ir.Node]) -> None:
        """Write it."""
        node = nodes[self.node]
        current = node.inputs[self.index] if self.index < len(node.inputs) else None
        name = current.name if current is not None and current.name else f"{self.node}_{self.index}"
        set_initializer(node, self.index, self.array, name)


@dataclasses.dataclass(frozen=True, eq=False)
class SetAttribute:
    """An attribute of a node takes a new value; None removes it."""

    node: str
    name: str
    value: int | float | tuple[int, ...] | tuple[float, ...] | None

    def apply(self, nodes: Mapping[str, ir.Node]) -> None:
        """Write it."""
        attributes = nodes[self.node].attributes
        if self.value is None:
            attributes.pop(self.name, None)
        elif isinstance(self.value, int):
            attributes[self.name] = ir.AttrInt64(self.name, self.value)
        elif isinstance(self.value, float):
            attributes[self.name] = ir.AttrFloat32(self.name, self.value)
        elif all(isinstance(number, int) for number in self.value):
            attributes[self.name] = ir.AttrInt64s(self.name, [int(number) for number in self.value])
        else:
            attributes[self.name] = ir.AttrFloat32s(self.name, self.value)


@dataclasses.dataclass(frozen=True, eq=False)
class Override:
    """Some entries of a computed vector that enters a node become constants: ``Where(mask, values, computed)``."""

    node: str
    index: int
    mask: npt.NDArray[np.bool_]
    values: npt.NDArray[np.generic]

    def apply(self, nodes: Mapping[str, ir.Node]) -> None:
        """Insert it."""
        node = nodes[self.node]
        value = present(node.inputs[self.index])
        where = _insert_before(node, self.index, "Where", [None, None, value], {})
        set_initializer(where, 0, self.mask, f"{where.name}_mask")
        set_initializer(where, 1, self.values, f"{where.name}_values")


@dataclasses.dataclass(frozen=True, eq=False)
class GatherBefore:
    """Input `index` of a node is gathered along an axis first."""

    node: str
    index: int
    axis: int
    indices: Ints

    def apply(self, nodes: Mapping[str, ir.Node]) -> None:
        """Insert it."""
        node = nodes[self.node]
        value = present(node.inputs[self.index])
        gather = _insert_before(node, self.index, "Gather", [value, None], {"axis": self.axis})
        set_initializer(gather, 1, self.indices, f"{gather.name}_indices")


Edit = SetConstant | SetAttribute | Override | GatherBefore


def _insert_before(
    node: ir.Node, index: int, operator: str, inputs: list[ir.Value | None], attributes: dict[str, int]
) -> ir.Node:
    graph = node.graph
    if not isinstance(graph, ir.Graph):
        raise ValueError(f"node {node.name!r} is not in a graph")
    name = unused_name(graph, f"{node.name}_{operator.lower()}")
    attrs = [ir.AttrInt64(key, value) for key, value in attributes.items()]
    replaced_input = present(node.inputs[index])
    output = ir.Value(name=name, type=replaced_input.type)
    fresh = ir.Node("", operator, inputs, attrs, outputs=[output], name=name)
    graph.insert_before(node, fresh)
    node.replace_input_with(index, output)
    return fresh
