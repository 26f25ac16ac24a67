"""Which layers have integer weights where no range of their activations is measured: matrix products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from netsurgeon.passes.graph import label, tensor
from netsurgeon.passes.layers import Layer
from netsurgeon.passes.quantization.placement import Placement, reason_to_stay

OPERATORS = ("MatMul", "Gemm")
SCALE_BYTES = 2
"""Of a scale, which is stored in 16 bits."""
IN_A_BODY = "it lies inside a body of an If or Loop"


def place_matrices(graph: ir.Graph, layers: Sequence[Layer], stay: Mapping[str, str]) -> Placement:
    """A placement of MatMul and Gemm alone; what their layers take are its entering values.

    Args:
        graph: in normal form, its nodes named.
        layers: of the graph.
        stay: names of nodes that are to stay floats, and why.
    """
    floats, placed = {}, []
    for layer in layers:
        reason = stay.get(label(layer.node)) or _reason(graph, layer)
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
    """
    width = layer.columns // layer.blocks
    fitting = [span for span in spans if layer.blocks == 1 or width % span == 0]
    if not fitting:
        return None

    def size(span: int) -> float:
        return -(-layer.columns // span) * (span * bits / 8 + SCALE_BYTES)

    return min(fitting, key=size)


def _reason(graph: ir.Graph, layer: Layer) -> str | None:
    """Why a layer keeps float weights, if so."""
    if layer.operator not in OPERATORS:
        return "only the weights of MatMul and Gemm become integers in this mode"
    if layer.node.graph is not graph:
        return IN_A_BODY
    if len(tensor(layer.weight).shape) != 2:
        return f"its weight has {len(tensor(layer.weight).shape)} dimensions, expected 2"
    if layer.input.shape is not None and len(layer.input.shape) < 2:
        return "its input is a vector"
    return reason_to_stay(layer)
