"""How often a model uses the weights of its layers for one input, and so how much work that is."""

from __future__ import annotations

import math

import onnx_ir as ir

from netsurgeon.passes.graph import infer_shapes
from netsurgeon.passes.layers.layer_finder import find_layers

UNKNOWN_EXTENT = 32
"""What stands for an axis of a layer's output that the model leaves open."""


def positions_of(model: ir.Model) -> dict[str, int]:
    """How many outputs each layer has, of every row of its weight for one input, by layer name."""
    inferred = model.clone()
    infer_shapes(inferred)
    positions = {}
    for layer in find_layers(inferred.graph)[0]:
        shape = layer.node.outputs[0].shape
        extents = () if shape is None else shape[2:] if layer.operator == "Conv" else shape[1:-1]
        positions[layer.name] = math.prod(extent if isinstance(extent, int) else UNKNOWN_EXTENT for extent in extents)
    return positions


def multiply_adds_of(model: ir.Model) -> int:
    """Multiply-adds of all layers with a weight matrix for one input, about."""
    positions = positions_of(model)
    return sum(layer.size * positions.get(layer.name, 1) for layer in find_layers(model.graph)[0])
