"""Between which numbers a Relu or Clip leaves a value: where the range of its integers ends there, they do its work."""

from __future__ import annotations

import math

import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, optional_input, tensor, traits_of

Bounds = tuple[float, float]
"""Least and largest number a value can be."""
EVERYTHING: Bounds = (-math.inf, math.inf)


def end_of_clips(value: ir.Value) -> tuple[ir.Value, Bounds]:
    """The value behind the Relu and Clip nodes that alone read a value, and between which numbers it lies then.

    Quantization does their work where its range ends where they clip.
    """
    low, high = EVERYTHING
    while not value.is_graph_output() and len(value.uses()) == 1:
        (use,) = value.uses()
        node = use.node
        bounds = clipped_at(node) if value is node.inputs[0] else None
        if bounds is None:
            break
        low, high = max(low, bounds[0]), min(high, bounds[1])
        value = node.outputs[0]
    return value, (low, high)


def clipped_at(node: ir.Node) -> Bounds | None:
    """Where a node clips; None for one that does anything else, or clips at a number that is computed."""
    if node.domain or traits_of(node).integer_role != "clips":
        return None
    if node.op_type == "Relu":
        return 0.0, math.inf
    ends = []
    for index, name, otherwise in ((1, "min", -math.inf), (2, "max", math.inf)):
        value = optional_input(node, index)
        if value is not None and not is_constant(value):
            return None
        number = node.attributes.get_float(name, otherwise) if value is None else float(tensor(value).numpy().item())
        ends.append(number)
    # a range of integers holds zero, and so must what it clips at
    return (ends[0], ends[1]) if ends[0] <= 0.0 < ends[1] else None
