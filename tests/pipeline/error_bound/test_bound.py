"""The bound holds, its parts are exact, every constant is proven on ONNX Runtime, and where it ends it says so."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from netsurgeon.passes.graph.nodes import set_initializer
from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.pipeline.error_bound.bound import Bound, OutputBound, measure_bound
from netsurgeon.pipeline.error_bound.lipschitz import rules
from netsurgeon.pipeline.error_bound.lipschitz.linear import spectral_norm
from netsurgeon.pipeline.error_bound.lipschitz.rules import error_after
from netsurgeon.pipeline.error_bound.lipschitz.step import Extents, NoConstantError, Step
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.runtime.session import Runtime

RUNTIME = Runtime()
ROUNDING = 1 + 1e-4


class Net:
    """A graph under construction; every node is named after its output."""

    def __init__(self, seed: int = 0, kind: type = np.float32):
        self.rng = np.random.default_rng(seed)
        self.kind = kind
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, array: Any) -> str:
        array = np.asarray(array)
        name = f"c{len(self.constants)}"
        floating = array.dtype.kind == "f"
        self.constants.append(numpy_helper.from_array(array.astype(self.kind) if floating else array, name))
        return name

    def draw(self, *shape: int) -> str:
        return self.constant(self.rng.standard_normal(shape) / math.sqrt(max(math.prod(shape[1:]), 1)))

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        name = f"n{len(self.nodes)}"
        names = [name, *(f"{name}_{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(operator, inputs, names, name, **attributes))
        return name

    def conv(self, x: str, rows: int, columns: int, kernel: int = 3, group: int = 1, **attributes: Any) -> str:
        weight = self.draw(rows, columns // group, kernel, kernel)
        return self.add("Conv", x, weight, self.draw(rows), group=group, **attributes)

    def model(self, shape: Sequence[int | str | None], *outputs: str, opset: int = 18, ir_version: int = 8) -> ir.Model:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.kind))
        inputs = [helper.make_tensor_value_info("x", kind, shape)]
        if ir_version < 4:
            inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in self.constants]
        made = [onnx.ValueInfoProto(name=name) for name in outputs]
        graph = helper.make_graph(self.nodes, "net", inputs, made, self.constants)
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
        for value, inferred in zip(graph.output, onnx.shape_inference.infer_shapes(proto).graph.output, strict=True):
            value.CopyFrom(inferred)
        return ir.from_proto(helper.make_model(graph, opset_imports=proto.opset_import, ir_version=ir_version))


def damaged(model: ir.Model, amount: float = 0.3, seed: int = 1, only: Sequence[str] = ()) -> ir.Model:
    """A copy whose layers lost small weights and whose other weights and biases moved."""
    copy, rng = model.clone(), np.random.default_rng(seed)
    for layer in find_layers(copy.graph)[0]:
        if only and layer.name not in only:
            continue
        matrix = layer.matrix()
        moved = matrix * (1 + amount * rng.standard_normal(matrix.shape))
        layer.write(np.where(np.abs(matrix) < np.quantile(np.abs(matrix), amount), 0.0, moved))
        if layer.bias_slot() is not None:
            layer.shift_bias(amount * rng.standard_normal(layer.groups * layer.rows))
    return copy


def bound_of(dense: ir.Model, pruned: ir.Model, *xs: Any) -> Bound:
    return measure_bound(dense, pruned, ({"x": x} for x in xs), sum(len(x) for x in xs), RUNTIME)


def only_output(bound: Bound) -> OutputBound:
    (output,) = bound.outputs
    return output


def assert_holds(bound: Bound) -> None:
    assert bound.outputs
    for output in bound.outputs:
        assert output.bound is not None, output.ends_at
        assert output.measured <= output.bound * ROUNDING


def values(*shape: int, seed: int = 3) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# ---------------------------------------------------------------- the bound holds
def random_net(seed: int) -> ir.Model:
    """A random stack of everything that has a constant, with branches, and two outputs."""
    net = Net(seed)
    x, width = net.conv("x", 4, 3, pads=[1] * 4), 4
    blocks: list[Callable[[str, int], str]] = [
        lambda x, c: net.conv(x, c, c, 3, int(net.rng.choice([1, c])), pads=[1] * 4),
        lambda x, c: net.conv(x, c, c, 3, 2, pads=[2] * 4, dilations=[2, 2]),
        lambda x, c: net.add("Add", x, net.add("Relu", net.conv(x, c, c, pads=[1] * 4))),
        lambda x, c: net.add("MaxPool", x, kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4),
        lambda x, c: net.add("AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4),
        lambda x, c: net.add("LeakyRelu", x, alpha=1.7),
        lambda x, c: net.add("Mul", x, net.add("Sigmoid", x)),
        lambda x, c: net.add(
            "BatchNormalization", x, net.draw(c), net.draw(c), net.draw(c), net.constant(net.rng.uniform(0.5, 2, c))
        ),
        lambda x, c: net.add("Sub", x, net.add("GlobalAveragePool", x)),
        lambda x, c: net.add("PRelu", x, net.draw(c, 1, 1)),
    ]
    for choice in net.rng.integers(len(blocks), size=5):
        x = blocks[choice](x, width)
    x = net.add("Concat", x, net.conv(x, 2, width, pads=[1] * 4), axis=1)
    side = net.add("Flatten", net.add("GlobalAveragePool", x))
    x = net.conv(x, 6, width + 2, strides=[2, 2])
    x = net.add("Relu", net.add("Gemm", net.add("Flatten", x), net.draw(54, 8), net.draw(8), alpha=0.7, beta=1.3))
    x = net.add("Add", net.add("MatMul", x, net.draw(8, 5)), net.draw(5))
    return net.model(["N", 3, 8, 8], net.add("Softmax", x), side)


@settings(max_examples=25, derandomize=True)
@given(st.integers(0, 10_000), st.sampled_from([0.01, 0.3, 0.8]))
def test_the_bound_holds_on_random_nets(seed: int, amount: float) -> None:
    model = random_net(seed)
    bound = bound_of(
        model, damaged(model, amount, seed), values(5, 3, 8, 8, seed=seed), values(2, 3, 8, 8, seed=seed + 1)
    )
    assert bound.samples == 7
    assert [layer.node for layer in bound.layers] == [layer.name for layer in find_layers(model.graph)[0]]
    assert_holds(bound)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_measured_error_where_only_the_last_layer_changed(seed: int) -> None:
    model = random_net(seed)
    last = model.clone()
    del last.graph.outputs[:]
    last.graph.outputs.append(find_layers(last.graph)[0][-1].bias_add.outputs[0])  # type: ignore[union-attr]
    name = find_layers(last.graph)[0][-1].name
    output = only_output(bound_of(last, damaged(last, only=[name]), values(6, 3, 8, 8)))
    assert output.bound == pytest.approx(output.measured, rel=1e-4)
    assert output.measured > 0.01


def test_identical_models_have_no_error() -> None:
    model = random_net(0)
    bound = bound_of(model, model.clone(), values(3, 3, 8, 8))
    assert bound.layers == ()
    assert [(o.bound, o.measured, o.ends_at) for o in bound.outputs] == [(0.0, 0.0, None)] * 2


def test_the_models_are_not_changed() -> None:
    model = random_net(0)
    pruned = damaged(model)
    texts = [ir.to_proto(m).SerializeToString() for m in (model, pruned)]
    bound_of(model, pruned, values(2, 3, 8, 8))
    assert texts == [ir.to_proto(m).SerializeToString() for m in (model, pruned)]


def test_the_frobenius_norm_of_the_kernel_is_not_a_bound() -> None:
    """Two 3 × 3 convolutions of ones: on a constant error the second one's norm tends to 9, its Frobenius norm is 3."""
    net = Net()
    first = net.add("Conv", "x", net.constant(np.ones((1, 1, 1, 1))))
    model = net.model(["N", 1, 30, 30], net.add("Conv", first, net.constant(np.ones((1, 1, 3, 3)))))
    pruned = model.clone()
    layer = find_layers(pruned.graph)[0][0]
    layer.write(layer.matrix() * 0.5)
    bound = bound_of(model, pruned, np.ones((1, 1, 30, 30), np.float32))
    frobenius = 3 * bound.layers[0].error
    assert only_output(bound).measured > 2.7 * frobenius
    assert_holds(bound)


