"""Small networks to trim, the units they must have, and what must be refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from netsurgeon.passes.dependencies.analysis import Dependencies, analyse
from netsurgeon.passes.rewriting.normalise import normal_form
from netsurgeon.pipeline.runtime.observations import observe
from netsurgeon.pipeline.runtime.session import Runtime

X = "x"


class Net:
    """A small model, node by node, with random weights."""

    def __init__(self, *shape: int, opset: int = 17, dtype: type = np.float32):
        self.rng = np.random.default_rng(len(shape))
        self.shape, self.opset, self.dtype = shape, opset, dtype
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def const(self, array: Any, dtype: type = np.int64) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array, dtype)
        return name

    def weight(self, *shape: int) -> str:
        return self.const(self.rng.standard_normal(shape), self.dtype)

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"n{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=f"{kind}{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x: str, into: int, out: int, kernel: int = 1, group: int = 1) -> str:
        pads = [kernel // 2] * 4
        weights = self.weight(out, into // group, kernel, kernel), self.weight(out)
        return str(self.op("Conv", x, *weights, group=group, pads=pads))

    def dense(self, x: str, into: int, out: int) -> str:
        return str(self.op("Add", self.op("MatMul", x, self.weight(into, out)), self.weight(out)))

    def build(self, *outputs: str) -> ir.Model:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info(X, kind, ["N", *self.shape[1:]])],
            [onnx.ValueInfoProto(name=name) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=8))

    @property
    def feed(self) -> Mapping[str, np.ndarray]:
        return {X: np.random.default_rng(9).standard_normal(self.shape).astype(self.dtype)}


Family = Callable[[Net], Any]
"""Adds nodes to a network and gives its output, or several."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A network on (2, 4, 6, 6), the units of each of its groups, and its opset."""

    build: Family
    units: tuple[int, ...]
    opset: int


def add_case(cases: dict[str, Case], *units: int, opset: int = 17) -> Callable[[Family], Family]:
    """Puts what it decorates among the cases under its name."""

    def register(build: Family) -> Family:
        cases[f"{build.__name__}_{opset}"] = Case(build, units, opset)
        return build

    return register


def check_case(case: Case, trim: Any) -> None:
    """The network has these units, and without half of them it computes what it computes with them masked."""
    net = Net(2, 4, 6, 6, opset=case.opset)
    model = net.build(case.build(net))
    for seed in range(2):
        trimming = trim(model, net.feed, seed=seed)
        assert sorted(len(group.units) for group in trimming.found.groups) == sorted(case.units)
        assert trimming.proof.holds, str(trimming.proof)
        assert trimming.proof.is_informative
        assert trimming.sizes[1] < trimming.sizes[0]


def analysed(net: Net, *outputs: str) -> tuple[ir.Model, Dependencies]:
    """The network in normal form, and what hangs together in it."""
    model = net.build(*outputs)
    normal_form()(model)
    return model, analyse(model, observe(model, net.feed, Runtime()))


def check_refusal(build: Family, operator: str, reason: str) -> None:
    """The network has no units, and this operator gives this reason for it."""
    net = Net(2, 4, 6, 6, opset=18)
    outputs = build(net)
    _, dependencies = analysed(net, *([outputs] if isinstance(outputs, str) else outputs))
    assert not dependencies.units
    assert any(frozen.operator == operator and reason in frozen.reason for frozen in dependencies.frozen)
