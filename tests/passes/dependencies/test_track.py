"""The walk over a graph: what no declaration follows is frozen, with its operator and a reason."""

from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from trimming_networks import Case, Family, Net, X, add_case, analysed, check_case, check_refusal

CASES: dict[str, Case] = {}
case = partial(add_case, CASES)


def refuse_output(net: Net) -> Any:
    return net.conv(X, 4, 8)


def refuse_unknown(net: Net) -> Any:
    return net.conv(net.op("GroupNormalization", net.conv(X, 4, 8), net.weight(2), net.weight(2), num_groups=2), 8, 3)


def refuse_size(net: Net) -> Any:
    hidden = net.conv(X, 4, 8)
    size = net.op("Cast", net.op("Gather", net.op("Shape", hidden), net.const(1)), to=onnx.TensorProto.FLOAT)
    return net.conv(net.op("Div", hidden, net.op("Sqrt", size)), 8, 3)


def refuse_size_output(net: Net) -> Any:
    hidden = net.conv(X, 4, 8)
    return net.conv(hidden, 8, 3), net.op("Shape", hidden)


def refuse_captured(net: Net) -> Any:
    hidden = net.conv(X, 4, 8)
    body = [
        helper.make_graph(
            [helper.make_node(kind, [hidden], [f"inner_{kind}"])], kind, [], [onnx.ValueInfoProto(name=f"inner_{kind}")]
        )
        for kind in ("Relu", "Exp")
    ]
    condition = net.op("Greater", net.op("ReduceSum", X, keepdims=0), net.const(0.0, np.float32))
    branch = net.op("If", condition, then_branch=body[0], else_branch=body[1])
    return net.conv(branch, 8, 3)


@pytest.mark.parametrize(
    ("build", "operator", "reason"),
    [
        (refuse_output, "output", "output of the model"),
        (refuse_unknown, "GroupNormalization", "does not declare"),
        (refuse_size, "Sqrt", "computes with the size"),
        (refuse_size_output, "output", "output of the model"),
        (refuse_captured, "If", "has a body"),
    ],
)
def test_what_is_not_followed_is_frozen(build: Family, operator: str, reason: str) -> None:
    check_refusal(build, operator, reason)


# ------------------------------------------------------------------------------------------------ sizes
@case(8)
def reshape_to_a_product_of_sizes(net: Net) -> Any:
    """Arithmetic keeps the axes whose sizes it computes with, and no others."""
    hidden = net.conv(X, 4, 8)
    sizes = net.op("Shape", hidden)
    batch, height, width = (net.op("Gather", sizes, net.const([at])) for at in (0, 2, 3))
    target = net.op("Concat", batch, net.const([8]), net.op("Mul", height, width), axis=0)
    return net.dense(net.op("Transpose", net.op("Reshape", hidden, target), perm=[0, 2, 1]), 8, 3)


@case(8)
def reshape_to_a_part_of_a_shape(net: Net) -> Any:
    hidden = net.conv(X, 4, 8)
    kept_sizes = net.op("Shape", hidden, start=0, end=2)
    target = net.op("Concat", net.op("Cast", kept_sizes, to=onnx.TensorProto.INT64), net.const([36]), axis=0)
    back = net.op("Reshape", net.op("Reshape", hidden, target), net.op("Shape", hidden))
    return net.conv(back, 8, 3)


@case(8)
def sizes_in_another_order(net: Net) -> Any:
    hidden = net.conv(X, 4, 8)
    turned = net.op("Gather", net.op("Shape", hidden), net.const([3, 2, 1, 0]))
    ones = net.op("Transpose", net.op("ConstantOfShape", turned), perm=[3, 2, 1, 0])
    return net.conv(net.op("Add", hidden, ones), 8, 3)


def _expanded(net: Net, stays: int) -> Any:
    """To the size of another value, but for axes whose size is `stays`: so does PyTorch's tracing exporter."""
    hidden = net.conv(X, 4, 8)
    sizes = net.op("Shape", hidden)
    target = net.op("Concat", *(net.op("Gather", sizes, net.const([at])) for at in range(4)), axis=0)
    ones = net.op("ConstantOfShape", net.op("Shape", target), value=numpy_helper.from_array(np.ones(1, np.int64)))
    never = net.op("Equal", target, net.op("Mul", ones, net.const(stays)))
    pooled = net.op("GlobalAveragePool", net.conv(X, 4, 8))
    return net.conv(net.op("Add", hidden, net.op("Expand", pooled, net.op("Where", never, ones, target))), 8, 3)


@case(8)
def expand_to_sizes_of_which_none_is_negative(net: Net) -> Any:
    return _expanded(net, -1)


def test_sizes_that_are_compared_with_possible_ones_stay() -> None:
    net = Net(2, 4, 6, 6)
    _, dependencies = analysed(net, _expanded(net, 7))
    assert not dependencies.units
    assert "it computes with the size" in {entry.reason for entry in dependencies.frozen}


@pytest.mark.parametrize("name", CASES)
def test_sizes_follow_the_units_that_go(name: str, trim: Any) -> None:
    check_case(CASES[name], trim)


# ------------------------------------------------------------------------------------------------ the ends of the graph
def test_channels_of_an_input_stay_with_what_is_as_wide() -> None:
    net = Net(2, 4, 6, 6)
    _, dependencies = analysed(net, net.conv(net.op("Mul", X, net.weight(1, 4, 1, 1)), 4, 3))
    frozen = {(entry.axis, entry.operator, entry.reason) for entry in dependencies.frozen if entry.node == ""}
    assert (1, "input", "it is an input of the model") in frozen
    assert not dependencies.units


def test_columns_of_a_weight_that_is_grouped_elsewhere_stay(trim: Any) -> None:
    net = Net(2, 4, 6, 6)
    shared = net.weight(8, 4, 1, 1)
    first = net.op("Conv", net.conv(X, 4, 4), shared)
    grouped = net.op("Conv", net.op("Relu", net.conv(X, 4, 8)), shared, group=2)
    trimming = trim(net.build(net.conv(net.op("Concat", first, grouped, axis=1), 16, 3)), net.feed)
    assert trimming.proof.holds, str(trimming.proof)
    readers = {consumer.node for unit in trimming.found.units for consumer in unit.consumers}
    assert readers == {"Conv6"}
    assert "its weight is shared by other groups" in {reason.text for reason in trimming.found.tracks.reasons}


def test_units_of_a_weight_that_two_layers_share_are_the_same() -> None:
    net = Net(2, 4, 6, 6)
    shared = net.weight(8, 4, 1, 1)
    one, other = net.op("Conv", X, shared), net.op("Conv", net.op("Neg", X), shared)
    _, dependencies = analysed(net, net.op("Add", net.conv(one, 8, 3), net.conv(other, 8, 3)))
    assert [len(group.units) for group in dependencies.groups] == [8]
    assert {part.node for part in dependencies.units[0].parts} == {"Conv0", "Conv2"}
