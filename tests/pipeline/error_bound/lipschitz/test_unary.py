"""Operators on one operand: their constants hold on ONNX Runtime, or they say why there is none."""

import math

import numpy as np
import pytest
from bounded_nets import FLAT, PICTURE, Case, assert_constant_holds, constant_and_norm, draw, whole
from onnx import TensorProto

from netsurgeon.pipeline.error_bound.lipschitz.step import NoConstantError

CASES = [
    *(Case(operator, FLAT) for operator in ("Relu", "Tanh", "Abs", "Neg", "Sin", "Cos", "Atan", "Asinh", "Softplus")),
    *(Case(operator, FLAT) for operator in ("Softsign", "Sigmoid", "Erf", "HardSwish", "Mish", "Selu", "Celu")),
    Case("Sigmoid", FLAT, expected=0.25),
    Case("HardSwish", FLAT, expected=1.5),
    Case("Gelu", FLAT, expected=1.13),
    Case("Gelu", FLAT, attributes={"approximate": "tanh"}),
    Case("Gelu", FLAT, attributes={"domain": "com.microsoft"}, expected=1.13),
    Case("FastGelu", FLAT, attributes={"domain": "com.microsoft"}),
    Case("QuickGelu", FLAT, attributes={"domain": "com.microsoft", "alpha": 1.702}),
    Case("LeakyRelu", FLAT, attributes={"alpha": 0.2}, expected=1.0),
    Case("LeakyRelu", FLAT, attributes={"alpha": -3.0}, expected=3.0),
    Case("PRelu", FLAT, (draw(30) * 2,)),
    Case("Elu", FLAT, attributes={"alpha": 2.5}, slack=1.2, expected=2.5),
    Case("Elu", FLAT, expected=1.0),
    Case("HardSigmoid", FLAT, attributes={"alpha": 0.7}, expected=0.7),
    Case("Clip", FLAT, (np.float32(-0.5), np.float32(1.5)), expected=1.0),
    Case("Softmax", FLAT, slack=50.0, expected=1.0),
    Case("LogSoftmax", (2, 5), slack=1.3),
    Case("LogSoftmax", (2, 5, 3), opset=11, slack=3.0),
    Case("Identity", FLAT),
    Case("Dropout", FLAT),
    Case("Cast", FLAT, attributes={"to": TensorProto.DOUBLE}),
    Case("Flatten", PICTURE),
    Case("Reshape", FLAT, (whole(3, 20),)),
    Case("Transpose", PICTURE),
    Case("Unsqueeze", FLAT, (whole(1),)),
    Case("Squeeze", (1, 7), (whole(0),)),
    Case("Slice", FLAT, (whole(1), whole(20), whole(1), whole(3))),
    Case("DepthToSpace", (1, 4, 2, 2), attributes={"blocksize": 2}),
    Case("SpaceToDepth", (1, 1, 4, 4), attributes={"blocksize": 2}),
    Case("Split", (2, 6), attributes={"axis": 1, "num_outputs": 1}),
    Case("Trilu", (5, 5)),
    Case("TopK", FLAT, (whole(4),)),
    *(Case(operator, (3, 8), (whole(1),)) for operator in ("ReduceMean", "ReduceSum", "ReduceL1", "ReduceMax")),
    *(Case(operator, (3, 8), (whole(1),)) for operator in ("ReduceMin", "ReduceL2")),
    Case("ReduceLogSumExp", (3, 8), (whole(1),), slack=4.0),
    Case("ReduceMean", (3, 8), attributes={"axes": [0]}, opset=13, expected=1 / math.sqrt(3)),
    Case("GlobalAveragePool", PICTURE, expected=1 / math.sqrt(30)),
    Case("GlobalMaxPool", PICTURE),
    Case("Expand", (1, 5), (whole(4, 3, 5),), expected=math.sqrt(12)),
    Case("Tile", (2, 5), (whole(3, 2),), expected=math.sqrt(6)),
    Case("BatchNormalization", PICTURE, (draw(2), draw(2), draw(2), draw(2) ** 2)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_constant_holds_and_is_not_absurd(case: Case) -> None:
    assert_constant_holds(case)


@pytest.mark.parametrize(
    "case",
    [
        Case("BatchNormalization", PICTURE, (draw(2), draw(2), draw(2), draw(2) ** 2), {"training_mode": 1}),
        Case("Dropout", FLAT, (np.float32(0.5), np.array(True))),
    ],
    ids=str,
)
def test_operators_without_a_constant_say_so(case: Case) -> None:
    with pytest.raises(NoConstantError, match=r"\w"):
        constant_and_norm(case)
