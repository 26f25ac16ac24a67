"""Operators on several operands and gates: their constants hold on ONNX Runtime, or they say why there is none."""

from collections.abc import Callable

import numpy as np
import pytest
from bounded_nets import (
    FLAT,
    RUNTIME,
    Case,
    Net,
    assert_constant_holds,
    assert_holds,
    bound_of,
    constant_and_norm,
    damaged,
    draw,
    ended,
    only_output,
    values,
    whole,
)

from netsurgeon.passes.graph.nodes import set_initializer
from netsurgeon.pipeline.error_bound.lipschitz.rules import error_after
from netsurgeon.pipeline.error_bound.lipschitz.step import Extents, NoConstantError, Step

CASES = [
    Case("Add", FLAT, (draw(30),), expected=1.0),
    Case("Add", (2, 1, 5), (draw(2, 4, 5),), expected=2.0),
    Case("Sub", FLAT, (draw(30),), place=1, expected=1.0),
    Case("Sum", FLAT, (draw(30), draw(2, 30)), expected=1.0),
    Case("Mean", FLAT, (draw(30), draw(2, 30)), expected=1 / 3),
    Case("Max", FLAT, (draw(30),)),
    Case("Min", (2, 1), (draw(2, 3),), slack=1.8),
    Case("Mul", FLAT, (draw(30),)),
    Case("Mul", (2, 1), (draw(2, 3),), slack=1.8),
    Case("Div", FLAT, (draw(30) + 3,)),
    Case("Where", FLAT, (np.array([[True], [False]]), draw(30)), place=1),
    Case("ScatterND", (4, 3), (whole(0, 2).reshape(2, 1), draw(2, 3))),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_constant_holds_and_is_not_absurd(case: Case) -> None:
    assert_constant_holds(case)


JOINS: dict[str, Callable[[Net, str, str], str]] = {
    **{
        operator: lambda net, a, b, operator=operator: net.add(operator, a, b)  # type: ignore[misc]
        for operator in ("Add", "Sub", "Sum", "Mean", "Max", "Min")
    },
    "Concat": lambda net, a, b: net.add("Concat", a, b, a, axis=0),
    "Where": lambda net, a, b: net.add("Where", net.constant(np.array([True, False, True, False])), a, b),
    "ScatterElements": lambda net, a, b: net.add(
        "ScatterElements", a, net.constant(whole(2, 0, 1, 0).reshape(1, 4)), net.add("ReduceMax", b, axes=[0]), axis=0
    ),
    "Gemm": lambda net, a, b: net.add("Gemm", a, net.draw(4, 4), b, alpha=0.5, beta=-3.0),
    "broadcast": lambda net, a, b: net.add("Add", net.add("ReduceMean", a, axes=[1]), b),
}


@pytest.mark.parametrize("join", JOINS)
def test_several_operands_may_carry_errors(join: str) -> None:
    net = Net()
    joined = JOINS[join](net, *(net.add("Gemm", "x", net.draw(4, 4), net.draw(4)) for _ in range(2)))
    model = net.model(["N", 4], joined, opset=13)
    bound = bound_of(model, damaged(model), values(5, 4))
    assert_holds(bound)
    output = only_output(bound)
    assert output.bound is not None
    assert output.bound < 20 * output.measured


GATES: dict[str, tuple[Callable[[Net], str], float]] = {
    "SiLU": (lambda net: net.add("Sigmoid", "x"), 1.1),
    "Mish": (lambda net: net.add("Tanh", net.add("Softplus", "x")), 1.09),
    "HardSwish": (lambda net: net.add("HardSigmoid", "x", alpha=1 / 6, beta=0.5), 1.5),
    "steep HardSigmoid": (lambda net: net.add("HardSigmoid", "x", alpha=0.4, beta=-0.7), 2.7),
    "shifted Clip": (
        lambda net: net.add("Clip", net.add("Add", "x", net.constant(3.0)), net.constant(0.0), net.constant(6.0)),
        9.0,
    ),
}


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("gate_first", [False, True])
def test_a_gate_on_its_own_operand_is_an_activation(kind: str, gate_first: bool) -> None:
    build, expected = GATES[kind]
    net = Net()
    gate = build(net)
    model = net.model([4001], net.add("Mul", *((gate, "x") if gate_first else ("x", gate))))
    node = model.graph[-1]
    constant = error_after(Step(node, (1.0, 1.0), Extents({})))
    assert constant == pytest.approx(expected)
    x = np.linspace(-10, 10, 4001).astype(np.float32)
    y = RUNTIME.session(model).run({"x": x})[node.outputs[0].name or ""]
    steepest = float(np.abs(np.diff(y.astype(np.float64)) / np.diff(x.astype(np.float64))).max())
    assert steepest <= constant * 1.005
    assert constant <= steepest * 1.02


def test_a_gate_with_a_compressed_constant_is_no_known_activation() -> None:
    net = Net()
    x = net.add("Gemm", "x", net.draw(4, 4), net.draw(4))
    shifted = net.add("Add", x, net.constant(3.0))
    gate = net.add("Clip", shifted, net.constant(0.0), net.constant(6.0))
    model = net.model(["N", 4], net.add("Mul", x, gate))
    assert_holds(bound_of(model, damaged(model), values(5, 4)))
    pruned = damaged(model)
    set_initializer(pruned.graph[1], 1, np.array(2.0, np.float32), "shift")
    assert "product of two activations" in str(only_output(bound_of(model, pruned, values(5, 4))).ends_at)


def test_it_ends_at_a_product_of_activations() -> None:
    net = Net()
    first, second = (net.add("Gemm", "x", net.draw(4, 4), net.draw(4)) for _ in range(2))
    stop = net.add("Mul", first, second)
    assert ended(net, stop, ["N", 4], values(5, 4)).ends_at == f"{stop} (Mul): it is a product of two activations"


def test_it_ends_at_a_factor_that_is_computed() -> None:
    net = Net()
    x = net.add("Gemm", "x", net.draw(4, 4), net.draw(4))
    stop = net.add("Mul", x, "x")
    assert "computed while the model runs" in str(ended(net, stop, ["N", 4], values(5, 4)).ends_at)


@pytest.mark.parametrize(
    "case",
    [
        Case("Div", FLAT, (draw(30),), place=1),
        Case("Div", FLAT, (np.zeros(30, np.float32),)),
    ],
    ids=str,
)
def test_operators_without_a_constant_say_so(case: Case) -> None:
    with pytest.raises(NoConstantError, match=r"\w"):
        constant_and_norm(case)
