"""Where a graph runs on integers: which layers, which nodes between them, and which values have a scale.

A node runs on integers where its operator can (`integer_role` in passes/graph/operator_traits.py) and all it takes from
other nodes are integers already. Layers make integers of what they take; everything else only passes them on, and does
so no further than to the last layer that takes them: the model's outputs stay floats.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.graph import label, tensor, traits_of
from netsurgeon.passes.layers import Cell, Layer
from netsurgeon.passes.quantization.clips import EVERYTHING, Bounds, end_of_clips

MATRIX_OPERATORS = ("MatMul", "Gemm")
SCALE_BYTES = 2
"""Of a scale, which is stored in 16 bits."""
IN_A_BODY = "it lies inside a body of an If or Loop"
SHARED_WEIGHT = "it shares its weight, of which each layer would have integers of its own"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placement:
    """What runs on integers.

    Attributes:
        layers: names of layers.
        nodes: names of the other nodes.
        groups: names of the values that become integers; those of a group share a scale.
        bounds: of each of these values, from the Relu or Clip that quantization does by the way.
        entering: those of these values that a float node or the caller makes.
        floats: layers that stay floats, and why.
    """

    layers: tuple[str, ...]
    nodes: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    bounds: Mapping[str, Bounds]
    entering: tuple[str, ...]
    floats: Mapping[str, str]

    @classmethod
    def none(cls, floats: Mapping[str, str]) -> Placement:
        """The one with nothing on integers, for the reasons given."""
        return cls(layers=(), nodes=(), groups=(), bounds={}, entering=(), floats=floats)

    @property
    def integer(self) -> frozenset[str]:
        """Names of all nodes that run on integers."""
        return frozenset((*self.layers, *self.nodes))

    @property
    def values(self) -> tuple[str, ...]:
        """All values that become integers."""
        return tuple(name for group in self.groups for name in group)


def place(graph: ir.Graph, layers: Sequence[Layer], stay: Mapping[str, str]) -> Placement:
    """Decide what runs on integers.

    Args:
        graph: in normal form, its nodes in order and named.
        layers: of the graph.
        stay: names of nodes that are to stay floats, and why.
    """
    return _Placing(graph, layers, stay).result()


class _Placing:
    """Forwards from layer to layer, then backwards over what no layer takes."""

    def __init__(self, graph: ir.Graph, layers: Sequence[Layer], stay: Mapping[str, str]):
        self._graph, self._stay = graph, stay
        self._layers = {layer.node: layer for layer in layers}
        self._integer: dict[ir.Node, None] = {}
        self._made: dict[ir.Value, ir.Node] = {}
        self._bounds: dict[ir.Value, Bounds] = {}
        self._floats: dict[str, str] = {}

    def result(self) -> Placement:
        for node in self._graph:
            if self._runs_on_integers(node):
                self._integer[node] = None
                self._note_outputs(node)
        self._drop_unread()
        groups = self._groups()
        values = [value for group in groups for value in group]
        return Placement(
            layers=tuple(label(node) for node in self._integer if node in self._layers),
            nodes=tuple(label(node) for node in self._integer if node not in self._layers),
            groups=tuple(tuple(value.name or "" for value in group) for group in groups),
            bounds={value.name or "": self._bounds.get(value, EVERYTHING) for value in values},
            entering=tuple(value.name or "" for value in values if value not in self._made),
            floats=self._floats,
        )

    def _runs_on_integers(self, node: ir.Node) -> bool:
        layer = self._layers.get(node)
        if layer is not None:
            reason = self._stay.get(label(node)) or reason_to_stay(layer)
            if reason is not None:
                self._floats[layer.name] = reason
            return reason is None
        if node.domain or label(node) in self._stay or not node.inputs:
            return False
        role = traits_of(node).integer_role
        if role == "carries":
            return node.inputs[0] in self._made and _carries(node)
        return role in ("computes", "joins") and all(value in self._made for value in node.inputs)

    def _note_outputs(self, node: ir.Node) -> None:
        """The values that this node makes as integers, and between which numbers they lie."""
        role = traits_of(node).integer_role
        if role in ("weighs", "computes"):
            if node.op_type == "MatMul":
                return  # ONNX Runtime multiplies integers to floats there
            value, bounds = end_of_clips(node.outputs[0])
            if node.op_type == "Sigmoid":
                bounds = (0.0, 1.0)
            elif node.op_type in ("AveragePool", "GlobalAveragePool"):
                bounds = self._bounds[self._input(node)]
            self._made[value], self._bounds[value] = node, bounds
            return
        sources = [value for value in (node.inputs if role == "joins" else node.inputs[:1]) if value is not None]
        lows, highs = zip(*(self._bounds[value] for value in sources), strict=True)
        for value in node.outputs:
            self._made[value], self._bounds[value] = node, (min(lows), max(highs))

    @staticmethod
    def _input(node: ir.Node) -> ir.Value:
        value = node.inputs[0]
        assert value is not None
        return value

    def _drop_unread(self) -> None:
        """Nodes between layers whose integers no layer takes are floats after all, and so is the last Gemm's output."""
        for node in reversed(list(self._integer)):
            outputs = [value for value, maker in self._made.items() if maker is node]
            read = any(use.node in self._integer for value in outputs for use in value.uses())
            # only a Gemm without a Relu behind it runs on integers where its output stays floats
            ends_on_floats = node.op_type == "Gemm" and node.outputs[0] in outputs
            if read or (node in self._layers and not ends_on_floats):
                continue
            for value in outputs:
                del self._made[value]
            if node not in self._layers:
                del self._integer[node]

    def _groups(self) -> list[list[ir.Value]]:
        """Values that become integers, in graph order; those that one scale must serve stand together."""
        made_by: dict[ir.Node, list[ir.Value]] = {}
        for value, maker in self._made.items():
            made_by.setdefault(maker, []).append(value)
        # one group a value, until a node passes integers from one on to another
        group_of: dict[ir.Value, list[ir.Value]] = {}
        for node in self._integer:
            for value in (*self._taken(node), *made_by.get(node, ())):
                group_of.setdefault(value, [value])
            if traits_of(node).integer_role in ("carries", "joins"):
                self._share_scale(self._input(node), (*node.inputs, *node.outputs), group_of)
        unique = {id(group): group for group in group_of.values()}
        return list(unique.values())

    def _share_scale(
        self, first: ir.Value, values: Iterable[ir.Value | None], group_of: dict[ir.Value, list[ir.Value]]
    ) -> None:
        """Put the groups of all these values into that of the first one."""
        for value in values:
            if value is None or value not in group_of or group_of[value] is group_of[first]:
                continue
            # a range that reaches farther would not do the Relu or Clip of the other
            if self._bounds[value] == self._bounds[first]:
                group_of[first] += group_of[value]
                group_of.update(dict.fromkeys(group_of[value], group_of[first]))

    def _taken(self, node: ir.Node) -> Iterable[ir.Value]:
        layer = self._layers.get(node)
        if layer is not None:
            return [layer.input]
        role = traits_of(node).integer_role
        inputs = node.inputs[:1] if role == "carries" else node.inputs
        return [value for value in inputs if value is not None]


