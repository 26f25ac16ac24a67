"""Operators that change the shape: the trimmed model is the masked one."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from trimming_networks import Case, Family, Net, X, add_case, check_case, check_refusal

CASES: dict[str, Case] = {}
case = partial(add_case, CASES)


@case(8)
def flatten(net: Net) -> Any:
    return net.op("Gemm", net.op("Flatten", net.conv(X, 4, 8, 3)), net.weight(3, 288), net.weight(3), transB=1)


@case(8)
def constant_reshape(net: Net) -> Any:
    flat = net.op("Reshape", net.op("Relu", net.conv(X, 4, 8)), net.const([-1, 288]))
    return net.op("Gemm", flat, net.weight(288, 3))


@case(8)
def computed_reshape(net: Net) -> Any:
    hidden = net.op("Relu", net.conv(X, 4, 8))
    batch = net.op("Unsqueeze", net.op("Gather", net.op("Shape", hidden), net.const(0)), net.const([0]))
    flat = net.op("Reshape", hidden, net.op("Concat", batch, net.const([8, 36]), axis=0))
    swapped = net.op("Transpose", flat, perm=[0, 2, 1])
    return net.dense(swapped, 8, 3)


@case(8)
def reshape_by_the_shape_of_another(net: Net) -> Any:
    hidden, other = net.conv(X, 4, 8), net.conv(X, 4, 8)
    flat = net.op("Reshape", hidden, net.const([0, 0, 36]))
    back = net.op("Reshape", flat, net.op("Shape", other))
    return net.op("Add", net.conv(back, 8, 3), net.conv(other, 8, 3))


@case(6)
def channel_shuffle(net: Net) -> Any:
    hidden = net.conv(X, 4, 12)
    five = net.op("Transpose", net.op("Reshape", hidden, net.const([-1, 2, 6, 6, 6])), perm=[0, 2, 1, 3, 4])
    return net.conv(net.op("Sigmoid", net.op("Reshape", five, net.const([-1, 12, 6, 6]))), 12, 3)


@case(8)
def depth_to_space(net: Net) -> Any:
    return net.conv(net.op("DepthToSpace", net.conv(X, 4, 32), blocksize=2), 8, 3)


@case(8)
def space_to_depth(net: Net) -> Any:
    return net.conv(net.op("SpaceToDepth", net.conv(X, 4, 8), blocksize=2), 32, 3)


@case(8)
def resize_by_scales(net: Net) -> Any:
    scales = net.const([1, 1, 2, 2], np.float32)
    return net.conv(net.op("Resize", net.conv(X, 4, 8), "", scales, mode="nearest"), 8, 3)


@case(8)
def resize_by_sizes(net: Net) -> Any:
    sizes = net.const([2, 8, 12, 12])
    return net.conv(net.op("Resize", net.conv(X, 4, 8), "", "", sizes, mode="nearest"), 8, 3)


@case(8, opset=9)
def upsample(net: Net) -> Any:
    scales = net.const([1, 1, 2, 2], np.float32)
    return net.conv(net.op("Upsample", net.conv(X, 4, 8), scales, mode="nearest"), 8, 3)


@case(8)
def expand(net: Net) -> Any:
    mean = net.op("GlobalAveragePool", net.conv(X, 4, 8))
    return net.conv(net.op("Expand", mean, net.const([1, 8, 3, 3])), 8, 3)


@case(8)
def computed_expand(net: Net) -> Any:
    hidden, mean = net.conv(X, 4, 8), net.op("GlobalAveragePool", net.conv(X, 4, 8))
    batch = net.op("Slice", net.op("Shape", hidden), net.const([0]), net.const([1]))
    wide = net.op("Expand", mean, net.op("Concat", batch, net.const([8, 6, 6]), axis=0))
    return net.conv(net.op("Add", wide, hidden), 8, 3)


@case(8)
def filled(net: Net) -> Any:
    hidden = net.conv(X, 4, 8)
    batch = net.op("Slice", net.op("Shape", hidden), net.const([0]), net.const([1]))
    ones = net.op("ConstantOfShape", net.op("Concat", batch, net.const([8, 6, 6]), axis=0))
    return net.conv(net.op("Concat", net.op("Add", ones, hidden), hidden, axis=1), 16, 3)


@case(8)
def transpose_without_an_order(net: Net) -> Any:
    turned = net.op("Relu", net.op("Transpose", net.conv(X, 4, 8)))
    return net.conv(net.op("Transpose", turned), 8, 3)


@case(8, 5)
def squeeze_and_unsqueeze_from_the_end(net: Net) -> Any:
    mean = net.op("Squeeze", net.op("GlobalAveragePool", net.conv(X, 4, 8)), net.const([-1, 2]))
    gate = net.op("Unsqueeze", net.dense(mean, 8, 5), net.const([-1, -2]))
    return net.conv(net.op("Mul", net.conv(X, 4, 5), gate), 5, 3)


@case(8, opset=11)
def old_squeeze_of_all_single_axes(net: Net) -> Any:
    return net.dense(net.op("Squeeze", net.op("GlobalMaxPool", net.conv(X, 4, 8))), 8, 3)


@case(8)
def reshape_by_zero_and_minus_one(net: Net) -> Any:
    flat = net.op("Reshape", net.conv(X, 4, 8), net.const([0, -1]))
    return net.dense(net.op("Softplus", flat), 288, 3)


@case(8)
def depth_to_space_by_columns(net: Net) -> Any:
    return net.conv(net.op("DepthToSpace", net.conv(X, 4, 32), blocksize=2, mode="CRD"), 8, 3)


@case(8, opset=18)
def resize_of_some_axes(net: Net) -> Any:
    sizes = net.const([12, 8, 12])
    return net.conv(net.op("Resize", net.conv(X, 4, 8), "", "", sizes, axes=[2, 1, 3], mode="nearest"), 8, 3)


@case(8)
def expand_to_more_axes(net: Net) -> Any:
    five = net.op("Expand", net.conv(X, 4, 8), net.const([3, 1, 8, 1, 1]))
    return net.conv(net.op("ReduceMean", five, axes=[0], keepdims=0), 8, 3)


@pytest.mark.parametrize("name", CASES)
def test_a_trimmed_model_is_the_masked_one(name: str, trim: Any) -> None:
    check_case(CASES[name], trim)


# ------------------------------------------------------------------------------------------------ refusals
def refuse_sizes_without_common_factors(net: Net) -> Any:
    return net.conv(net.op("Reshape", net.conv(X, 4, 6), net.const([0, 4, 9, 6])), 4, 3)


def refuse_resized_channels(net: Net) -> Any:
    scales = net.const([1, 2, 1, 1], np.float32)
    return net.conv(net.op("Resize", net.conv(X, 4, 8), "", scales, mode="nearest"), 16, 3)


@pytest.mark.parametrize(
    ("build", "operator", "reason"),
    [
        (refuse_sizes_without_common_factors, "Reshape", "no common factors"),
        (refuse_resized_channels, "Resize", "it is resized"),
    ],
)
def test_what_is_not_followed_is_frozen(build: Family, operator: str, reason: str) -> None:
    check_refusal(build, operator, reason)
