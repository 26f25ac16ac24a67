"""One factor of a product becomes zero: which constants do that, checked on the values that ONNX Runtime computes."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from trimming_networks import Net, X, analysed

from netsurgeon.passes.trimming.mask_units import MaskUnits
from netsurgeon.pipeline.runtime.observations import tapped
from netsurgeon.pipeline.runtime.session import Runtime

Factor = Callable[[Net], str]
UNIT = 3


def plain(net: Net) -> str:
    return net.dense(X, 6, 8)


def behind_relu(net: Net) -> str:
    return str(net.op("Relu", net.dense(X, 6, 8)))


def behind_sigmoid(net: Net) -> str:
    return str(net.op("Sigmoid", net.dense(X, 6, 8)))


def gated(net: Net) -> str:
    return str(net.op("Mul", behind_sigmoid(net), net.dense(X, 6, 8)))


def gated_twice(net: Net) -> str:
    return str(net.op("Mul", behind_sigmoid(net), behind_sigmoid(net)))


def sum_of_two(net: Net) -> str:
    return str(net.op("Add", net.dense(X, 6, 8), behind_relu(net)))


def sum_with_what_cannot_be_zero(net: Net) -> str:
    return str(net.op("Add", net.dense(X, 6, 8), behind_sigmoid(net)))


def plus_nothing(net: Net) -> str:
    return str(net.op("Add", net.dense(X, 6, 8), net.const(0.0, np.float32)))


def plus_one(net: Net) -> str:
    return str(net.op("Add", net.dense(X, 6, 8), net.const(1.0, np.float32)))


def divided(net: Net) -> str:
    return str(net.op("Div", net.dense(X, 6, 8), net.const(2.0, np.float32)))


def concatenated(net: Net) -> str:
    return str(net.op("Concat", net.dense(X, 6, 5), behind_sigmoid_of(net, 3), axis=2))


def behind_sigmoid_of(net: Net, width: int) -> str:
    return str(net.op("Sigmoid", net.dense(X, 6, width)))


def gemm(net: Net) -> str:
    rows = net.op("Reshape", X, net.const([-1, 6]))
    return str(net.op("Reshape", net.op("Gemm", rows, net.weight(6, 8), net.weight(8)), net.const([-1, 5, 8])))


def gemm_plus_another(net: Net) -> str:
    """What it adds is no constant, so that its own weight cannot make it zero."""
    rows = net.op("Reshape", X, net.const([-1, 6]))
    added = net.op("Reshape", behind_sigmoid(net), net.const([-1, 8]))
    return str(net.op("Reshape", net.op("Gemm", rows, net.weight(6, 8), added), net.const([-1, 5, 8])))


def product_of(net: Net, left: Factor, right: Factor) -> tuple[str, str, str]:
    """The scores of two factors (2, 5, 8), summed over their last axis."""
    one, other = left(net), right(net)
    return one, other, net.op("MatMul", one, net.op("Transpose", other, perm=[0, 2, 1]))


def values_of(model: ir.Model, name: str, net: Net) -> np.ndarray:
    return np.asarray(Runtime().session(tapped(model, [name]), optimise=False).run(net.feed, [name])[name])


@pytest.mark.parametrize(
    ("left", "right", "side"),
    [
        (plain, plain, 0),
        (gemm, plain, 0),
        (behind_relu, behind_sigmoid, 0),
        (behind_sigmoid, behind_relu, 1),
        (gated, behind_sigmoid, 0),
        (gated_twice, plain, 1),
        (sum_of_two, behind_sigmoid, 0),
        (sum_with_what_cannot_be_zero, plain, 1),
        (plus_nothing, behind_sigmoid, 0),
        (plus_one, plain, 1),
        (divided, behind_sigmoid, 0),
        (concatenated, behind_sigmoid, 0),
        (gemm_plus_another, plain, 1),
    ],
)
def test_one_factor_is_zero_where_the_unit_is_masked_and_nowhere_else(left: Factor, right: Factor, side: int) -> None:
    net = Net(2, 5, 6)
    *factors, scores = product_of(net, left, right)
    model, dependencies = analysed(net, scores)
    unit = next(unit for unit in dependencies.units if unit.products and UNIT in unit.products[0].indices)
    masked = model.clone()
    MaskUnits([unit])(masked)
    before, after = (values_of(graph, factors[side], net) for graph in (model, masked))
    assert before[..., UNIT].any()
    assert not after[..., UNIT].any()
    others = np.arange(8) != UNIT
    np.testing.assert_array_equal(after[..., others], before[..., others])
    np.testing.assert_array_equal(values_of(masked, factors[1 - side], net), values_of(model, factors[1 - side], net))


@pytest.mark.parametrize("left", [behind_sigmoid, gated_twice, sum_with_what_cannot_be_zero, plus_one])
def test_where_neither_factor_can_be_zero_the_units_stay(left: Factor) -> None:
    net = Net(2, 5, 6)
    *_, scores = product_of(net, left, behind_sigmoid)
    _, dependencies = analysed(net, scores)
    assert not any(unit.products for unit in dependencies.units)
    assert "neither factor can be made zero" in {entry.reason for entry in dependencies.frozen}


def test_of_a_factor_some_of_which_can_be_zero_the_rest_stays() -> None:
    net = Net(2, 5, 6)
    *_, scores = product_of(net, concatenated, behind_sigmoid)
    _, dependencies = analysed(net, scores)
    summed = sorted(int(index) for unit in dependencies.units for term in unit.products for index in term.indices)
    assert summed == [0, 1, 2, 3, 4]


def test_what_an_attempt_has_collected_in_vain_is_not_zeroed() -> None:
    """The first operand is a sum of which one part cannot be zero; the second one can."""
    net = Net(2, 5, 6)
    gate = sum_with_what_cannot_be_zero(net)
    gated_by_it = net.op("Mul", gate, net.op("Relu", net.op("MatMul", X, net.weight(6, 8))))
    other = net.op("Transpose", behind_sigmoid(net), perm=[0, 2, 1])
    _, dependencies = analysed(net, net.op("MatMul", gated_by_it, other))
    (part,) = dependencies.units[UNIT].zeroed
    assert (part.node, part.axis, part.indices.tolist()) == ("MatMul6", 1, [UNIT])
