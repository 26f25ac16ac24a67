"""Let convolutions take the channels of a shuffle where they lie, in the order in which they lie.

ShuffleNet (arXiv 1807.11164) joins two halves, shuffles their channels and splits them again. The order of its input's
channels means nothing to a convolution whose weight's columns stand in the same order. So each channel is followed to
the value that makes it; a convolution takes the pieces of these values that it needs, joined, and its columns are put
in their order. What remains are one Split a value and one Concat a convolution.

ONNX Runtime runs integer convolutions with channels last, where every Reshape and Transpose of a shuffle means that all
numbers are turned back and forth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from netsurgeon.passes.graph import (
    is_constant,
    label,
    names_read_once,
    optional_input,
    present,
    set_initializer,
    tensor,
    unused_name,
)
from netsurgeon.passes.rewriting.channel_shuffles import Shapes, Shuffle, find_shuffles

MOST_PIECES = 24
"""A convolution that would join more pieces than this pays more for them than the shuffle costs."""

Channel = tuple[ir.Value, int]
Run = tuple[ir.Value, int, int]
"""Channels of a value, from one on and up to another."""


@dataclasses.dataclass(frozen=True)
class DissolveShuffles(ir.passes.InPlacePass):
    """Replace shuffles of channels, and the Concat and Split nodes around them, by Split and Concat alone.

    A shuffle stays where anything reads its channels, directly or behind Concat, Split and depthwise convolutions,
    that is no convolution of one group.

    Attributes:
        shapes: of values as a run shows them, by name.
    """

    shapes: Shapes = dataclasses.field(repr=False)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite in place; the model computes the same, up to the order of sums."""
        members = _Members(model.graph, self.shapes)
        if not members.nodes:
            return ir.passes.PassResult(model, False)
        channels = _follow(members)
        readers = [node for node in model.graph if _takes_any_order(node) and node.inputs[0] in channels.taken]
        takers = [*readers, *(node for node in members.nodes if _is_depthwise(node))]
        runs = {node: _runs(channels.taken[present(node.inputs[0])], channels.rank) for node in takers}
        if any(len(pieces) > MOST_PIECES for pieces in runs.values()):
            return ir.passes.PassResult(model, False)
        with names_read_once(model.graph):
            _rewire(model.graph, runs, channels)
        common.RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, True)


class _Members:
    """The nodes that only move channels, connected with a shuffle, and all of whose readers take them in any order.

    Attributes:
        nodes: in graph order; a shuffle is the Reshape that ends it.
        shuffles: by that Reshape.
        shapes: of values, by name.
    """

    def __init__(self, graph: ir.Graph, shapes: Shapes):
        self.shapes = shapes
        self.shuffles = {shuffle.last: shuffle for shuffle in find_shuffles(graph, shapes)}
        self._entry: dict[ir.Node, Shuffle] = {shuffle.first: shuffle for shuffle in self.shuffles.values()}
        inside = dict.fromkeys(node for node in graph if self.shuffles and self._moves_channels(node))
        while failing := [node for node in inside if not self._reads_agree(node, inside)]:
            for node in failing:
                del inside[node]
        self.nodes = self._connected(inside)

    def channels(self, value: ir.Value) -> int:
        return self.shapes[value.name or ""][1]

    def entered(self, node: ir.Node) -> list[ir.Value]:
        """The values whose channels a member moves."""
        if node in self.shuffles:
            return [present(self.shuffles[node].first.inputs[0])]
        count = len(node.inputs) if node.op_type == "Concat" else 1
        return [present(value) for value in node.inputs[:count]]

    def _moves_channels(self, node: ir.Node) -> bool:
        if node in self.shuffles or _is_depthwise(node):
            return True
        if node.domain or node.op_type not in ("Concat", "Split"):
            return False
        values = [value for value in (*self.entered(node), *node.outputs) if value is not None]
        ranks = {len(self.shapes.get(value.name or "", ())) for value in values}
        if len(ranks) != 1 or min(ranks) < 3:
            return False
        is_fixed = node.op_type == "Concat" or len(node.inputs) == 1 or is_constant(node.inputs[1])
        return is_fixed and node.attributes.get_int("axis", 0) % min(ranks) == 1

    def _reads_agree(self, node: ir.Node, inside: dict[ir.Node, None]) -> bool:
        return all(
            not value.is_graph_output()
            and all(
                self._member(use.node) in inside or (_takes_any_order(use.node) and use.idx == 0)
                for use in value.uses()
            )
            for value in node.outputs
        )

    def _member(self, node: ir.Node) -> ir.Node:
        return self._entry[node].last if node in self._entry else node

    def _connected(self, inside: dict[ir.Node, None]) -> list[ir.Node]:
        """Those that channels of a shuffle go through, before or behind it."""
        neighbours: dict[ir.Node, set[ir.Node]] = {node: set() for node in inside}
        for node in inside:
            for value in self.entered(node):
                maker = value.producer()
                if maker in inside and maker is not None:
                    neighbours[node].add(maker)
                    neighbours[maker].add(node)
        reached: set[ir.Node] = set()
        waiting = [node for node in inside if node in self.shuffles]
        while waiting:
            node = waiting.pop()
            if node not in reached:
                reached.add(node)
                waiting += neighbours[node]
        return [node for node in inside if node in reached]


