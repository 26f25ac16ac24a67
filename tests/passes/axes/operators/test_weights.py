"""Convolutions, matrix products and normalisations: the trimmed model is the masked one, and what is refused."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from trimming_networks import Case, Family, Net, X, add_case, check_case, check_refusal

CASES: dict[str, Case] = {}
case = partial(add_case, CASES)


@case(8)
def conv(net: Net) -> Any:
    return net.conv(net.op("Sigmoid", net.conv(X, 4, 8, 3)), 8, 3, 3)


@case(8, 5)
def depthwise(net: Net) -> Any:
    wide = net.op("Clip", net.conv(net.conv(X, 4, 8), 8, 8, 3, group=8), net.const(0, np.float32))
    return net.conv(net.op("HardSwish", net.conv(wide, 8, 5)), 5, 3)


@case(4)
def depthwise_multiplier(net: Net) -> Any:
    return net.conv(net.conv(net.conv(X, 4, 4), 4, 12, 3, group=4), 12, 3)


@case(6, 3)
def grouped(net: Net) -> Any:
    return net.conv(net.conv(net.conv(X, 4, 12), 12, 6, 3, group=2), 6, 3)


@case(4)
def whole_groups(net: Net) -> Any:
    return net.conv(net.conv(net.conv(X, 4, 8), 8, 4, 3, group=4), 4, 3)


@case(8, 6)
def conv_transpose(net: Net) -> Any:
    up = net.op("ConvTranspose", net.conv(X, 4, 8), net.weight(8, 6, 2, 2), net.weight(6), strides=[2, 2])
    return net.conv(net.op("Tanh", up), 6, 3)


@case(4, 3)
def grouped_conv_transpose(net: Net) -> Any:
    up = net.op("ConvTranspose", net.conv(X, 4, 8), net.weight(8, 3, 2, 2), net.weight(6), group=2, strides=[2, 2])
    return net.conv(up, 6, 3)


@case(8)
def batch_normalization(net: Net) -> Any:
    hidden = net.op("Relu", net.conv(X, 4, 8))
    variance = net.const(np.abs(net.rng.standard_normal(8)) + 0.5, np.float32)
    parameters = [net.weight(8) for _ in range(3)]
    return net.conv(net.op("BatchNormalization", hidden, *parameters, variance), 8, 3)


@case(8)
def instance_normalization(net: Net) -> Any:
    hidden = net.op("InstanceNormalization", net.conv(X, 4, 8, 3), net.weight(8), net.weight(8))
    return net.conv(hidden, 8, 3)


@case(8, 5)
def gemms(net: Net) -> Any:
    flat = net.op("Flatten", net.op("GlobalAveragePool", net.conv(X, 4, 8)))
    hidden = net.op("Gemm", flat, net.weight(8, 5), net.weight(1, 5), alpha=0.5, beta=2.0)
    return net.op("Gemm", net.op("Elu", hidden), net.weight(3, 5), transB=1)


@case(8)
def weight_on_the_left(net: Net) -> Any:
    rows = net.op("Add", net.op("MatMul", net.weight(8, 6), X), net.weight(8, 1))
    return net.op("MatMul", net.weight(3, 8), net.op("Sigmoid", rows))


@case(4, 4, 16)
def attention(net: Net) -> Any:
    tokens = net.op("Reshape", X, net.const([0, 4, 36]))

    def projected(order: list[int]) -> Any:
        return _heads(net, net.dense(tokens, 36, 12), 3, order)

    return _attend(net, tokens, projected([0, 2, 1, 3]), projected([0, 2, 3, 1]), projected([0, 2, 1, 3]), heads=3)


@case(5, 16)
def attention_split_from_one_weight(net: Net) -> Any:
    tokens = net.op("Reshape", X, net.const([0, 4, 36]))
    parts = net.op("Split", net.dense(tokens, 36, 60), net.const([20, 20, 20]), axis=2, outputs=3)
    orders = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    projected = [_heads(net, part, 5, order) for part, order in zip(parts, orders, strict=True)]
    return _attend(net, tokens, *projected, heads=5)


@case(5, 16)
def attention_gathered_from_one_weight(net: Net) -> Any:
    tokens = net.op("Reshape", X, net.const([0, 4, 36]))
    apart = net.op("Reshape", net.dense(tokens, 36, 60), net.const([0, 0, 3, 5, 4]))
    stacked = net.op("Transpose", apart, perm=[2, 0, 3, 1, 4])
    query, key, value = (net.op("Gather", stacked, net.const(at), axis=0) for at in range(3))
    return _attend(net, tokens, query, net.op("Transpose", key, perm=[0, 1, 3, 2]), value, heads=5)


def _heads(net: Net, projected: str, heads: int, order: list[int]) -> Any:
    """Heads of 4 numbers each."""
    return net.op("Transpose", net.op("Reshape", projected, net.const([0, 0, heads, 4])), perm=order)


def _attend(net: Net, tokens: str, query: str, key: str, value: str, *, heads: int) -> Any:
    """The rest of an attention block, with a feed-forward part of 16."""
    scaled = net.op("Softmax", net.op("Div", net.op("MatMul", query, key), net.const(2.0, np.float32)), axis=-1)
    mixed = net.op("Transpose", net.op("MatMul", scaled, value), perm=[0, 2, 1, 3])
    out = net.dense(net.op("Reshape", mixed, net.const([0, 0, heads * 4])), heads * 4, 36)
    return net.dense(net.op("Erf", net.dense(net.op("Add", out, tokens), 36, 16)), 16, 5)


@case(8)
def conv_over_one_axis(net: Net) -> Any:
    hidden = net.op("Conv", net.op("Reshape", X, net.const([0, 4, 36])), net.weight(8, 4, 3))
    return net.op("Conv", net.op("Relu", hidden), net.weight(3, 8, 3), net.weight(3))


@case(8)
def gemm_of_a_transposed_input(net: Net) -> Any:
    hidden = net.op("Gemm", net.op("Flatten", X), net.weight(144, 8), net.const(0.5, np.float32))
    return net.op("Gemm", net.op("Transpose", hidden), net.weight(8, 3), transA=1)


@case(8)
def matmul_with_a_vector(net: Net) -> Any:
    return net.op("MatMul", net.op("Tanh", net.dense(X, 6, 8)), net.weight(8))


@case(8)
def matmul_with_a_matrix_for_each_channel(net: Net) -> Any:
    return net.op("MatMul", net.op("Relu", net.op("MatMul", X, net.weight(4, 6, 8))), net.weight(4, 8, 3))


@case(8)
def layer_normalization_over_another_axis(net: Net) -> Any:
    hidden = net.op("LayerNormalization", net.conv(X, 4, 8), net.weight(6), net.weight(6), axis=-1)
    return net.conv(hidden, 8, 3)


@case(7, 6, opset=23)
def swiglu_behind_a_norm_with_a_shortcut(net: Net) -> Any:
    """Pairs of gate and value go together; what is normalised stays."""
    first, second = (net.dense(net.op("Reshape", X, net.const([0, 24, 6])), 6, 6) for _ in range(2))
    (normed, _, _, total) = net.op(
        "SkipSimplifiedLayerNormalization", first, second, net.weight(6), outputs=4, domain="com.microsoft"
    )
    again = net.op("RMSNormalization", total, net.weight(6))
    gate, value = net.dense(normed, 6, 7), net.dense(again, 6, 7)
    hidden = net.op("Mul", net.op("Mul", gate, net.op("Sigmoid", gate)), value)
    return net.dense(net.op("Tanh", net.dense(hidden, 7, 6)), 6, 5)


@pytest.mark.parametrize("name", CASES)
def test_a_trimmed_model_is_the_masked_one(name: str, trim: Any) -> None:
    check_case(CASES[name], trim)


# ------------------------------------------------------------------------------------------------ refusals
def refuse_layer_norm(net: Net) -> Any:
    rows = net.op("Transpose", net.conv(X, 4, 8), perm=[0, 2, 3, 1])
    return net.dense(net.op("LayerNormalization", rows, net.weight(8), net.weight(8)), 8, 3)


def refuse_layer_norm_with_a_shortcut(net: Net) -> Any:
    rows = [net.op("Transpose", net.conv(X, 4, 8), perm=[0, 2, 3, 1]) for _ in range(2)]
    flat = [net.op("Reshape", each, net.const([0, 36, 8])) for each in rows]
    normed = net.op("SkipLayerNormalization", *flat, net.weight(8), net.weight(8), domain="com.microsoft")
    return net.dense(normed, 8, 3)


def refuse_instance_norm_along_rows(net: Net) -> Any:
    turned = net.op("Transpose", net.conv(X, 4, 8), perm=[0, 2, 1, 3])
    return net.op("InstanceNormalization", turned, net.weight(6), net.weight(6))


def refuse_computed_weight(net: Net) -> Any:
    weight = net.op("Mul", net.weight(3, 8, 1, 1), net.op("ReduceMax", X, keepdims=0))
    return net.op("Conv", net.conv(X, 4, 8), weight)


def refuse_computed_weight_of_a_transposed_conv(net: Net) -> Any:
    weight = net.op("Mul", net.weight(8, 3, 1, 1), net.op("ReduceMax", X, keepdims=0))
    return net.op("ConvTranspose", net.conv(X, 4, 8), weight)


@pytest.mark.parametrize(
    ("build", "operator", "reason"),
    [
        (refuse_layer_norm, "LayerNormalization", "normalises over the axis"),
        (refuse_layer_norm_with_a_shortcut, "SkipLayerNormalization", "normalises over the axis"),
        (refuse_instance_norm_along_rows, "InstanceNormalization", "normalises over the axis"),
        (refuse_computed_weight, "Conv", "its weight is computed while the model runs"),
        (refuse_computed_weight_of_a_transposed_conv, "ConvTranspose", "its weight is computed while the model runs"),
    ],
)
def test_what_is_not_followed_is_frozen(build: Family, operator: str, reason: str) -> None:
    check_refusal(build, operator, reason)
