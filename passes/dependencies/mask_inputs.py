"""Which inputs of a model mask its attention, whatever they are called: what of them reaches a Softmax's scores."""

from __future__ import annotations

import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, operator_key

_COMBINES = ("Add", "Sub", "Mul", "Where", "And", "Or", "Min", "Max")
"""Operators by which a mask meets scores, or what else masks them."""
_HANDS_ON = (
    *("Cast", "Identity", "Not", "Neg", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Div", "Clip"),
    *("Unsqueeze", "Squeeze", "Reshape", "Flatten", "Transpose", "Expand", "Tile", "Slice", "ReduceSum"),
    *("Gather", "GatherND", "GatherElements"),
)
"""Operators behind which a mask is still one; those that look entries up only as what they look up in."""
_OF_FIRST = ("Gather", "GatherND", "GatherElements", "Reshape", "Expand", "Tile", "Slice", "Unsqueeze", "Squeeze")
_TAKES_MASK = {
    "Attention": (3,),
    "com.microsoft.Attention": (3, 5),
    "com.microsoft.MultiHeadAttention": (4, 5),
    "com.microsoft.GroupQueryAttention": (5, 10),
}
"""Operators of attention, and which of their inputs mask scores."""


def attention_masks(graph: ir.Graph) -> tuple[str, ...]:
    """Names of the inputs (batch, length) that reach the scores of attention by more than a product or a lookup.

    That is one way a mask is used; whether its values are a mask's, and nothing else hangs on them, the data tells.
    """
    flat = [value for value in graph.inputs if value.shape is not None and len(value.shape) == 2]
    return tuple(value.name or "" for value in flat if _masks_scores(value))


def _masks_scores(mask: ir.Value) -> bool:
    """Whether a value meets others and is normalised by a Softmax then, or is taken as a mask by an operator."""
    waiting, seen = [(mask, False)], set[tuple[ir.Value, bool]]()
    while waiting:
        place = value, has_met_others = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        for use in value.uses():
            key = operator_key(use.node.domain, use.node.op_type)
            if use.idx in _TAKES_MASK.get(key, ()) or (key == "Softmax" and has_met_others):
                return True
            if key in _COMBINES:
                others = [other for other in use.node.inputs if other is not None and other is not value]
                meets = has_met_others or any(not is_constant(other) for other in others)
                waiting.append((use.node.outputs[0], meets))
            elif key in _HANDS_ON and not (use.idx and key in _OF_FIRST):
                waiting.append((use.node.outputs[0], has_met_others))
    return False
