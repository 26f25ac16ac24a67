"""What surgery reads of a node, and how it gives one a constant."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

_NAMES = "netsurgeon.names"

FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)


def label(node: ir.Node) -> str:
    """Name of the node, or else of its first output; empty where neither has one."""
    return node.name or (node.outputs[0].name if node.outputs else "") or ""


def bodies(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs inside a control-flow operator."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def graph_of(node: ir.Node) -> ir.Graph:
    """The graph or body that a node lies in.

    Raises:
        ValueError: it lies in none.
    """
    if not isinstance(node.graph, ir.Graph):
        raise ValueError(f"node {node.name!r} is not in a graph")
    return node.graph


FEWEST_SHARED = 256
"""Numbers of a matrix from which on it counts that a second copy of it is made: basic_pitch has eight convolutions with
one kernel of so many. Smaller ones are copied, so that what is behind each layer can be folded into its own."""


def present(value: ir.Value | None) -> ir.Value:
    """The value behind an input that the operator requires.

    Raises:
        ValueError: it is missing.
    """
    if value is None:
        raise ValueError("a required input is missing")
    return value


def optional_input(node: ir.Node, index: int) -> ir.Value | None:
    """Input `index`, or None where it is missing."""
    return node.inputs[index] if index < len(node.inputs) else None


def tensor(value: ir.Value) -> ir.TensorProtocol:
    """The constant behind an initializer.

    Raises:
        ValueError: the value holds no constant.
    """
    if value.const_value is None:
        raise ValueError(f"{value.name!r} is not a constant")
    return value.const_value


def is_constant(value: ir.Value | None) -> bool:
    """Whether the value is an initializer that no caller can override."""
    return value is not None and value.is_initializer() and value.const_value is not None and not value.is_graph_input()


def is_generated(value: ir.Value | None) -> bool:
    """Whether a ConstantOfShape makes the value, and nothing of it is stored but integers, such as shapes."""
    waiting, has_generator = [value], False
    while waiting:
        part = waiting.pop()
        producer = None if part is None else part.producer()
        if producer is not None:
            has_generator |= producer.op_type == "ConstantOfShape" and not producer.domain
            waiting.extend(producer.inputs)
        elif part is not None and (part.const_value is None or part.const_value.dtype in FLOATS):
            return False
    return has_generator


def set_initializer(
    node: ir.Node, index: int, array: npt.NDArray[np.generic], name: str, graph: ir.Graph | None = None
) -> None:
    """Make input `index` of `node` the constant `array`; a shared initializer is cloned first, never changed.

    Args:
        node: whose input it becomes.
        index: of the input.
        array: its value.
        name: of a new initializer, where it needs one; lengthened where it is taken.
        graph: that a new initializer belongs to, one around the node's; None = the node's own.

    Raises:
        ValueError: the node is in no graph.
    """
    graph = graph or graph_of(node)
    current_input = optional_input(node, index)
    if (
        current_input is not None
        and current_input.is_initializer()
        and len(current_input.uses()) == 1
        and not current_input.is_graph_output()
    ):
        current_input.const_value = ir.tensor(array, name=current_input.name)
        current_input.shape = ir.Shape(array.shape)
        return
    fresh = unused_name(graph, name)
    constant = ir.tensor(array, name=fresh)
    value = ir.Value(name=fresh, shape=ir.Shape(array.shape), type=ir.TensorType(constant.dtype), const_value=constant)
    graph.register_initializer(value)
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)


def unused_name(graph: ir.Graph, name: str) -> str:
    """`name`, lengthened until no value of the graph has it."""
    kept: set[str | None] | None = graph.meta.get(_NAMES)
    taken = _names(graph) if kept is None else kept
    while name in taken:
        name += "_own"
    if kept is not None:
        kept.add(name)
    return name


@contextlib.contextmanager
def names_read_once(graph: ir.Graph) -> Iterator[None]:
    """Within, `unused_name` knows the names of a graph and those it gives: it need not read all of them for each.

    Values that get a name in another way meanwhile are not seen.
    """
    outermost = _NAMES not in graph.meta
    if outermost:
        graph.meta[_NAMES] = _names(graph)
    try:
        yield
    finally:
        if outermost:
            del graph.meta[_NAMES]


def _names(graph: ir.Graph) -> set[str | None]:
    """Names of all values in the graph and in the bodies inside it."""
    names = {value.name for node in graph.all_nodes() for value in node.outputs}
    for part in (graph, *graph.subgraphs()):
        names.update(value.name for value in part.inputs)
        names.update(part.initializers)
    return names
