"""Elementwise operators, reductions and pooling: the trimmed model is the masked one, and what is refused."""

from functools import partial
from typing import Any

import pytest
from trimming_networks import Case, Family, Net, X, add_case, check_case, check_refusal

CASES: dict[str, Case] = {}
case = partial(add_case, CASES)


@case(8)
def prelu_and_scale(net: Net) -> Any:
    hidden = net.op("PRelu", net.conv(X, 4, 8), net.weight(8, 1, 1))
    return net.conv(net.op("Mul", hidden, net.weight(1, 8, 1, 1)), 8, 3)


@case(8, 4)
def residual(net: Net) -> Any:
    stream = net.conv(X, 4, 8)
    branch = net.conv(net.op("Relu", net.conv(stream, 8, 4)), 4, 8, 3)
    return net.conv(net.op("Sum", stream, branch), 8, 3)


@case(8, 4)
def squeeze_and_excitation(net: Net) -> Any:
    stream = net.conv(X, 4, 8)
    small = net.op("Relu", net.conv(net.op("GlobalAveragePool", stream), 8, 4))
    return net.conv(net.op("Mul", stream, net.op("Sigmoid", net.conv(small, 4, 8))), 8, 3)


@case(8, 4)
def squeeze_by_dense_layers(net: Net) -> Any:
    stream = net.conv(X, 4, 8)
    mean = net.op("ReduceMean", stream, axes=[2, 3], keepdims=0)
    gate = net.op("Sigmoid", net.dense(net.op("Relu", net.dense(mean, 8, 4)), 4, 8))
    wide = net.op("Unsqueeze", gate, net.const([2, 3]))
    return net.conv(net.op("Mul", stream, wide), 8, 3)


@case(8)
def where(net: Net) -> Any:
    hidden, other = net.conv(X, 4, 8), net.conv(X, 4, 8)
    return net.conv(net.op("Where", net.op("Greater", hidden, other), hidden, net.op("Exp", other)), 8, 3)


@pytest.mark.parametrize("name", CASES)
def test_a_trimmed_model_is_the_masked_one(name: str, trim: Any) -> None:
    check_case(CASES[name], trim)


# ------------------------------------------------------------------------------------------------ refusals
def refuse_reduction(net: Net) -> Any:
    hidden = net.conv(X, 4, 8)
    return net.conv(net.op("Sub", hidden, net.op("ReduceMax", hidden, net.const([1]))), 8, 3)


def refuse_softmax(net: Net) -> Any:
    return net.conv(net.op("Softmax", net.conv(X, 4, 8), axis=1), 8, 3)


def refuse_second_output(net: Net) -> Any:
    hidden, indices = net.op("MaxPool", net.conv(X, 4, 8), outputs=2, kernel_shape=[2, 2])
    return net.conv(hidden, 8, 3), indices


@pytest.mark.parametrize(
    ("build", "operator", "reason"),
    [
        (refuse_reduction, "ReduceMax", "reduces over the axis"),
        (refuse_softmax, "Softmax", "normalises over the axis"),
        (refuse_second_output, "MaxPool", "indices run over channels"),
    ],
)
def test_what_is_not_followed_is_frozen(build: Family, operator: str, reason: str) -> None:
    check_refusal(build, operator, reason)
