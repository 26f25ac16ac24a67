"""Attention and rotation: their constants hold on ONNX Runtime, or they say why there is none."""

import math

import numpy as np
import pytest
from bounded_nets import Case, assert_constant_holds, constant_and_norm, draw

from netsurgeon.pipeline.error_bound.lipschitz.step import NoConstantError

MICROSOFT = {"domain": "com.microsoft"}
ANGLES = np.array([[[0.3, 1.0, 2.0], [0.1, -0.4, 3.0]]], np.float32)
ROTATION = np.cos(ANGLES), np.sin(ANGLES)
ALIKE = np.zeros((1, 3, 8), np.float32)
"""Queries that read all values evenly: the three of them change alike, which is the worst that can be."""

CASES = [
    Case("Attention", (1, 4, 6), (draw(1, 3, 6), draw(1, 4, 6)), {"q_num_heads": 2, "kv_num_heads": 2}, 9.0, 23, 2),
    Case("Attention", (1, 1, 8), (ALIKE, draw(1, 1, 8)), {"q_num_heads": 2, "kv_num_heads": 2}, 1.05, 23, 2),
    Case("Attention", (1, 1, 4), (ALIKE, draw(1, 1, 4)), {"q_num_heads": 4, "kv_num_heads": 2}, 1.05, 23, 2),
    Case("Attention", (1, 1, 1, 4), (draw(1, 2, 3, 4), draw(1, 1, 1, 4)), {}, 1.05, 23, 2, math.sqrt(6)),
    Case("MultiHeadAttention", (1, 1, 8), (ALIKE, draw(1, 1, 8)), {**MICROSOFT, "num_heads": 2}, 1.05, 17, 2),
    Case("RotaryEmbedding", (1, 1, 2, 6), ROTATION, {}, 1.05, 23, 0, 1.0),
    Case("RotaryEmbedding", (1, 1, 2, 6), tuple(2 * table for table in ROTATION), {}, 1.05, 23, 0, 2.0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case}-{case.shape}")
def test_a_constant_holds_and_is_not_absurd(case: Case) -> None:
    assert_constant_holds(case)


@pytest.mark.parametrize("place", [0, 1])
def test_queries_and_keys_have_no_constant(place: int) -> None:
    others = (draw(1, 3, 6), draw(1, 3, 6))
    case = Case("Attention", (1, 3, 6), others, {"q_num_heads": 2, "kv_num_heads": 2}, opset=23, place=place)
    with pytest.raises(NoConstantError, match="product of two activations"):
        constant_and_norm(case)
