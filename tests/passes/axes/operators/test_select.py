"""Operators that select, join and pad: the trimmed model is the masked one, and what is refused."""

from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest
from trimming_networks import Case, Family, Net, X, add_case, check_case, check_refusal

CASES: dict[str, Case] = {}
case = partial(add_case, CASES)


@case(8)
def padding_between(net: Net) -> Any:
    pads = net.const([0, 0, 1, 1, 0, 0, 1, 1])
    shifted = net.op("Pad", net.op("Exp", net.conv(X, 4, 8)), pads, net.const(0.7, np.float32))
    return net.conv(shifted, 8, 3, 3)


@case(6)
def padded_channels(net: Net) -> Any:
    stream = net.op("Pad", net.conv(X, 4, 6), net.const([0, 1, 0, 0, 0, 1, 0, 0]))
    return net.conv(net.op("Relu", stream), 8, 3)


@case(2, 6, opset=9)
def padded_residual(net: Net) -> Any:
    narrow = net.conv(X, 4, 6)
    stream = net.op("Pad", narrow, pads=[0, 1, 0, 0, 0, 1, 0, 0], mode="constant", value=0.0)
    return net.conv(net.op("Add", net.conv(X, 4, 8), stream), 8, 3)


@case(5, 7)
def concat(net: Net) -> Any:
    both = net.op("Concat", net.conv(X, 4, 5), net.op("Sigmoid", net.conv(X, 4, 7)), axis=1)
    return net.conv(net.op("MaxPool", both, kernel_shape=[2, 2]), 12, 3)


@case(6, 2, opset=17)
def split(net: Net) -> Any:
    one, other = net.op("Split", net.conv(X, 4, 8), net.const([6, 2]), axis=1, outputs=2)
    return net.op("Add", net.conv(one, 6, 3), net.conv(net.op("Exp", other), 2, 3))


@case(4, 4, opset=11)
def equal_split(net: Net) -> Any:
    one, other = net.op("Split", net.conv(X, 4, 8), axis=1, outputs=2)
    return net.op("Add", net.conv(one, 4, 3), net.conv(net.op("Exp", other), 4, 3))


@case(4, 4, opset=18)
def split_by_number(net: Net) -> Any:
    one, other = net.op("Split", net.conv(X, 4, 8), axis=1, outputs=2, num_outputs=2)
    return net.op("Add", net.conv(one, 4, 3), net.conv(net.op("Exp", other), 4, 3))


@case(5, 3)
def slices(net: Net) -> Any:
    hidden = net.op("Softplus", net.conv(X, 4, 8))
    one = net.op("Slice", hidden, net.const([-8]), net.const([5]), net.const([1]))
    other = net.op("Slice", hidden, net.const([5]), net.const([2**63 - 1]), net.const([-3]))
    return net.op("Add", net.conv(one, 5, 3), net.conv(other, 3, 3))


@case(5, 3, opset=9)
def old_slices(net: Net) -> Any:
    hidden = net.op("Relu", net.conv(X, 4, 8))
    one, other = (net.op("Slice", hidden, axes=[1], starts=[a], ends=[b]) for a, b in ((0, 5), (-3, 2**63 - 1)))
    return net.op("Add", net.conv(one, 5, 3), net.conv(other, 3, 3))


@case(4, 4)
def every_other(net: Net) -> Any:
    hidden = net.op("Relu", net.conv(X, 4, 8))
    bounds = [net.const([2**63 - 1, 5]), net.const([1, 2]), net.const([2, 1])]
    one, other = (net.op("Slice", hidden, net.const([a, 1]), *bounds) for a in (0, 1))
    return net.op("Add", net.conv(one, 4, 3), net.conv(other, 4, 3))


@case(8)
def backwards(net: Net) -> Any:
    hidden = net.op("Relu", net.conv(X, 4, 8))
    mirrored = net.op("Slice", hidden, net.const([-1]), net.const([-(2**63) + 1]), net.const([1]), net.const([-1]))
    return net.conv(mirrored, 8, 3)


@case(3, 3)
def gather(net: Net) -> Any:
    hidden = net.op("Relu", net.conv(X, 4, 6))
    one = net.op("Gather", hidden, net.const([4, 0, -1]), axis=1)
    return net.op("Add", net.conv(hidden, 6, 3), net.conv(one, 3, 3))


@case(6)
def picked(net: Net) -> Any:
    """The two channels that are picked stay."""
    hidden = net.conv(X, 4, 8)
    one, other = net.op("Gather", hidden, net.const([-1]), axis=1), net.op("Gather", hidden, net.const(3), axis=1)
    both = net.op("Mul", one, net.op("Unsqueeze", other, net.const([1])))
    return net.op("Mul", net.conv(hidden, 8, 3), both)


@case(8)
def embedding(net: Net) -> Any:
    index = net.op("Cast", net.op("Abs", X), to=onnx.TensorProto.INT64)
    hidden = net.op("Gather", net.weight(20, 8), index)
    return net.dense(hidden, 8, 3)


