"""Patches and padding of convolutions, as ONNX Runtime sees them."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_models import assert_agrees, conv, few, normal, only_layer

from netsurgeon.passes.layers.geometry import Geometry


@dataclasses.dataclass(frozen=True)
class Convolution:
    weight: tuple[int, ...]
    x: tuple[int, ...]
    bias: bool
    attributes: dict[str, Any]


@st.composite
def convolutions(draw: st.DrawFn) -> Convolution:
    rank = draw(st.integers(1, 3))
    small = st.lists(st.integers(1, 3), min_size=rank, max_size=rank)
    groups, inside, multiplier = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel, strides, dilations = draw(small), draw(small), draw(small)
    padding = draw(st.sampled_from(["NOTSET", "explicit", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    attributes: dict[str, Any] = {"group": groups, "strides": strides, "auto_pad": padding}
    if padding.startswith("SAME"):
        dilations = [1] * rank  # ONNX Runtime refuses the two together
    elif padding == "explicit":
        attributes["auto_pad"] = "NOTSET"
        attributes["pads"] = draw(st.lists(st.integers(0, 2), min_size=2 * rank, max_size=2 * rank))
    attributes["dilations"] = dilations
    window = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    extent = [w + draw(st.integers(0, 4)) for w in window]
    weight = (groups * multiplier, inside, *kernel)
    return Convolution(weight, (draw(st.integers(1, 2)), groups * inside, *extent), draw(st.booleans()), attributes)


@few
@given(convolutions())
def test_convolution_agrees(case: Convolution) -> None:
    x, weight = normal(*case.x), normal(*case.weight, seed=1)
    bias = normal(case.weight[0], seed=2) if case.bias else None
    assert_agrees(conv(weight, x, bias, **case.attributes), x, 0.0 if bias is None else bias)


@pytest.mark.parametrize("multiplier", [1, 2, 3])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_depthwise_convolution_agrees(rank: int, multiplier: int) -> None:
    x, weight = normal(2, 4, *[6] * rank), normal(4 * multiplier, 1, *[3] * rank)
    model = conv(weight, x, group=4, strides=[2] * rank, pads=[1, 0] * rank)
    layer = only_layer(model)
    assert (layer.groups, layer.rows, layer.columns, layer.blocks) == (4, multiplier, 3**rank, 1)
    assert layer.size == weight.size
    assert_agrees(model, x)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("extent", [5, 6, 7, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 3), (2, 1), (3, 2), (4, 3), (5, 4)])
def test_same_padding_agrees(auto_pad: str, extent: int, kernel: int, stride: int) -> None:
    x, weight = normal(1, 2, extent, extent + 1), normal(3, 2, kernel, kernel)
    assert_agrees(conv(weight, x, auto_pad=auto_pad, strides=[stride, stride]), x)


@pytest.mark.parametrize(
    ("auto_pad", "kernel", "dilation", "pads"),
    [("VALID", 3, 1, (0, 0)), ("SAME_UPPER", 3, 2, (1, 2)), ("SAME_LOWER", 3, 2, (2, 1)), ("SAME_UPPER", 1, 3, (0, 0))],
)
def test_padding_that_onnx_runtime_refuses_follows_the_standard(
    auto_pad: str, kernel: int, dilation: int, pads: tuple[int, int]
) -> None:
    # VALID beside pads, SAME beside dilations: 8 wide, stride 2, so 4 positions under SAME
    geometry = Geometry((kernel,), (2,), (dilation,), (1, 1), auto_pad)
    assert geometry.padding((8,)) == [pads]
    assert geometry.patches(normal(1, 1, 8)).shape == (1, 1, 3 if auto_pad == "VALID" else 4, kernel)


def test_columns_of_a_convolution_are_in_the_weights_own_order() -> None:
    weight = normal(4, 3, 2, 2)
    assert np.array_equal(only_layer(conv(weight, normal(1, 6, 4, 4), group=2)).matrix(), weight.reshape(2, 2, 12))
