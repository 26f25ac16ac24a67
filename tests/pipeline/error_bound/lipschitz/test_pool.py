"""Windows and pools: their constants hold on ONNX Runtime."""

import math

import pytest
from bounded_nets import PICTURE, Case, assert_constant_holds

CASES = [
    Case("MaxPool", PICTURE, attributes={"kernel_shape": [2, 2], "strides": [2, 2]}, expected=1.0),
    Case("MaxPool", (1, 1, 6, 6), attributes={"kernel_shape": [3, 3], "strides": [2, 2]}, slack=1.5, expected=2.0),
    Case("MaxPool", (1, 1, 6, 6), attributes={"kernel_shape": [3, 3], "strides": [1, 1]}, slack=1.2, expected=3.0),
    # Stride and dilation share a factor: an input lies in all three windows of its row, not in ⌈3 / 2⌉.
    Case("MaxPool", (1, 1, 11), attributes={"kernel_shape": [3], "strides": [2], "dilations": [2]}, expected=3**0.5),
    Case("AveragePool", PICTURE, attributes={"kernel_shape": [3, 2], "strides": [3, 2]}, expected=1 / math.sqrt(6)),
    Case("AveragePool", PICTURE, attributes={"kernel_shape": [3, 2]}, slack=1.6),
    Case("AveragePool", PICTURE, attributes={"kernel_shape": [6, 5]}, expected=1 / math.sqrt(30)),
    Case("AveragePool", (1, 1, 5), attributes={"kernel_shape": [3], "pads": [1, 1]}, slack=1.3),
    Case("AveragePool", (1, 1, 5), attributes={"kernel_shape": [3], "pads": [1, 1], "count_include_pad": 1}, slack=1.3),
    Case("AveragePool", (1, 1, 3), attributes={"kernel_shape": [3], "pads": [2, 2], "strides": [2]}, slack=1.3),
    Case(
        "AveragePool",
        PICTURE,
        attributes={"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER", "strides": [2, 2]},
        slack=2.0,
    ),
    Case("AveragePool", (1, 1, 6), attributes={"kernel_shape": [3], "strides": [2], "ceil_mode": 1}, slack=1.6),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_constant_holds_and_is_not_absurd(case: Case) -> None:
    assert_constant_holds(case)
