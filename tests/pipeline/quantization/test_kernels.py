"""What ONNX Runtime runs each layer's integers as, read from the graph that it makes, and how right that is."""

import numpy as np
import pytest
from quantized_models import RUNTIME, conv_net, normal, on_integers, pictures

from netsurgeon.passes.layers import find_layers
from netsurgeon.pipeline.quantization.kernels import errors_of_integers, integer_kernels, kernel_errors, unfused


def test_layers_on_integers_have_integer_kernels_and_those_on_floats_none() -> None:
    model = conv_net()
    names = [layer.name for layer in find_layers(model.graph)[0]]
    integers = on_integers(model, pictures())
    kernels = integer_kernels(integers.model, RUNTIME)
    assert kernels.keys() <= set(names)
    assert kernels["first"] == "QLinearConv"
    assert integer_kernels(model, RUNTIME) == {}


def test_where_integers_are_not_fused_that_is_the_reason() -> None:
    integers = on_integers(conv_net(), pictures()).model
    as_written = RUNTIME.on_floats()
    assert unfused(integers, ["first"], RUNTIME) == {}
    assert unfused(integers, ["first"], as_written) == {
        "first": "ONNX Runtime makes floats of its integers while the model runs"
    }


def test_kernels_are_compared_with_the_model_in_float_arithmetic() -> None:
    model = conv_net()
    feed = {"x": pictures()}
    errors = errors_of_integers(model, on_integers(model, pictures()).model, feed, RUNTIME)
    assert errors.are_right
    assert 0.0 < errors.difference < errors.on_kernels < errors.allowed


def test_no_number_is_an_error_in_any_output_and_masked_ones_are_none() -> None:
    ones, masked, wrong = np.ones(4), np.array([-np.inf, 1.0, np.nan, 2.0]), np.full(4, np.nan)
    right = {"first": ones, "second": masked}
    errors = kernel_errors(right, right, right)
    assert (errors.difference, errors.on_kernels, errors.are_right) == (0.0, 0.0, True)
    for outputs in (
        {"first": wrong, "second": masked},
        {"first": ones, "second": wrong},
        {"first": ones[:2], "second": masked},
    ):
        assert not kernel_errors(right, outputs, right).are_right


def test_saturating_kernels_are_noticed_and_those_that_round_elsewhere_are_not() -> None:
    """In a deep network, rounding elsewhere is an error as large as that of the integers, but another one."""
    dense, integers, elsewhere = (normal(1000, seed=seed) * size for seed, size in ((0, 1.0), (1, 0.01), (2, 0.01)))
    in_floats, outputs = {"y": dense + integers}, {"y": dense}
    rounded = kernel_errors(in_floats, {"y": dense + integers + elsewhere}, outputs)
    assert rounded.are_right
    assert rounded.difference == pytest.approx(0.01, rel=0.1)
    assert rounded.on_kernels == pytest.approx(0.014, rel=0.1)
    assert not kernel_errors(in_floats, {"y": np.clip(dense + integers, -1.9, 1.9)}, outputs).are_right
    assert not kernel_errors(in_floats, {"y": np.full_like(dense, np.nan)}, outputs).are_right
