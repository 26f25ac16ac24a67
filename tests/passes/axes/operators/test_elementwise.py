"""Elementwise operators, reductions and pooling: the trimmed model is the masked one, and what is refused."""

from functools import partial
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper
from trimming_networks import Case, Family, Net, X, add_case, check_case, check_refusal

from netsurgeon.passes.axes import DECLARATIONS

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


@case(8)
def scaled_by_one_number(net: Net) -> Any:
    return net.conv(net.op("Mul", net.conv(X, 4, 8), net.const(0.5, np.float32)), 8, 3)


@case(8)
def mean_of_three(net: Net) -> Any:
    return net.conv(net.op("Mean", *(net.conv(X, 4, 8) for _ in range(3))), 8, 3)


@case(8)
def reduced_axes_that_are_kept(net: Net) -> Any:
    return net.conv(net.op("ReduceMean", net.conv(X, 4, 8), axes=[-1, -2]), 8, 3)


@case(8, opset=18)
def reduction_over_no_axis(net: Net) -> Any:
    return net.conv(net.op("ReduceSum", net.conv(X, 4, 8), net.const([]), noop_with_empty_axes=1), 8, 3)


@case(8)
def softmax_over_space(net: Net) -> Any:
    return net.conv(net.op("Softmax", net.conv(X, 4, 8), axis=-1), 8, 3)


@case(8, opset=11)
def old_softmax_over_all_of_space(net: Net) -> Any:
    return net.conv(net.op("LogSoftmax", net.conv(X, 4, 8), axis=2), 8, 3)


@case(8)
def largest_along_a_row(net: Net) -> Any:
    return net.conv(net.op("TopK", net.conv(X, 4, 8), net.const([3]), axis=-1, outputs=2)[0], 8, 3)


@case(8)
def sums_along_a_row(net: Net) -> Any:
    return net.conv(net.op("CumSum", net.conv(X, 4, 8), net.const(-1)), 8, 3)


@case(8)
def lp_pooling(net: Net) -> Any:
    pooled = net.op("LpPool", net.conv(X, 4, 8), kernel_shape=[2, 2], strides=[2, 2])
    return net.conv(net.op("AveragePool", pooled, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), 8, 3)


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


def refuse_arg_max(net: Net) -> Any:
    hidden = net.conv(X, 4, 8)
    return net.conv(hidden, 8, 3), net.op("ArgMax", hidden, axis=1)


def refuse_top_k(net: Net) -> Any:
    return net.conv(net.op("TopK", net.conv(X, 4, 8), net.const([3]), axis=1, outputs=2)[0], 3, 3)


def refuse_local_response(net: Net) -> Any:
    return net.conv(net.op("LRN", net.conv(X, 4, 8), size=3), 8, 3)


def refuse_cumulative_sum(net: Net) -> Any:
    return net.conv(net.op("CumSum", net.conv(X, 4, 8), net.const(1)), 8, 3)


def refuse_lp_normalization(net: Net) -> Any:
    return net.conv(net.op("LpNormalization", net.conv(X, 4, 8), axis=1), 8, 3)


def refuse_mean_variance(net: Net) -> Any:
    return net.conv(net.op("MeanVarianceNormalization", net.conv(X, 4, 8), axes=[1, 2, 3]), 8, 3)


@pytest.mark.parametrize(
    ("build", "operator", "reason"),
    [
        (refuse_reduction, "ReduceMax", "reduces over the axis"),
        (refuse_softmax, "Softmax", "normalises over the axis"),
        (refuse_second_output, "MaxPool", "indices run over channels"),
        (refuse_arg_max, "ArgMax", "reduces over the axis"),
        (refuse_top_k, "TopK", "ranks along the axis"),
        (refuse_local_response, "LRN", "normalises over neighbouring channels"),
        (refuse_cumulative_sum, "CumSum", "sums up along the axis"),
        (refuse_lp_normalization, "LpNormalization", "normalises over the axis"),
        (refuse_mean_variance, "MeanVarianceNormalization", "normalises over it"),
    ],
)
def test_what_is_not_followed_is_frozen(build: Family, operator: str, reason: str) -> None:
    check_refusal(build, operator, reason)


# ------------------------------------------------------------------------------------------------ zeros
def output_on_zeros(kind: str) -> np.ndarray:
    """What ONNX Runtime gives for zeros that enter an operator of one input."""
    attributes: dict[str, Any] = {"to": onnx.TensorProto.FLOAT} if kind == "Cast" else {}
    node = helper.make_node(kind, ["x"], ["y"], **attributes)
    tensors = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 3])], [onnx.ValueInfoProto(name="y")]
    opset = {"Swish": 24}.get(kind, 20)
    model = helper.make_model(
        helper.make_graph([node], "one", *tensors), opset_imports=[helper.make_opsetid("", opset)], ir_version=8
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": np.zeros((2, 3), np.float32)})[0])


def declared_like(kind: str) -> list[str]:
    """All operators with the declaration of this one."""
    declaration = DECLARATIONS[kind].declare
    return [name for name, other in DECLARATIONS.items() if other.declare is declaration and onnx.defs.has(name)]


@pytest.mark.parametrize("kind", declared_like("Relu"))
def test_what_is_declared_to_keep_zeros_keeps_them(kind: str) -> None:
    assert DECLARATIONS[kind].zero == "first"
    assert not output_on_zeros(kind).any()


@pytest.mark.parametrize("kind", ["Sigmoid", "Softplus", "Exp", "Cos"])
def test_what_makes_something_of_zeros_is_not_declared_to_keep_them(kind: str) -> None:
    assert DECLARATIONS[kind].zero is None
    assert output_on_zeros(kind).all()
