"""Networks whose error is bounded: built node by node, damaged, and one operator at a time."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.pipeline.error_bound.bound import Bound, OutputBound, measure_bound
from netsurgeon.pipeline.error_bound.lipschitz.rules import error_after
from netsurgeon.pipeline.error_bound.lipschitz.step import Extents, Step
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
        outlines = [onnx.ValueInfoProto(name=name) for name in outputs]
        graph = helper.make_graph(self.nodes, "net", inputs, outlines, self.constants)
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
        proto = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
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


@dataclasses.dataclass(frozen=True)
class Case:
    """An operator on one erroneous operand; `slack`: how far above the norm that is measured the constant may lie."""

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


def constant_and_norm(case: Case) -> tuple[float, Callable[[Any], Any]]:
    """The constant of the case's rule, and the operator as a function in ONNX Runtime."""
    net = Net()
    names = ["" if c is None else net.constant(c) for c in case.constants]
    names.insert(case.place, "x")
    outputs = {"TopK": 2, "BatchNormalization": 3 if case.attributes else 1}.get(case.operator, 1)
    model = net.model(case.shape, net.add(case.operator, *names, outputs=outputs, **case.attributes), opset=case.opset)
    node = model.graph[0]
    shapes = {v.name: v.shape for v in (*node.inputs, *node.outputs) if v is not None and v.shape is not None}
    known = {name or "": tuple(int(e) for e in shape.numpy()) for name, shape in shapes.items()}
    session = RUNTIME.session(model, optimise=False)
    if node.outputs[0].name not in shapes:
        known |= {"x": case.shape, "n0": session.run({"x": values(*case.shape)})["n0"].shape}
    errors = tuple(float(index == case.place) for index in range(len(names)))
    return error_after(Step(node, errors, Extents(known))), lambda x: session.run({"x": x})["n0"].astype(np.float64)


def jacobian_norm(function: Callable[[Any], Any], x: Any, step: float = 1e-3) -> float:
    columns = []
    for index in range(x.size):
        moved = x.copy()
        moved.flat[index] += step
        columns.append(((function(moved) - function(x)) / (moved.flat[index] - x.flat[index])).ravel())
    return float(np.linalg.norm(np.array(columns), 2))


def assert_constant_holds(case: Case) -> None:
    """It holds on moves near and far, and is not far above the norm that ONNX Runtime's own results show."""
    constant, function = constant_and_norm(case)
    if case.expected is not None:
        assert constant == pytest.approx(case.expected, rel=1e-5)
    rng, norm = np.random.default_rng(7), 0.0
    for scale in (0.1, 1.0, 3.0):
        x = (scale * rng.standard_normal(case.shape)).astype(np.float32)
        norm = max(norm, jacobian_norm(function, x))
        for reach in (0.01, 1.0, 10.0):
            moved = x + (reach * rng.standard_normal(case.shape)).astype(np.float32)
            moved[0] = np.where(rng.random(moved[0].shape) < 0.5, x[0], moved[0])
            gap = float(np.linalg.norm(function(moved) - function(x)))
            assert gap <= constant * float(np.linalg.norm(moved.astype(np.float64) - x)) * ROUNDING
    assert norm <= constant * 1.01
    assert constant <= case.slack * norm


def ended(net: Net, name: str, shape: Sequence[int | str | None], *xs: Any, opset: int = 18) -> OutputBound:
    model = net.model(shape, name, opset=opset)
    output = only_output(bound_of(model, damaged(model), *xs))
    assert output.bound is None
    assert output.measured > 0
    return output
