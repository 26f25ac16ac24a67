"""Names for the nodes that unpack weights, after the weight: a viewer groups what a slash separates."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import onnx_ir as ir

from netsurgeon.passes.packing.unpack_weights import MARK, unpacking_chains


@dataclasses.dataclass(frozen=True)
class NameChains(ir.passes.InPlacePass):
    """Name each node of an unpacking chain ``conv1.weight/unpack/Gather``, and the last one ``conv1.weight/unpack``.

    What several weights have in common is named after the first of those that one node gives, and after none where
    they are several nodes' (``unpack/Mod``: tables of bytes). Values and stored tensors keep their short names, which
    are in the file two to four times. :class:`UnpackWeights` knows these chains as well.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Name the nodes in place."""
        names = chain_names(model.graph)
        for node, name in names.items():
            node.name = name
        return ir.passes.PassResult(model, modified=bool(names))


def chain_names(graph: ir.Graph) -> dict[ir.Node, str]:
    """The name of every node of an unpacking chain, in order; no other node of the model has one of these."""
    ends: dict[ir.Node, dict[ir.Node, None]] = {}
    for chain in unpacking_chains(graph):
        end = chain.weight.producer()
        assert end is not None  # a chain has nodes
        for node in chain.nodes:
            ends.setdefault(node, {})[end] = None
    taken = {str(node.name) for node in graph.all_nodes() if node not in ends}
    names = {}
    for node, of_ends in ends.items():
        if node in of_ends:
            name = f"{node.outputs[0].name}/{MARK}"
        elif len(of_ends) == 1:
            name = f"{next(iter(of_ends)).outputs[0].name}/{MARK}/{node.op_type}"
        else:
            name = f"{MARK}/{node.op_type}"
        names[node] = next(free for free in _numbered(name) if free not in taken)
        taken.add(names[node])
    return names


def _numbered(name: str) -> Iterator[str]:
    """The name, and with numbers behind it."""
    yield name
    yield from (f"{name}_{number}" for number in itertools.count(2))


def name_bytes(model: ir.Model) -> int:
    """Bytes that all names of nodes and values take in the file, wherever they stand; those of types of nodes apart."""
    graphs = (model.graph, *model.graph.subgraphs())
    stored = [value.name for graph in graphs for value in graph.initializers.values()]
    nodes = list(model.graph.all_nodes())
    used = [value.name for node in nodes for value in (*node.inputs, *node.outputs) if value is not None]
    return sum(_field_bytes(name) for name in (*stored, *used, *(node.name for node in nodes)))


def _field_bytes(name: str | None) -> int:
    """Of a field of protobuf with this text, whose length takes a byte, or two from 128 on; none where it is empty."""
    length = len((name or "").encode())
    return length + (2 if length < 128 else 3) if length else 0
