"""QuantizeLinear and DequantizeLinear in PyTorch: ONNX Runtime's numbers, and the gradients of LSQ."""

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import helper
from onnx_cases import made

from netsurgeon.models.onnx_module.module import OnnxModule
from netsurgeon.models.onnx_module.operators import OPERATORS

STEP = 0.25


@pytest.mark.parametrize(
    ("scale", "zero", "axis"),
    [
        (np.float32(STEP), np.uint8(0), 1),
        (np.float32(STEP), np.uint8(100), 1),
        (np.float32(STEP), np.int8(-3), 1),
        (np.array([0.125, 0.5, 1.0], np.float32), np.array([0, 7, 255], np.uint8), -1),
    ],
)
def test_numbers_are_those_of_onnx_runtime(scale: Any, zero: Any, axis: int) -> None:
    nodes = [
        helper.make_node("Mul", ["x", "one"], ["h"]),
        helper.make_node("QuantizeLinear", ["h", "scale", "zero"], ["q"], axis=axis),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["z"], axis=axis),
        helper.make_node("Gemm", ["z", "w"], ["y"]),
    ]
    arrays = {"one": np.float32(1.0), "scale": scale, "zero": zero, "w": np.eye(3, dtype=np.float32)}
    model = made(nodes, arrays, (60, 3))
    # ties, where the even integer is the nearest, and numbers beyond both ends of the range
    x = np.concatenate([np.arange(-90, 80) / 8.0, np.linspace(-80.0, 80.0, 10)]).astype(np.float32).reshape(60, 3)
    (expected,) = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"x": x}
    )
    quantized = OPERATORS["QuantizeLinear"]([torch.from_numpy(np.array(a)) for a in (x, scale, zero)], {"axis": axis})
    actual = OPERATORS["DequantizeLinear"](
        [quantized, *(torch.from_numpy(np.array(a)) for a in (scale, zero))], {"axis": axis}
    )
    assert np.array_equal(actual.numpy(), expected)
    if np.ndim(scale) == 0:
        assert np.array_equal(OnnxModule(model)(torch.from_numpy(x)).detach().numpy(), expected)


def test_gradients_pass_the_rounding_and_stop_at_the_ends() -> None:
    x = torch.tensor([[-1.0, 0.3, 10.1, 63.0, 64.5]], requires_grad=True)
    scale, zero = torch.tensor(STEP, requires_grad=True), torch.tensor(0, dtype=torch.uint8)
    quantized = OPERATORS["QuantizeLinear"]([x, scale, zero], {})
    OPERATORS["DequantizeLinear"]([quantized, scale, zero], {}).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 1.0, 1.0, 1.0, 0.0]]
    # LSQ, eq. 3: round(x/s) − x/s inside, the last integer outside; divided by √(n q)
    inside = sum(round(number / STEP) - number / STEP for number in (0.3, 10.1, 63.0))
    assert scale.grad is not None
    assert scale.grad.item() == pytest.approx((inside + 255.0) / (5 * 255.0) ** 0.5, rel=1e-4)


def test_scales_of_blocks_are_refused() -> None:
    x, scale = torch.zeros(2, 4), torch.ones(2, 2)
    with pytest.raises(NotImplementedError, match="scales of blocks"):
        OPERATORS["DequantizeLinear"]([x, scale], {"block_size": 2})
