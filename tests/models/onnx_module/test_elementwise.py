"""Operators that work on each element give what ONNX Runtime gives."""

import numpy as np
import pytest
from onnx import helper
from onnx_cases import PICTURES, Case, difference, difference_between_layers, node, weight

CASES: dict[str, Case] = {
    "Clip by inputs": (node("Clip", "low", "high"), {"low": np.float32(-0.5), "high": np.float32(0.7)}, 17),
    "Clip by attributes": (node("Clip", min=-0.5, max=0.7), {}, 9),
    "PRelu": (node("PRelu", "s"), {"s": weight(4, 1, 1)}, 17),
    "LeakyRelu": (node("LeakyRelu", alpha=0.3), {}, 17),
    "HardSigmoid": (node("HardSigmoid", alpha=0.3, beta=0.4), {}, 17),
    "Gelu": (node("Gelu", approximate="tanh"), {}, 20),
    "Max": (node("Max", "a"), {"a": weight(4, 1, 1)}, 17),
    "Div": (node("Div", "a"), {"a": weight(9) ** 2 + 1}, 17),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_what_onnx_runtime_gives(name: str) -> None:
    assert difference_between_layers(CASES[name]) < 1e-5


@pytest.mark.parametrize("comparison", ["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"])
def test_a_comparison_gives_what_onnx_runtime_gives(comparison: str) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node(comparison, ["r", "zero"], ["is_so"]),
        helper.make_node("Cast", ["is_so"], ["as_float"], to=1),
        helper.make_node("Add", ["as_float", "one"], ["y"]),
    ]
    assert (
        difference(nodes, {"w": weight(4, 4, 1, 1), "zero": np.float32(0), "one": np.float32(1)}, PICTURES, 17) == 0.0
    )
