"""Attention in one operator, and the rotation of positions in front of it."""

from __future__ import annotations

import math

import numpy as np

from netsurgeon.pipeline.error_bound.lipschitz.step import NoConstantError, Rule, Step

QUERY, VALUE = 0, 2


def _attention(step: Step) -> float:
    """√(queries that read a value): the rows of P in P V sum to 1, so that ‖P‖₂² ≤ ‖P‖₁ ‖P‖∞ ≤ queries."""
    if step.perturbed_inputs() != [VALUE]:
        raise NoConstantError("it is a product of two activations")
    queries = (query[-2] for query, _ in step.extents.cases(step.operand(QUERY), step.operand(VALUE)))
    return math.sqrt(max(queries, default=0) * _shared(step)) * step.errors[VALUE]


def _shared(step: Step) -> int:
    """How many heads of queries share a head of values."""
    heads = step.integer("q_num_heads", step.integer("num_heads", 0))
    if heads:
        return heads // step.integer("kv_num_heads", heads)
    cases = step.extents.cases(step.operand(QUERY), step.operand(VALUE))
    return max((query[1] // max(value[1], 1) for query, value in cases if len(value) > 1), default=1)


def _rotary_embedding(step: Step) -> float:
    """√(cos² + sin²) of the table's entries: 1 where they are of an angle, as what is not rotated has."""
    cosines, sines = (step.needed(index) for index in ((2, 3) if step.node.domain else (1, 2)))
    return max(1.0, float(np.hypot(cosines, sines).max(initial=0.0))) * step.error_of_single_input()


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Attention", "com.microsoft.MultiHeadAttention", "com.microsoft.GroupQueryAttention"), _attention),
    **dict.fromkeys(("RotaryEmbedding", "com.microsoft.RotaryEmbedding"), _rotary_embedding),
}