@dataclasses.dataclass(frozen=True)
class _Channels:
    """Where channels lie.

    Attributes:
        taken: by value that a member takes or gives: its channels, each where it lies.
        rank: of the values in which they lie, in graph order.
    """

    taken: dict[ir.Value, list[Channel]]
    rank: dict[ir.Value, int]


def _follow(members: _Members) -> _Channels:
    """Follow the channels of all values through the members, in graph order."""
    channels = _Channels({}, {})
    for node in members.nodes:
        entering = [channel for value in members.entered(node) for channel in _of(value, members, channels)]
        if node in members.shuffles:
            entering = [entering[channel] for channel in members.shuffles[node].order]
        elif _is_depthwise(node):
            entering = _through_depthwise(node, entering, channels)
        start = 0
        for value in node.outputs:
            stop = start + members.channels(value)
            channels.taken[value] = entering[start:stop]
            start = stop
    return channels


def _of(value: ir.Value, members: _Members, channels: _Channels) -> list[Channel]:
    if value not in channels.taken:
        channels.rank.setdefault(value, len(channels.rank))
        channels.taken[value] = [(value, index) for index in range(members.channels(value))]
    return channels.taken[value]


def _through_depthwise(node: ir.Node, entering: list[Channel], channels: _Channels) -> list[Channel]:
    """Channels of a depthwise convolution's output, which lie as those of its input do."""
    output = node.outputs[0]
    places = _places(_runs(entering, channels.rank))
    channels.rank.setdefault(output, len(channels.rank))
    return [(output, places[channel]) for channel in entering]


def _runs(channels: Sequence[Channel], rank: dict[ir.Value, int]) -> list[Run]:
    """The pieces in which channels lie, by value."""
    runs: list[Run] = []
    for value, index in sorted(channels, key=lambda channel: (rank[channel[0]], channel[1])):
        if runs and runs[-1][0] is value and runs[-1][2] == index:
            runs[-1] = (value, runs[-1][1], index + 1)
        else:
            runs.append((value, index, index + 1))
    return runs


def _places(runs: Iterable[Run]) -> dict[Channel, int]:
    """Index of each channel among joined pieces."""
    lying = ((value, index) for value, start, stop in runs for index in range(start, stop))
    return {channel: place for place, channel in enumerate(lying)}