def reason_to_stay(layer: Layer) -> str | None:
    """Why a layer cannot run on integers, if so."""
    node = layer.node
    if tensor(layer.weight).dtype != ir.DataType.FLOAT:
        return f"its weight has type {tensor(layer.weight).dtype.name}, expected float32"
    if layer.weight_index == 0:
        return "its weight stands in front of its input"
    if layer.operator == "Gemm":
        if any(node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta")):
            return "its factors alpha and beta are not 1"
        if node.attributes.get_int("transA", 0):
            return "its input is transposed"
        if layer.bias_slot() is None:
            return "what it adds is not a constant bias"
    if layer.operator == "Conv":
        value, _ = end_of_clips(node.outputs[0])
        if value.is_graph_output() or node.outputs[0].is_graph_output():
            return "its output is an output of the model"
        if len(tensor(layer.weight).shape) > 4:
            return "ONNX Runtime has no integer convolution in three dimensions"
    return None


def _carries(node: ir.Node) -> bool:
    """Whether a node passes integers on as they are: not where it makes numbers between those it gets."""
    if node.op_type == "Resize":
        return node.attributes.get_string("mode", "nearest") == "nearest"
    return node.op_type != "MaxPool" or len(node.outputs) == 1


def place_matrices(
    graph: ir.Graph, layers: Sequence[Layer], stay: Mapping[str, str], cells: Sequence[Cell] = ()
) -> Placement:
    """A placement of MatMul, Gemm and LSTM alone; what they take are its entering values.

    Args:
        graph: in normal form, its nodes named.
        layers: of the graph.
        stay: names of nodes that are to stay floats, and why.
        cells: of the graph; those that are placed are among the placement's layers.
    """
    floats: dict[str, str] = {}
    placed: list[Layer | Cell] = []
    both: list[Layer | Cell] = [*layers, *cells]
    for layer in both:
        reason = stay.get(label(layer.node))
        if reason is None:
            reason = _reason_of_matrix(graph, layer) if isinstance(layer, Layer) else _reason_of_cell(graph, layer)
        if reason is None:
            placed.append(layer)
        else:
            floats[layer.name] = reason
    entering = tuple(dict.fromkeys(layer.input.name or "" for layer in placed))
    return Placement(
        layers=tuple(layer.name for layer in placed),
        nodes=(),
        groups=(),
        bounds={},
        entering=entering,
        floats=floats,
    )


def span_of(layer: Layer, bits: int, spans: Sequence[int]) -> int | None:
    """Columns that share a scale: of `spans`, the widest first, the one that fills the fewest bytes; None = none fits.

    The last span of a row is filled up, and a layer that is corrected in blocks of columns must end them with a span.

    Args:
        layer: whose columns they are.
        bits: of a weight.
        spans: numbers of columns to choose among.
    """
    width = layer.columns // layer.blocks
    fitting = [span for span in spans if layer.blocks == 1 or width % span == 0]
    if not fitting:
        return None

    def size(span: int) -> float:
        return -(-layer.columns // span) * (span * bits / 8 + SCALE_BYTES)

    return min(fitting, key=size)


def _reason_of_matrix(graph: ir.Graph, layer: Layer) -> str | None:
    """Why a layer keeps float weights, if so."""
    if layer.operator not in MATRIX_OPERATORS:
        return "only the weights of MatMul and Gemm become integers in this mode"
    if layer.node.graph is not graph:
        return IN_A_BODY
    if len(tensor(layer.weight).shape) != 2:
        return f"its weight has {len(tensor(layer.weight).shape)} dimensions, expected 2"
    if layer.input.shape is not None and len(layer.input.shape) < 2:
        return "its input is a vector"
    return reason_to_stay(layer)


def _reason_of_cell(graph: ir.Graph, cell: Cell) -> str | None:
    """Why a recurrent cell keeps float weights, if so."""
    if cell.operator != "LSTM":
        return f"ONNX Runtime has no integer kernel for {cell.operator}"
    if cell.node.graph is not graph:
        return IN_A_BODY
    if cell.node.attributes.get_int("layout", 0):
        return "its batch comes first (layout = 1), which ONNX Runtime's integer kernel does not take"
    if len(cell.weights) < len(cell.WEIGHTS):
        return "its weights are computed while the model runs"
    for weight in cell.weights:
        if tensor(weight).dtype != ir.DataType.FLOAT:
            return f"its weight has type {tensor(weight).dtype.name}, expected float32"
        if len(weight.uses()) > 1 or weight.is_graph_output():
            return SHARED_WEIGHT
        if not np.isfinite(tensor(weight).numpy()).all():
            return "its weight holds NaN or Inf"
    return None
