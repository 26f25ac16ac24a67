"""Parts of a graph as graphs of their own, and what a node reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.graph import bodies
from netsurgeon.pipeline.runtime import Feed


def used_values(node: ir.Node) -> Iterator[ir.Value]:
    """Inputs of a node and the outer values that its bodies capture."""
    yield from (value for value in node.inputs if value is not None)
    for body in bodies(node):
        for inner in body:
            yield from (value for value in used_values(inner) if value.graph is not body)


class Extractor:
    """Takes parts out of a graph; what is not in a part is not looked at, because a deep graph has thousands of them.

    Constants may change between two parts, nodes and their outputs not.
    """

    def __init__(self, graph: ir.Graph):
        self._graph = graph
        self._order = {node: at for at, node in enumerate(graph)}
        results = (value for node in graph for value in node.outputs)
        values = (*graph.inputs, *graph.initializers.values(), *results)
        self._values = {value.name: value for value in values}

    def extract(self, inputs: Sequence[str], outputs: Sequence[str], feed: Feed) -> ir.Graph:
        """A new graph of the nodes between values, given by name; constants are shared with the old one.

        Types of its inputs are those of a feed, as far as it has them, and no shape is stated.
        """
        entering, leaving = [self._values[name] for name in inputs], [self._values[name] for name in outputs]
        nodes: set[ir.Node] = set()
        initializers: dict[ir.Value, None] = {}
        known, waiting = set(entering), list(leaving)
        while waiting:
            value = waiting.pop()
            if value in known:
                continue
            known.add(value)
            if value.is_initializer():
                initializers[value] = None
            node = value.producer()
            if node is not None and node not in nodes:
                nodes.add(node)
                waiting.extend(used_values(node))
        view = ir.GraphView(
            entering,
            leaving,
            nodes=sorted(nodes, key=self._order.__getitem__),
            initializers=tuple(initializers),
            opset_imports=self._graph.opset_imports,
            name=self._graph.name,
        )
        graph = view.clone()
        for value in graph.inputs:
            array = feed.get(value.name or "")
            value.shape = None
            if isinstance(array, np.ndarray):
                value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
        for value in graph.outputs:
            value.shape = None
        return graph
