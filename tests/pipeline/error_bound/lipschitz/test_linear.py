"""Operators with a weight: their constants hold on ONNX Runtime, and large spectral norms are proven."""

import math

import numpy as np
import pytest
from bounded_nets import PICTURE, Case, Net, assert_constant_holds, bound_of, damaged, draw, ended, only_output, values

from netsurgeon.pipeline.error_bound.lipschitz.linear import spectral_norm
from netsurgeon.pipeline.error_bound.lipschitz.step import NoConstantError

CASES = [
    Case("MatMul", (3, 6), (draw(6, 4),)),
    Case("MatMul", (3, 6), (draw(4, 3),), place=1),
    Case("MatMul", (3, 6), (draw(6),)),
    Case("MatMul", (3, 6), (draw(5, 6, 4),), slack=2.5),
    Case("MatMul", (5, 3, 6), (draw(5, 6, 4),)),
    Case("MatMul", (6, 3), (draw(5, 4, 6),), place=1, slack=2.5),
    Case("Gemm", (3, 6), (draw(6, 4), draw(4)), {"alpha": -0.3, "beta": 2.0}),
    Case("Gemm", (4, 1), (draw(4, 6), draw(6, 3)), {"beta": 2.0}, place=2, expected=2 * math.sqrt(3)),
    Case("Conv", (1, 3, 4, 4), (draw(5, 3, 1, 1),)),
    Case("Conv", PICTURE, (draw(3, 2, 3, 3),), {"pads": [1] * 4}, slack=2.5),
    Case("Conv", PICTURE, (draw(3, 2, 3, 3),), {"strides": [3, 3]}, slack=1.2),
    Case("Conv", PICTURE, (draw(3, 2, 6, 5),)),
    Case("Conv", PICTURE, (draw(4, 1, 3, 3),), {"group": 2, "strides": [2, 1]}, slack=2.5),
    # Stride and dilation share a factor: three windows an input, not two.
    Case("Conv", (1, 1, 20), (np.ones((1, 1, 3), np.float32),), {"strides": [2], "dilations": [2]}, expected=3.0),
    Case("ConvTranspose", (1, 2, 3, 3), (draw(2, 3, 3, 3),), {"strides": [2, 2]}, slack=2.5),
    Case("ConvTranspose", (1, 4, 3, 3), (draw(4, 2, 2, 2),), {"strides": [2, 2], "group": 2}),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_constant_holds_and_is_not_absurd(case: Case) -> None:
    assert_constant_holds(case)


def test_large_spectral_norms_are_proven_from_above() -> None:
    rng = np.random.default_rng(0)
    for weight in (rng.standard_normal((300, 500)), rng.standard_normal((400, 300)), np.eye(300), np.zeros((300, 300))):
        exact = float(np.linalg.norm(weight, 2))
        assert exact * (1 - 1e-12) <= spectral_norm(weight) <= exact * (1 + 1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("shape", [(4, 4), (300, 400), (5, 4, 6)])
def test_weights_that_have_no_spectral_norm(shape: tuple[int, ...], value: float) -> None:
    weight = np.ones(shape)
    weight[-1] = value
    with pytest.raises(NoConstantError, match="NaN, infinite or too large"):
        spectral_norm(weight)


@pytest.mark.parametrize("shape", [(64, 10), (300, 400), (64,)])
def test_it_ends_at_a_weight_with_nan(shape: tuple[int, ...]) -> None:
    """No eigenvalues were found, which ended `compare` in a traceback."""
    net = Net()
    weight = np.ones(shape)
    weight[-1] = np.nan
    stop = net.add("MatMul", net.add("MatMul", "x", net.draw(4, shape[0])), net.constant(weight))
    model = net.model(["N", 4], stop)
    output = only_output(bound_of(model, damaged(model), values(2, 4)))
    assert output.ends_at == f"{stop} (MatMul): its weight has numbers that are NaN, infinite or too large"


def test_an_old_gemm_that_adds_an_activation() -> None:
    net = Net()
    model = net.model(["N", 4], net.add("Gemm", "x", net.draw(4, 4), net.add("Relu", "x")), opset=9)
    output = only_output(bound_of(model, damaged(model), values(5, 4)))
    assert output.bound == pytest.approx(output.measured, rel=1e-4)


@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
def test_it_ends_at_a_matrix_product_of_activations(operator: str) -> None:
    net = Net()
    x = net.add("Gemm", "x", net.draw(4, 4), net.draw(4))
    stop = net.add(operator, x, net.add("Transpose", x))
    assert ended(net, stop, [5, 4], values(5, 4)).ends_at == f"{stop} ({operator}): it is a product of two activations"
