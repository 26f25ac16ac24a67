"""Which nodes of a compressed model differ from the dense model's, and where the difference appears."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.graph import bodies
from netsurgeon.passes.layers import find_layers
from netsurgeon.pipeline.error_bound.lipschitz.step import constant_of
from netsurgeon.pipeline.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Change:
    """A node whose constants differ.

    Attributes:
        before: the dense node.
        after: the same node of the compressed model.
        adders: the Add behind a MatMul that holds its bias, in both models.
    """

    before: ir.Node
    after: ir.Node
    bias_adds: tuple[ir.Node, ir.Node] | None = None

    @property
    def landed(self) -> list[ir.Value]:
        """The values of the dense model where the difference appears."""
        node = self.bias_adds[0] if self.bias_adds else self.before
        return [value for value in node.outputs if value.name]

    @property
    def landings(self) -> list[str]:
        """Their names."""
        return [value.name or "" for value in self.landed]


def find_changes(before: ir.Graph, after: ir.Graph) -> list[Change]:
    """The nodes whose constants differ, in graph order.

    Raises:
        InputError: the graphs differ in nodes, in the shapes of constants, or in the versions of operators.
    """
    if before.opset_imports.get("") != after.opset_imports.get(""):
        raise InputError("the graphs differ in the versions of their operators, so no bound can be measured")
    twins = _twins(before, after)
    bias_adds = {layer.node: layer.bias_add for layer in find_layers(before)[0] if layer.bias_add is not None}
    behind = set(bias_adds.values())
    changes = []
    for node, twin in twins.items():
        bias_add = bias_adds.get(node)
        if bias_add is not None and (_differs(node, twin) or _differs(bias_add, twins[bias_add])):
            changes.append(Change(node, twin, (bias_add, twins[bias_add])))
        elif bias_add is None and node not in behind and _differs(node, twin):
            changes.append(Change(node, twin))
    return changes


def _twins(before: ir.Graph, after: ir.Graph) -> dict[ir.Node, ir.Node]:
    """Each dense node with its counterpart, in graph order."""
    by_key = {_key(node): node for node in after}
    result = {node: by_key[_key(node)] for node in before if _key(node) in by_key}
    if len(result) != len(by_key) or len(by_key) != len(list(before)):
        missing = next((n for n in before if n not in result), None)
        name = f": node {missing.name!r} has no counterpart" if missing is not None else ""
        raise InputError(
            f"the error bound compares two models that differ in constants only, these differ in nodes{name}"
        )
    return result


def _key(node: ir.Node) -> tuple[str, str]:
    return node.op_type, next((value.name for value in node.outputs if value.name), node.name or "")


def _differs(before: ir.Node, after: ir.Node) -> bool:
    length = max(len(before.inputs), len(after.inputs))
    if any(_difference_at(before, after, index) for index in range(length)):
        return True
    inner = zip(_body(before), _body(after), strict=True)
    return any(_differs(one, other) for one, other in inner)


def _difference_at(before: ir.Node, after: ir.Node, index: int) -> bool:
    old, new = (node.inputs[index] if index < len(node.inputs) else None for node in (before, after))
    if old is not None and new is not None and old.const_value is not None and old.const_value is new.const_value:
        return False
    # A computed input is compared where it is computed; one that has become a constant, or was one, is a change.
    first, second = constant_of(old), constant_of(new)
    if first is None and second is None:
        return False
    if first is not None and second is not None and first.shape != second.shape:
        raise InputError(f"a constant of node {before.name!r} has another shape, so no bound can be measured")
    return first is None or second is None or not np.array_equal(first, second)


def _body(node: ir.Node) -> Iterator[ir.Node]:
    """The nodes of a control-flow operator's bodies (of those in them, their own constants count)."""
    for graph in bodies(node):
        yield from graph