@case(8)
def tile(net: Net) -> Any:
    mean = net.op("GlobalMaxPool", net.conv(X, 4, 8))
    return net.conv(net.op("Tile", mean, net.const([1, 1, 2, 3])), 8, 3)


@case(6, 2)
def split_along_an_axis_counted_from_the_end(net: Net) -> Any:
    one, other = net.op("Split", net.conv(X, 4, 8), net.const([6, 2]), axis=-3, outputs=2)
    return net.op("Add", net.conv(one, 6, 3), net.conv(other, 2, 3))


@case(3, 3, 2, opset=18)
def split_by_a_number_that_leaves_a_smaller_part(net: Net) -> Any:
    parts = net.op("Split", net.conv(X, 4, 8), axis=1, outputs=3, num_outputs=3)
    return net.op("Sum", *(net.conv(part, extent, 3) for part, extent in zip(parts, (3, 3, 2), strict=True)))


@case(8)
def concat_along_space(net: Net) -> Any:
    return net.conv(net.op("Concat", net.conv(X, 4, 8), net.conv(X, 4, 8), axis=-1), 8, 3)


@case(8)
def concat_of_a_value_with_itself(net: Net) -> Any:
    hidden = net.op("Sigmoid", net.conv(X, 4, 8))
    return net.conv(net.op("Concat", hidden, hidden, axis=1), 16, 3)


@case(5, 3)
def slice_without_axes_and_steps(net: Net) -> Any:
    """Three of the channels are read by nobody."""
    return net.conv(net.op("Slice", net.conv(X, 4, 8), net.const([0, 2]), net.const([9, 7])), 5, 3)


@case(4)
def gather_that_repeats(net: Net) -> Any:
    repeated = net.op("Gather", net.conv(X, 4, 4), net.const([3, 0, 0, 1, 2, 2]), axis=-3)
    return net.conv(net.op("Relu", repeated), 6, 3)


@case(6, opset=18)
def padding_of_one_axis(net: Net) -> Any:
    padded = net.op("Pad", net.conv(X, 4, 6), net.const([1, 2]), net.const(0.5, np.float32), net.const([-3]))
    return net.conv(net.op("Exp", padded), 9, 3)


@pytest.mark.parametrize("name", CASES)
def test_a_trimmed_model_is_the_masked_one(name: str, trim: Any) -> None:
    check_case(CASES[name], trim)


# ------------------------------------------------------------------------------------------------ refusals
def refuse_picked(net: Net) -> Any:
    hidden = net.conv(X, 4, 8)
    return net.conv(hidden, 8, 3), net.op("Gather", hidden, net.op("ArgMax", X, keepdims=0), axis=1)


def refuse_reflection(net: Net) -> Any:
    pads = net.const([0, 1, 0, 0, 0, 1, 0, 0])
    return net.conv(net.op("Pad", net.conv(X, 4, 8), pads, mode="reflect"), 10, 3)


def computed_zero(net: Net) -> str:
    """The integer 0, which depends on the input."""
    nothing = net.op("Mul", net.op("ReduceMax", X, keepdims=0), net.const(0, np.float32))
    return str(net.op("Cast", nothing, to=onnx.TensorProto.INT64))


def refuse_computed_split(net: Net) -> Any:
    sizes = net.op("Add", net.const([6, 2]), computed_zero(net))
    one, other = net.op("Split", net.conv(X, 4, 8), sizes, axis=1, outputs=2)
    return net.op("Add", net.conv(one, 6, 3), net.conv(other, 2, 3))


def refuse_computed_slice(net: Net) -> Any:
    starts = net.op("Add", net.const([0]), computed_zero(net))
    return net.conv(net.op("Slice", net.conv(X, 4, 8), starts, net.const([8]), net.const([1])), 8, 3)


def refuse_table_of_indices(net: Net) -> Any:
    hidden = net.conv(X, 4, 8)
    return net.conv(hidden, 8, 3), net.op("Gather", hidden, net.const([[0, 1, 2, 3], [4, 5, 6, 7]]), axis=1)


def refuse_crop(net: Net) -> Any:
    return net.conv(net.op("Pad", net.conv(X, 4, 8), net.const([0, -1, 0, 0, 0, 0, 0, 0])), 7, 3)


def refuse_repetition(net: Net) -> Any:
    return net.conv(net.op("Tile", net.conv(X, 4, 8), net.const([1, 2, 1, 1])), 16, 3)


@pytest.mark.parametrize(
    ("build", "operator", "reason"),
    [
        (refuse_picked, "Gather", "picks from the axis"),
        (refuse_reflection, "Pad", "pads the axis"),
        (refuse_computed_split, "Split", "sizes are computed while the model runs"),
        (refuse_computed_slice, "Slice", "bounds are computed while the model runs"),
        (refuse_table_of_indices, "Gather", "picks from the axis"),
        (refuse_crop, "Pad", "pads the axis"),
        (refuse_repetition, "Tile", "repeats the axis"),
    ],
)
def test_what_is_not_followed_is_frozen(build: Family, operator: str, reason: str) -> None:
    check_refusal(build, operator, reason)
