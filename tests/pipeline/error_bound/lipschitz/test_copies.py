"""Padding, gathering and resampling: their constants hold on ONNX Runtime, or they say why there is none."""

import math

import numpy as np
import pytest
from bounded_nets import FLAT, Case, assert_constant_holds, constant_and_norm, whole

from netsurgeon.pipeline.error_bound.lipschitz.step import NoConstantError

CASES = [
    Case("Pad", FLAT, (whole(1, 0, 0, 2),)),
    Case("Pad", (2, 4), (whole(0, 2, 0, 3),), {"mode": "reflect"}, slack=1.3),
    Case("Pad", (2, 4), (whole(0, 2, 0, 3),), {"mode": "edge"}, slack=1.3),
    Case("Pad", (2, 4), attributes={"mode": "edge", "pads": [0, 3, 0, 0]}, opset=10, expected=2.0),
    Case("Gather", FLAT, (whole(1, 1, -1, 0),), expected=math.sqrt(3)),
    Case("Gather", (2, 5), (whole(0, 4, 2),), {"axis": 1}, expected=1.0),
    Case("Upsample", (1, 1, 2, 3), (np.array([1, 1, 2, 3], np.float32),), opset=9, expected=math.sqrt(6)),
    Case("Upsample", (1, 1, 2, 3), (np.array([1, 1, 2, 2], np.float32),), {"mode": "linear"}, opset=9, slack=1.3),
    Case("Resize", (1, 1, 2, 3), (np.array([1, 1, 2, 2.5], np.float32),), opset=10, slack=1.3),
    Case("Resize", (1, 1, 5, 6), (np.array([1, 1, 0.5, 0.7], np.float32),), opset=10, slack=1.5),
    *(
        Case(
            "Resize",
            (1, 1, 3, 3),
            (None, None, whole(*sizes)),
            {"coordinate_transformation_mode": transform, "mode": mode, "nearest_mode": rounding},
            slack=1.6,
        )
        for transform in ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
        for mode, sizes in (("nearest", (1, 1, 6, 9)), ("nearest", (1, 1, 5, 2)), ("linear", (1, 1, 7, 5)))
        for rounding in (("floor", "ceil", "round_prefer_ceil") if mode == "nearest" else ("floor",))
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_constant_holds_and_is_not_absurd(case: Case) -> None:
    assert_constant_holds(case)


@pytest.mark.parametrize(
    "case",
    [
        Case("Pad", (2, 4), (whole(0, 2, 0, 3),), {"mode": "wrap"}),
        Case("Resize", (1, 1, 3, 3), (None, None, whole(1, 1, 5, 5)), {"mode": "cubic"}),
    ],
    ids=str,
)
def test_operators_without_a_constant_say_so(case: Case) -> None:
    with pytest.raises(NoConstantError, match=r"\w"):
        constant_and_norm(case)