def _rewire(graph: ir.Graph, runs: dict[ir.Node, list[Run]], channels: _Channels) -> None:
    pieces = _split(graph, runs, {value: len(channels.taken[value]) for value in channels.rank})
    joined: dict[tuple[Run, ...], ir.Value] = {}
    order = {node: at for at, node in enumerate(graph)}
    for node in sorted(runs, key=lambda node: order[node]):
        places = _places(runs[node])
        lies = [places[channel] for channel in channels.taken[present(node.inputs[0])]]
        key = tuple(runs[node])
        if key not in joined:
            joined[key] = _join(graph, node, [piece for run in key for piece in pieces[run]])
        node.replace_input_with(0, joined[key])
        _reorder(node, np.argsort(lies))


def _split(graph: ir.Graph, runs: dict[ir.Node, list[Run]], counts: dict[ir.Value, int]) -> dict[Run, list[ir.Value]]:
    """The values that hold each piece: a value itself, or parts of it."""
    everything = dict.fromkeys(run for pieces in runs.values() for run in pieces)
    parts: dict[Run, list[ir.Value]] = {}
    for value, count in counts.items():
        wanting = [run for run in everything if run[0] is value]
        whole = [run for run in wanting if run[2] - run[1] == count]
        parts.update({run: [value] for run in whole})
        cuts = sorted({0, count, *(end for run in wanting if run not in whole for end in run[1:])})
        if len(cuts) == 2:
            continue
        outputs = _split_value(graph, value, np.diff(cuts))
        for run in wanting:
            if run not in whole:
                parts[run] = outputs[cuts.index(run[1]) : cuts.index(run[2])]
    return parts


def _split_value(graph: ir.Graph, value: ir.Value, sizes: Iterable[int]) -> list[ir.Value]:
    sizes = np.asarray(sizes, np.int64)
    name = unused_name(graph, f"{value.name}_parts")
    outputs = [ir.Value(name=unused_name(graph, f"{name}_{at}"), type=value.type) for at in range(len(sizes))]
    node = ir.node("Split", [value], {"axis": 1}, outputs=outputs, name=name)
    maker = value.producer()
    if maker is None:
        graph.insert_before(graph[0], node)
    else:
        graph.insert_after(maker, node)
    set_initializer(node, 1, sizes, f"{name}_sizes")
    return outputs


def _join(graph: ir.Graph, node: ir.Node, values: list[ir.Value]) -> ir.Value:
    """One value of several, made in front of the node that takes it."""
    if len(values) == 1:
        return values[0]
    name = unused_name(graph, f"{label(node)}_channels")
    output = ir.Value(name=name, type=values[0].type)
    graph.insert_before(node, ir.node("Concat", values, {"axis": 1}, outputs=[output], name=name))
    return output


def _reorder(node: ir.Node, order: np.ndarray) -> None:
    """Take channels in another order: `order` says which of its own each of them is."""
    weight = tensor(present(node.inputs[1])).numpy()
    if not _is_depthwise(node):
        set_initializer(node, 1, np.ascontiguousarray(weight[:, order]), f"{label(node)}_weight")
        return
    set_initializer(node, 1, np.ascontiguousarray(weight[order]), f"{label(node)}_weight")
    bias = optional_input(node, 2)
    if bias is not None:
        set_initializer(node, 2, tensor(bias).numpy()[order], f"{label(node)}_bias")


def _takes_any_order(node: ir.Node) -> bool:
    """Whether a node is a convolution of one group with a constant weight."""
    return _is_convolution(node) and node.attributes.get_int("group", 1) == 1


def _is_depthwise(node: ir.Node) -> bool:
    """Whether a node is a convolution of each channel by itself, one output a channel, with constants."""
    if not _is_convolution(node) or not all(is_constant(value) for value in _given(node.inputs[1:])):
        return False
    channels = tensor(present(node.inputs[1])).shape.numpy()[0]
    return 1 < channels == node.attributes.get_int("group", 1)


def _is_convolution(node: ir.Node) -> bool:
    return node.op_type == "Conv" and not node.domain and is_constant(node.inputs[1])


def _given(values: Iterable[ir.Value | None]) -> Iterator[ir.Value]:
    return (value for value in values if value is not None)
