"""Where a graph is narrow: values that all of the outputs depend on, to be compared on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx_ir as ir

MOST_VALUES = 12
"""Values that are compared; of more, so many at even distances."""


def inner_values(graph: ir.Graph, layers: Iterable[ir.Node]) -> tuple[str, ...]:
    """Names of the values behind layers through which alone anything flows: the last one behind each number of layers.

    Residual joins are such values, and what a chain of layers hands on. What comes from the inputs past all layers, as
    a mask of positions does, does not count as flowing beside it.

    Args:
        graph: without what feeds no output.
        layers: its nodes with weights.
    """
    names = {count: value.name or "" for _, count, value in narrow_values(graph, layers)}
    chosen = list(names.values())
    if len(chosen) > MOST_VALUES:
        places = np.unique(np.linspace(0, len(chosen) - 1, MOST_VALUES).round().astype(int))
        chosen = [chosen[place] for place in places]
    return tuple(chosen)


def narrow_values(graph: ir.Graph, layers: Iterable[ir.Node]) -> Iterator[tuple[int, int, ir.Value]]:
    """All values through which alone anything flows, see `inner_values`: each with its node's place and its layers.

    The place is that of the node which makes it narrow; the layers are how many stand up to there.
    """
    layer_nodes = set(layers)
    nodes = list(graph)
    last_use = {value: place for place, node in enumerate(nodes) for value in node.inputs if value is not None}
    last_use |= dict.fromkeys(graph.outputs, len(nodes))
    behind: set[ir.Value] = set()
    live: set[ir.Value] = set()
    count = 0
    for place, node in enumerate(nodes):
        count += node in layer_nodes
        is_behind = node in layer_nodes or any(value in behind for value in node.inputs)
        if is_behind and node.op_type != "Shape":
            behind |= set(node.outputs)
            live |= {value for value in node.outputs if value in last_use}
        live = {value for value in live if last_use[value] > place}
        if len(live) == 1:
            (value,) = live
            if value.name and value not in graph.outputs:
                yield place, count, value
