"""What a change adds is measured exactly: every kind of layer, float type and opset, and changes outside layers."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from bounded_nets import (
    Net,
    assert_holds,
    bound_of,
    damaged,
    only_output,
    values,
)

from netsurgeon.passes.graph.nodes import set_initializer
from netsurgeon.passes.layers.layer_finder import find_layers


def gemm(net: Net, **attributes: Any) -> str:
    shape = (7, 6) if attributes.get("transB") else (6, 7)
    x = net.add("Transpose", "x", perm=[1, 0]) if attributes.get("transA") else "x"
    return net.add("Gemm", x, net.draw(*shape), net.draw(7), **attributes)


def matmul(net: Net) -> str:
    return net.add("Add", net.draw(7), net.add("MatMul", "x", net.draw(6, 7)))


LAYERS: dict[str, tuple[Callable[[Net], str], tuple[int, ...]]] = {
    "conv": (lambda net: net.conv("x", 4, 3), (5, 3, 7, 6)),
    "conv, strides and padding": (lambda net: net.conv("x", 4, 3, strides=[2, 1], pads=[1, 0, 2, 1]), (5, 3, 7, 6)),
    "conv, dilated": (lambda net: net.conv("x", 4, 3, 2, dilations=[2, 3], pads=[0, 2, 1, 0]), (5, 3, 7, 6)),
    "conv, padded to the same size": (
        lambda net: net.conv("x", 4, 3, strides=[2, 3], auto_pad="SAME_LOWER"),
        (5, 3, 7, 6),
    ),
    "conv, groups": (lambda net: net.conv("x", 6, 4, 3, 2), (5, 4, 7, 6)),
    "conv, depthwise": (lambda net: net.conv("x", 8, 4, 3, 4), (5, 4, 7, 6)),
    "gemm": (lambda net: gemm(net), (5, 6)),
    "gemm, factors": (lambda net: gemm(net, alpha=0.5, beta=-2.0), (5, 6)),
    "gemm, transposed": (lambda net: gemm(net, transA=1, transB=1), (5, 6)),
    "matmul and add": (matmul, (5, 6)),
    "matmul, leading axes": (matmul, (5, 2, 3, 6)),
    "matmul, weight first": (lambda net: net.add("MatMul", net.draw(7, 4), "x"), (5, 4, 3)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_the_layer_error_is_exact(kind: str) -> None:
    build, shape = LAYERS[kind]
    net = Net()
    model = net.model(["N", *shape[1:]], build(net))
    pruned = damaged(model)
    old, new = (find_layers(m.graph)[0][0] for m in (model, pruned))
    x = values(*shape)
    samples = old.samples(x.T if old.node.attributes.get("transA") else x)
    products = [s.astype(np.float64) @ d.T for s, d in zip(samples, new.matrix() - old.matrix(), strict=True)]
    shift = bias_of(new) - bias_of(old) if new.bias_slot() else np.zeros(old.groups * old.rows)
    parts = zip(products, shift.reshape(old.groups, -1), strict=True)
    expected = math.sqrt(sum(float(np.sum((p + b) ** 2)) for p, b in parts) / len(x))
    bound = bound_of(model, pruned, x[:3], x[3:])
    assert [(layer.node, layer.operator) for layer in bound.layers] == [(old.name, old.operator)]
    assert bound.layers[0].error == pytest.approx(expected, rel=1e-5)
    assert only_output(bound).bound == pytest.approx(only_output(bound).measured, rel=1e-4)


def bias_of(layer: Any) -> Any:
    node, index = layer.bias_slot()
    factor = node.attributes["beta"].as_float() if "beta" in node.attributes else 1.0
    return node.inputs[index].const_value.numpy().astype(np.float64) * factor


@pytest.mark.parametrize("operator", ["Conv", "Gemm"])
def test_a_bias_may_have_been_added(operator: str) -> None:
    net = Net()
    weight = net.draw(4, 3, 2, 2) if operator == "Conv" else net.draw(3, 4)
    shape = (3, 4, 4) if operator == "Conv" else (3,)
    model = net.model(["N", *shape], net.add(operator, "x", weight))
    pruned = model.clone()
    find_layers(pruned.graph)[0][0].shift_bias(np.arange(4.0))
    bound = bound_of(model, pruned, values(5, *shape))
    places = 9 if operator == "Conv" else 1
    assert bound.layers[0].error == pytest.approx(math.sqrt(14 * places), rel=1e-6)
    assert_holds(bound)


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_other_float_types(kind: type) -> None:
    net = Net(kind=kind)
    x = net.add("Relu", net.add("Gemm", "x", net.draw(6, 8), net.draw(8)))
    x = net.add("Add", net.add("MatMul", x, net.draw(8, 4)), net.draw(4))
    model = net.model(["N", 6], x)
    # 300² and more overflows float16.
    bound = bound_of(model, damaged(model), (600 * values(9, 6)).astype(kind))
    assert len(bound.layers) == 2
    assert bound.layers[0].error > 300
    assert_holds(bound)


@pytest.mark.parametrize(("opset", "ir_version"), [(7, 3), (9, 3), (11, 6), (13, 7), (17, 8), (21, 10)])
def test_old_and_new_opsets(opset: int, ir_version: int) -> None:
    net = Net()
    x = net.add("AveragePool", net.conv("x", 4, 3), kernel_shape=[2, 2], pads=[1] * 4)
    x = net.add("Gemm", net.add("Flatten", x), net.draw(100, 5), net.draw(5))
    model = net.model(["N", 3, 6, 6], net.add("MatMul", x, net.draw(5, 2)), opset=opset, ir_version=ir_version)
    pruned = model.clone()
    for index in (0, 3, 4):
        node = pruned.graph[index]
        weight = node.inputs[1]
        assert weight is not None
        assert weight.const_value is not None
        weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(0.9), name=weight.name)
    bound = bound_of(model, pruned, values(5, 3, 6, 6))
    assert len(bound.layers) == 3
    assert_holds(bound)


def test_a_change_outside_layers_counts() -> None:
    net = Net()
    parameters = [net.draw(4) for _ in range(3)]
    x = net.add("BatchNormalization", net.conv("x", 4, 3), *parameters, net.constant(np.ones(4)))
    x = net.add("Mul", net.add("Add", net.add("PRelu", x, net.draw(4, 1, 1)), net.draw(4, 1, 1)), net.draw(4, 1, 1))
    model = net.model(["N", 3, 6, 6], net.conv(x, 2, 4))
    pruned = model.clone()
    for node in list(pruned.graph)[1:-1]:
        set_initializer(node, 1, node.inputs[1].const_value.numpy() * np.float32(1.2) + 1, "new")  # type: ignore[union-attr]
    bound = bound_of(model, pruned, values(5, 3, 6, 6))
    assert [layer.operator for layer in bound.layers] == ["BatchNormalization", "PRelu", "Add", "Mul"]
    assert all(layer.error > 0 and layer.norm > 0 for layer in bound.layers)
    assert_holds(bound)
