"""Products of integers: rows of their weights go with the numbers that scale them, and what they sum over stays."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from trimming_networks import Case, Net, X, add_case, analysed, check_case, check_refusal

from netsurgeon.passes.dependencies.positions import PositionAxes, position_axes
from netsurgeon.pipeline.runtime.observations import observe
from netsurgeon.pipeline.runtime.session import Runtime

MICROSOFT = "com.microsoft"
CASES: dict[str, Case] = {}
case = partial(add_case, CASES)


def _tokens(net: Net) -> str:
    """Four tokens of 36 numbers."""
    return str(net.op("Reshape", X, net.const([0, 4, 36])))


def _integers(net: Net, *shape: int, kind: type = np.int8) -> str:
    low, high = (0, 256) if kind is np.uint8 else (-100, 100)
    return net.const(net.rng.integers(low, high, shape), kind)


def _scales(net: Net, *shape: int) -> str:
    return net.const(0.01 + 0.01 * net.rng.random(shape), np.float32)


def _blocks(net: Net, x: str, *, flat: bool = False, zeros: bool = False) -> str:
    """36 numbers to 6, in three blocks."""
    shape = (18,) if flat else (6, 3)
    inputs = [x, _integers(net, 6, 3, 8, kind=np.uint8), _scales(net, *shape)]
    if zeros:
        inputs.append(_integers(net, *((12,) if flat else (6, 2)), kind=np.uint8))
    return str(net.op("MatMulNBits", *inputs, domain=MICROSOFT, K=36, N=6, bits=4, block_size=16))


def _end(net: Net, x: str, width: int) -> str:
    return net.dense(net.op("Relu", x), width, 5)


@case(6)
def blocks(net: Net) -> Any:
    return _end(net, _blocks(net, _tokens(net)), 6)


@case(6)
def blocks_with_zero_points(net: Net) -> Any:
    return _end(net, _blocks(net, _tokens(net), zeros=True), 6)


@case(6)
def blocks_with_scales_in_one_vector(net: Net) -> Any:
    return _end(net, _blocks(net, _tokens(net), flat=True, zeros=True), 6)


@case(7)
def ranged_product(net: Net) -> Any:
    inputs = [_tokens(net), _integers(net, 36, 7), _scales(net, 7), net.const(np.zeros(7), np.int8), net.weight(7)]
    return _end(net, net.op("DynamicQuantizeMatMul", *inputs, domain=MICROSOFT), 7)


@case(7)
def integer_product(net: Net) -> Any:
    codes, scale, zero = net.op("DynamicQuantizeLinear", _tokens(net), outputs=3)
    whole = net.op("MatMulInteger", codes, _integers(net, 36, 7), zero)
    return _end(net, net.op("Mul", net.op("Cast", whole, to=1), net.op("Mul", scale, _scales(net, 7))), 7)


@case(7)
def scaled_product(net: Net) -> Any:
    codes, scale, zero = net.op("DynamicQuantizeLinear", _tokens(net), outputs=3)
    inputs = [
        codes,
        _integers(net, 36, 7),
        scale,
        _scales(net, 7),
        zero,
        net.const(np.zeros(7), np.int8),
        net.weight(7),
    ]
    return _end(net, net.op("MatMulIntegerToFloat", *inputs, domain=MICROSOFT), 7)


@case(8)
def activations_on_integers(net: Net) -> Any:
    scale, zero = net.const(0.05, np.float32), net.const(3, np.int8)
    codes = net.op("QuantizeLinear", net.dense(_tokens(net), 36, 8), scale, zero)
    return _end(net, net.op("DequantizeLinear", codes, scale, zero), 8)


@case(7)
def quantized_product(net: Net) -> Any:
    scale, zero = net.const(0.05, np.float32), net.const(3, np.int8)
    codes = net.op("QuantizeLinear", _tokens(net), scale, zero)
    weight = [_integers(net, 36, 7), _scales(net, 7), net.const(np.zeros(7), np.int8)]
    result = net.op("QLinearMatMul", codes, scale, zero, *weight, net.const(0.5, np.float32), zero)
    return _end(net, net.op("DequantizeLinear", result, net.const(0.5, np.float32), zero), 7)


@pytest.mark.parametrize("name", CASES)
def test_the_trimmed_model_is_the_masked_one(name: str, trim: Any) -> None:
    check_case(CASES[name], trim)


def test_what_a_weight_of_integers_sums_over_stays() -> None:
    check_refusal(lambda net: _blocks(net, net.dense(_tokens(net), 36, 36)), "MatMulNBits", "not corrected for inputs")


def test_positions_are_seen_through_products_and_attention_of_integers() -> None:
    """So that padding counts nowhere in a model of fixed length that came quantized."""
    net = Net(2, 4, 6, 6)
    product = _blocks(net, _tokens(net))
    codes, scale, zero = net.op("DynamicQuantizeLinear", product, outputs=3)
    weight = [
        _integers(net, 6, 12),
        net.weight(12),
        scale,
        _scales(net, 12),
        "",
        zero,
        net.const(np.zeros(12), np.int8),
    ]
    attended = net.op("QAttention", codes, *weight, domain=MICROSOFT, num_heads=2)
    model, _ = analysed(net, _end(net, attended, 4))
    axes = position_axes(model.graph, observe(model, net.feed, Runtime()), {X: (1,)})
    assert axes[product] == axes[attended] == PositionAxes(0, 1)