# ---------------------------------------------------------------- the layer errors are exact
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


# ---------------------------------------------------------------- the constants
@dataclasses.dataclass(frozen=True)
class Case:
    """An operator on one erroneous operand; `slack`: how far above the norm found the constant may lie."""

    operator: str
    shape: tuple[int, ...]
    constants: tuple[Any, ...] = ()
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)
    slack: float = 1.05
    opset: int = 20
    place: int = 0
    expected: float | None = None

    def __str__(self) -> str:
        return "-".join([self.operator, *(f"{k}={v}" for k, v in self.attributes.items()), str(self.opset)])


def draw(*shape: int) -> Any:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


def whole(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


FLAT, PICTURE = (2, 30), (1, 2, 6, 5)
CASES = [
    *(Case(operator, FLAT) for operator in ("Relu", "Tanh", "Abs", "Neg", "Sin", "Cos", "Atan", "Asinh", "Softplus")),
    *(Case(operator, FLAT) for operator in ("Softsign", "Sigmoid", "Erf", "HardSwish", "Mish", "Selu", "Celu")),
    Case("Sigmoid", FLAT, expected=0.25),
    Case("HardSwish", FLAT, expected=1.5),
    Case("Gelu", FLAT, expected=1.13),
    Case("Gelu", FLAT, attributes={"approximate": "tanh"}),
    Case("LeakyRelu", FLAT, attributes={"alpha": 0.2}, expected=1.0),
    Case("LeakyRelu", FLAT, attributes={"alpha": -3.0}, expected=3.0),
    Case("PRelu", FLAT, (draw(30) * 2,)),
    Case("Elu", FLAT, attributes={"alpha": 2.5}, slack=1.2, expected=2.5),
    Case("Elu", FLAT, expected=1.0),
    Case("HardSigmoid", FLAT, attributes={"alpha": 0.7}, expected=0.7),
    Case("Clip", FLAT, (np.float32(-0.5), np.float32(1.5)), expected=1.0),
    Case("Softmax", FLAT, slack=50.0, expected=1.0),
    Case("LogSoftmax", (2, 5), slack=1.3),
    Case("LogSoftmax", (2, 5, 3), opset=11, slack=3.0),
    Case("Identity", FLAT),
    Case("Dropout", FLAT),
    Case("Cast", FLAT, attributes={"to": TensorProto.DOUBLE}),
    Case("Flatten", PICTURE),
    Case("Reshape", FLAT, (whole(3, 20),)),
    Case("Transpose", PICTURE),
    Case("Unsqueeze", FLAT, (whole(1),)),
    Case("Squeeze", (1, 7), (whole(0),)),
    Case("Slice", FLAT, (whole(1), whole(20), whole(1), whole(3))),
    Case("DepthToSpace", (1, 4, 2, 2), attributes={"blocksize": 2}),
    Case("SpaceToDepth", (1, 1, 4, 4), attributes={"blocksize": 2}),
    Case("Split", (2, 6), attributes={"axis": 1, "num_outputs": 1}),
    Case("Trilu", (5, 5)),
    Case("TopK", FLAT, (whole(4),)),
    *(Case(operator, (3, 8), (whole(1),)) for operator in ("ReduceMean", "ReduceSum", "ReduceL1", "ReduceMax")),
    *(Case(operator, (3, 8), (whole(1),)) for operator in ("ReduceMin", "ReduceL2")),
    Case("ReduceLogSumExp", (3, 8), (whole(1),), slack=4.0),
    Case("ReduceMean", (3, 8), attributes={"axes": [0]}, opset=13, expected=1 / math.sqrt(3)),
    Case("GlobalAveragePool", PICTURE, expected=1 / math.sqrt(30)),
    Case("GlobalMaxPool", PICTURE),
    Case("MaxPool", PICTURE, attributes={"kernel_shape": [2, 2], "strides": [2, 2]}, expected=1.0),
    Case("MaxPool", (1, 1, 6, 6), attributes={"kernel_shape": [3, 3], "strides": [2, 2]}, slack=1.5, expected=2.0),
    Case("MaxPool", (1, 1, 6, 6), attributes={"kernel_shape": [3, 3], "strides": [1, 1]}, slack=1.2, expected=3.0),
    # Stride and dilation share a factor: an input lies in all three windows of its row, not in ⌈3 / 2⌉.
    Case("MaxPool", (1, 1, 11), attributes={"kernel_shape": [3], "strides": [2], "dilations": [2]}, expected=3**0.5),
    Case("AveragePool", PICTURE, attributes={"kernel_shape": [3, 2], "strides": [3, 2]}, expected=1 / math.sqrt(6)),
    Case("AveragePool", PICTURE, attributes={"kernel_shape": [3, 2]}, slack=1.6),
    Case("AveragePool", PICTURE, attributes={"kernel_shape": [6, 5]}, expected=1 / math.sqrt(30)),
    Case("AveragePool", (1, 1, 5), attributes={"kernel_shape": [3], "pads": [1, 1]}, slack=1.3),
    Case("AveragePool", (1, 1, 5), attributes={"kernel_shape": [3], "pads": [1, 1], "count_include_pad": 1}, slack=1.3),
    Case("AveragePool", (1, 1, 3), attributes={"kernel_shape": [3], "pads": [2, 2], "strides": [2]}, slack=1.3),
    Case(
        "AveragePool",
        PICTURE,
        attributes={"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER", "strides": [2, 2]},
        slack=2.0,
    ),
    Case("AveragePool", (1, 1, 6), attributes={"kernel_shape": [3], "strides": [2], "ceil_mode": 1}, slack=1.6),
    Case("Pad", FLAT, (whole(1, 0, 0, 2),)),
    Case("Pad", (2, 4), (whole(0, 2, 0, 3),), {"mode": "reflect"}, slack=1.3),
    Case("Pad", (2, 4), (whole(0, 2, 0, 3),), {"mode": "edge"}, slack=1.3),
    Case("Pad", (2, 4), attributes={"mode": "edge", "pads": [0, 3, 0, 0]}, opset=10, expected=2.0),
    Case("Gather", FLAT, (whole(1, 1, -1, 0),), expected=math.sqrt(3)),
    Case("Gather", (2, 5), (whole(0, 4, 2),), {"axis": 1}, expected=1.0),
    Case("Expand", (1, 5), (whole(4, 3, 5),), expected=math.sqrt(12)),
    Case("Tile", (2, 5), (whole(3, 2),), expected=math.sqrt(6)),
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
    Case("BatchNormalization", PICTURE, (draw(2), draw(2), draw(2), draw(2) ** 2)),
    Case("ScatterND", (4, 3), (whole(0, 2).reshape(2, 1), draw(2, 3))),
    Case("MatMul", (3, 6), (draw(6, 4),)),
    Case("MatMul", (3, 6), (draw(4, 3),), place=1),
    Case("MatMul", (3, 6), (draw(6),)),
    Case("MatMul", (3, 6), (draw(5, 6, 4),), slack=2.5),
    Case("MatMul", (5, 3, 6), (draw(5, 6, 4),)),
    Case("MatMul", (6, 3), (draw(5, 4, 6),), place=1, slack=2.5),
    Case("Gemm", (3, 6), (draw(6, 4), draw(4)), {"alpha": -0.3, "beta": 2.0}),
    Case("Gemm", (4, 1), (draw(4, 6), draw(6, 3)), {"beta": 2.0}, place=2, expected=2 * math.sqrt(3)),
    Case("Conv", (1, 3, 4, 4), (draw(5, 3, 1, 1),)),
    Case("Conv", PICTURE, (draw(3, 2, 3, 3),), {"pads": [1] * 4}, slack=2.5),
    Case("Conv", PICTURE, (draw(3, 2, 3, 3),), {"strides": [3, 3]}, slack=1.2),
    Case("Conv", PICTURE, (draw(3, 2, 6, 5),)),
    Case("Conv", PICTURE, (draw(4, 1, 3, 3),), {"group": 2, "strides": [2, 1]}, slack=2.5),
    # Stride and dilation share a factor: three windows an input, not two.
    Case("Conv", (1, 1, 20), (np.ones((1, 1, 3), np.float32),), {"strides": [2], "dilations": [2]}, expected=3.0),
    Case("ConvTranspose", (1, 2, 3, 3), (draw(2, 3, 3, 3),), {"strides": [2, 2]}, slack=2.5),
    Case("ConvTranspose", (1, 4, 3, 3), (draw(4, 2, 2, 2),), {"strides": [2, 2], "group": 2}),
    Case("Upsample", (1, 1, 2, 3), (np.array([1, 1, 2, 3], np.float32),), opset=9, expected=math.sqrt(6)),
    Case("Upsample", (1, 1, 2, 3), (np.array([1, 1, 2, 2], np.float32),), {"mode": "linear"}, opset=9, slack=1.3),
    Case("Resize", (1, 1, 2, 3), (np.array([1, 1, 2, 2.5], np.float32),), opset=10, slack=1.3),
    Case("Resize", (1, 1, 5, 6), (np.array([1, 1, 0.5, 0.7], np.float32),), opset=10, slack=1.5),
]
for _transform in ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"):
    for _mode, _sizes in (("nearest", (1, 1, 6, 9)), ("nearest", (1, 1, 5, 2)), ("linear", (1, 1, 7, 5))):
        for _rounding in ("floor", "ceil", "round_prefer_ceil") if _mode == "nearest" else ("floor",):
            _how = {"coordinate_transformation_mode": _transform, "mode": _mode, "nearest_mode": _rounding}
            CASES.append(Case("Resize", (1, 1, 3, 3), (None, None, whole(*_sizes)), _how, slack=1.6))


def constant_and_norm(case: Case) -> tuple[float, Callable[[Any], Any]]:
    """The constant of the case's rule, and the operator as a function in ONNX Runtime."""
    net = Net()
    names = ["" if c is None else net.constant(c) for c in case.constants]
    names.insert(case.place, "x")
    outputs = {"TopK": 2, "BatchNormalization": 3 if case.attributes else 1}.get(case.operator, 1)
    model = net.model(case.shape, net.add(case.operator, *names, outputs=outputs, **case.attributes), opset=case.opset)
    node = model.graph[0]
    shapes = {v.name: v.shape for v in (*node.inputs, *node.outputs) if v is not None and v.shape is not None}
    extents = Extents({name or "": tuple(int(e) for e in shape.numpy()) for name, shape in shapes.items()})
    session = RUNTIME.session(model, optimise=False)
    if node.outputs[0].name not in shapes:
        extents = Extents({"x": case.shape, "n0": session.run({"x": values(*case.shape)})["n0"].shape})
    errors = tuple(float(index == case.place) for index in range(len(names)))
    return error_after(Step(node, errors, extents)), lambda x: session.run({"x": x})["n0"].astype(np.float64)


def jacobian_norm(function: Callable[[Any], Any], x: Any, step: float = 1e-3) -> float:
    columns = []
    for index in range(x.size):
        moved = x.copy()
        moved.flat[index] += step
        columns.append(((function(moved) - function(x)) / (moved.flat[index] - x.flat[index])).ravel())
    return float(np.linalg.norm(np.array(columns), 2))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_constant_holds_and_is_not_absurd(case: Case) -> None:
    constant, function = constant_and_norm(case)
    if case.expected is not None:
        assert constant == pytest.approx(case.expected, rel=1e-5)
    rng, found = np.random.default_rng(7), 0.0
    for scale in (0.1, 1.0, 3.0):
        x = (scale * rng.standard_normal(case.shape)).astype(np.float32)
        found = max(found, jacobian_norm(function, x))
        for reach in (0.01, 1.0, 10.0):
            moved = x + (reach * rng.standard_normal(case.shape)).astype(np.float32)
            moved[0] = np.where(rng.random(moved[0].shape) < 0.5, x[0], moved[0])
            gap = float(np.linalg.norm(function(moved) - function(x)))
            assert gap <= constant * float(np.linalg.norm(moved.astype(np.float64) - x)) * ROUNDING
    assert found <= constant * 1.01
    assert constant <= case.slack * found


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


def test_every_part_of_a_split_may_carry_the_whole_error() -> None:
    net = Net()
    x = net.add("Split", net.conv("x", 6, 3), net.constant(whole(2, 2, 2)), axis=1, outputs=3)
    model = net.model(["N", 3, 5, 5], x, f"{x}_1", net.add("Relu", f"{x}_2"))
    bound = bound_of(model, damaged(model), values(5, 3, 5, 5))
    assert_holds(bound)
    assert [output.bound for output in bound.outputs] == [pytest.approx(bound.layers[0].error)] * 3


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


def test_every_operator_has_one_rule() -> None:
    assert sum(len(family) for family in rules._FAMILIES) == len(rules.RULES)


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


def test_large_spectral_norms_are_proven_from_above() -> None:
    rng = np.random.default_rng(0)
    for weight in (rng.standard_normal((300, 500)), rng.standard_normal((400, 300)), np.eye(300), np.zeros((300, 300))):
        exact = float(np.linalg.norm(weight, 2))
        assert exact * (1 - 1e-12) <= spectral_norm(weight) <= exact * (1 + 1e-6)


# ---------------------------------------------------------------- shapes that only the data tell
@pytest.mark.parametrize("names", [["N", 3, None, None], ["?", 3, "?", "?"], [-1, 3, -1, -1]])
def test_extents_that_vary_are_read_while_the_model_runs(names: list[Any]) -> None:
    net = Net()
    x = net.conv("x", 4, 3, pads=[1] * 4)
    pooled = net.add("GlobalAveragePool", x)
    model = net.model(
        names, pooled, net.add("Add", x, pooled), net.add("ReduceMean", x, axes=[2], keepdims=0), opset=13
    )
    bound = bound_of(model, damaged(model), values(2, 3, 4, 4), values(3, 3, 9, 7))
    assert_holds(bound)
    error = bound.layers[0].error
    # The smallest picture has 16 places, the largest 63: 1/√16 through the pooling, times √63 back to the picture.
    assert bound.outputs[0].bound == pytest.approx(error / 4)
    assert bound.outputs[1].bound == pytest.approx(error * (1 + math.sqrt(63) / 4))
    assert bound.outputs[2].bound == pytest.approx(error / 2)


@pytest.mark.parametrize("names", [("N", "M"), ("?", "?"), (1, "N"), (None, None)])
def test_only_a_named_batch_is_taken_for_the_same(names: tuple[int | str | None, ...]) -> None:
    extents = Extents({"a": (names[0], 4), "b": (names[1], 4), "c": ("N", 8), "d": ("N", 2)})
    a, b, c, d = (ir.Value(name=name) for name in "abcd")
    assert extents.ratio(c, d) == 4
    assert not extents.wanted
    extents.ratio(b, a)
    assert set(extents.wanted) == {name for name, first in zip("ab", names, strict=True) if not isinstance(first, int)}
    extents.record({"a": [(2, 4), (1, 4)], "b": [(2, 4), (6, 4)]})
    assert extents.ratio(b, a) == 6
    with pytest.raises(NoConstantError, match="not known"):
        extents.cases(c)


def test_an_old_gemm_that_adds_an_activation() -> None:
    net = Net()
    model = net.model(["N", 4], net.add("Gemm", "x", net.draw(4, 4), net.add("Relu", "x")), opset=9)
    output = only_output(bound_of(model, damaged(model), values(5, 4)))
    assert output.bound == pytest.approx(output.measured, rel=1e-4)


def test_one_error_broadcast_over_a_batch_is_counted_once_a_sample() -> None:
    net = Net()
    row = net.add("Gemm", net.add("ReduceMean", "x", axes=[0], keepdims=1), net.draw(4, 4), net.draw(4))
    model = net.model(["N", 4], net.add("Add", "x", row), opset=13)
    output = only_output(bound_of(model, damaged(model), values(9, 4)))
    assert output.bound == pytest.approx(output.measured, rel=1e-4)


# ---------------------------------------------------------------- where it ends
def ended(net: Net, name: str, shape: Sequence[int | str | None], *xs: Any, opset: int = 18) -> OutputBound:
    model = net.model(shape, name, opset=opset)
    output = only_output(bound_of(model, damaged(model), *xs))
    assert output.bound is None
    assert output.measured > 0
    return output


def test_it_ends_at_layer_normalization() -> None:
    net = Net()
    x = net.add("Gemm", "x", net.draw(4, 6), net.draw(6))
    stop = net.add("LayerNormalization", x, net.draw(6))
    output = ended(net, net.add("Relu", stop), ["N", 4], values(5, 4))
    assert output.ends_at == f"{stop} (LayerNormalization): no Lipschitz constant is known for it"


def test_it_ends_at_a_product_of_activations() -> None:
    net = Net()
    first, second = (net.add("Gemm", "x", net.draw(4, 4), net.draw(4)) for _ in range(2))
    stop = net.add("Mul", first, second)
    assert ended(net, stop, ["N", 4], values(5, 4)).ends_at == f"{stop} (Mul): it is a product of two activations"


@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
def test_it_ends_at_a_matrix_product_of_activations(operator: str) -> None:
    net = Net()
    x = net.add("Gemm", "x", net.draw(4, 4), net.draw(4))
    stop = net.add(operator, x, net.add("Transpose", x))
    assert ended(net, stop, [5, 4], values(5, 4)).ends_at == f"{stop} ({operator}): it is a product of two activations"


def test_it_ends_at_a_recurrent_cell() -> None:
    net = Net()
    x = net.add("MatMul", "x", net.draw(4, 4))
    stop = net.add("LSTM", x, net.draw(1, 12, 4), net.draw(1, 12, 3), hidden_size=3)
    assert str(ended(net, stop, [6, "N", 4], values(6, 2, 4)).ends_at).startswith(f"{stop} (LSTM)")


def test_it_ends_at_a_factor_that_is_computed() -> None:
    net = Net()
    x = net.add("Gemm", "x", net.draw(4, 4), net.draw(4))
    stop = net.add("Mul", x, "x")
    assert "computed while the model runs" in str(ended(net, stop, ["N", 4], values(5, 4)).ends_at)


def test_it_ends_at_control_flow_that_captures_an_error() -> None:
    net = Net()
    x = net.add("Gemm", "x", net.draw(4, 4), net.draw(4))
    branches = {}
    for branch, operator in (("then_branch", "Relu"), ("else_branch", "Abs")):
        made = helper.make_tensor_value_info(branch, TensorProto.FLOAT, None)
        branches[branch] = helper.make_graph([helper.make_node(operator, [x], [branch], branch)], branch, [], [made])
    stop = net.add("If", net.constant(np.array(True)), **branches)
    assert str(ended(net, stop, ["N", 4], values(5, 4)).ends_at).startswith(f"{stop} (If)")


def test_a_discrete_value_ends_it() -> None:
    net = Net()
    x = net.add("Gemm", "x", net.draw(4, 9), net.draw(9))
    chosen = net.add("ArgMax", x, axis=1, keepdims=0)
    kept = net.add("Cast", net.add("Cast", x, to=TensorProto.INT32), to=TensorProto.FLOAT)
    model = net.model(["N", 4], chosen, kept, net.add("Relu", x))
    first, second, third = bound_of(model, damaged(model), values(50, 4)).outputs
    assert (first.bound, math.isnan(first.measured)) == (None, True)
    assert first.ends_at == f"output {chosen!r} is discrete (int64)"
    assert second.bound is None
    assert "discrete" in str(second.ends_at)
    assert third.bound is not None
    assert third.measured <= third.bound * ROUNDING


def test_shapes_carry_no_error_past_an_end() -> None:
    net = Net()
    x = net.add("Gemm", "x", net.draw(4, 4), net.draw(4))
    lost = net.add("Mul", x, x)
    model = net.model(["N", 4], net.add("Reshape", x, net.add("Shape", lost)))
    assert_holds(bound_of(model, damaged(model), values(5, 4)))


def test_shapes_that_depend_on_compressed_values_are_not_taken_for_equal() -> None:
    net = Net()
    x = net.add("Relu", net.add("Gemm", "x", net.draw(4, 4), net.draw(4)))
    found = net.add("NonZero", x)
    counts = net.add("Cast", net.add("Shape", found), to=TensorProto.FLOAT)
    model = net.model(["N", 4], counts, net.add("Reshape", x, net.add("Shape", x)))
    counted, reshaped = bound_of(model, damaged(model), values(50, 4)).outputs
    assert counted.measured > 0
    assert counted.ends_at == f"{found} (NonZero): no Lipschitz constant is known for it"
    assert reshaped.bound is not None


@pytest.mark.parametrize(
    "case",
    [
        Case("Round", FLAT),
        Case("Exp", FLAT),
        Case("Div", FLAT, (draw(30),), place=1),
        Case("Div", FLAT, (np.zeros(30, np.float32),)),
        Case("Pad", (2, 4), (whole(0, 2, 0, 3),), {"mode": "wrap"}),
        Case("Resize", (1, 1, 3, 3), (None, None, whole(1, 1, 5, 5)), {"mode": "cubic"}),
        Case("BatchNormalization", PICTURE, (draw(2), draw(2), draw(2), draw(2) ** 2), {"training_mode": 1}),
        Case("Dropout", FLAT, (np.float32(0.5), np.array(True))),
    ],
    ids=str,
)
def test_operators_without_a_constant_say_so(case: Case) -> None:
    with pytest.raises(NoConstantError, match=r"\w"):
        constant_and_norm(case)


# ---------------------------------------------------------------- what is refused
def test_no_samples_is_an_error() -> None:
    model = random_net(0)
    with pytest.raises(InputError, match="at least one sample"):
        measure_bound(model, model, [], 0, RUNTIME)
    with pytest.raises(InputError, match="at least one sample"):
        measure_bound(model, model, [], 5, RUNTIME)


def test_other_graphs_are_an_error() -> None:
    with pytest.raises(InputError, match="differ in nodes"):
        bound_of(random_net(0), random_net(1), values(2, 3, 8, 8))
