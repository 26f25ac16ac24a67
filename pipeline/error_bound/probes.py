"""Nodes beside the layers of the dense model that let ONNX Runtime itself measure what a change adds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.dependencies import PositionAxes
from netsurgeon.passes.graph import bodies, traits_of
from netsurgeon.pipeline.error_bound.changes import Change
from netsurgeon.pipeline.error_bound.lipschitz.step import constant_of

_PREFIX = "netsurgeon/probe"
_AXES_ARE_AN_INPUT = 18
"""Of ReduceSumSquare, from this operator set on."""


class Probes:
    """Nodes added to the dense model that measure, beside it, what a change adds.

    Those of a large model use the changed weights themselves, where they lie: differences would be a copy of them all.

    Attributes:
        by_position: the axes of the probes that tell energies of each position, by name.
    """

    def __init__(self, graph: ir.Graph, *, is_large: bool = False, positions: Mapping[str, PositionAxes] | None = None):
        """Begin with no probes; energies of values whose axes of positions are known are told for each position."""
        self._graph = graph
        self._positions = positions or {}
        self.by_position: dict[str, PositionAxes] = {}
        self._made = 0
        self._is_large = is_large

    def energies(self, change: Change) -> dict[str, str]:
        """Measure ‖difference‖² where the change lands: landing value -> probe. Control flow cannot be probed.

        Where a value's axes of positions are known the probe keeps them; all others have an extent of 1.
        """
        if next(bodies(change.before), None) is not None:
            return {}
        data = None if self._is_large else _data_index(change)
        differences = [self._linear(change, data)] if data is not None else self._subtracted(change)
        pairs = zip(change.landed, differences, strict=True)
        return {landing.name or "": self._energy_at(landing, difference) for landing, difference in pairs}

    def _energy_at(self, landing: ir.Value, difference: ir.Value) -> str:
        axes = self._positions.get(landing.name or "")
        if axes is None or landing.shape is None:
            return self._energy(difference)
        others = [axis for axis in range(len(landing.shape)) if axis not in (axes.batch, axes.length)]
        probe = self._energy(difference, others)
        self.by_position[probe] = axes
        return probe

    def shape(self, value: ir.Value) -> str:
        """Record the value's shape."""
        return self._output(self._node("Shape", [value]), ir.DataType.INT64)

    def _linear(self, change: Change, data: int) -> ir.Value:
        """ΔW X + Δb, by the layer's own operator; in float32 for a float16 layer."""
        weight = constant_of(change.before.inputs[1 - data])
        assert weight is not None
        kind = np.dtype(np.float64 if weight.dtype == np.float64 else np.float32)
        x = change.before.inputs[data]
        if weight.dtype != kind:
            x = self._node("Cast", [x], [ir.AttrInt64("to", int(ir.DataType.FLOAT))])
        delta = self._constant(_delta(change.before, change.after, 1 - data).astype(kind))
        inputs = [x, delta] if data == 0 else [delta, x]
        if change.before.op_type != "MatMul":
            bias = _delta(change.before, change.after, 2).astype(kind)
            # Gemm's third input is optional from opset 11 only; Conv's has no form for "nothing".
            if bias.ndim or change.before.op_type == "Gemm":
                inputs.append(self._constant(np.atleast_1d(bias)))
        result = self._node(change.before.op_type, inputs, change.before.attributes.values())
        if change.bias_adds is None:
            return result
        slot = next(i for i, v in enumerate(change.bias_adds[0].inputs) if v is not change.before.outputs[0])
        bias = _delta(*change.bias_adds, slot).astype(kind)
        return self._node("Add", [result, self._constant(bias)], change.bias_adds[0].attributes.values())

    def _subtracted(self, change: Change) -> list[ir.Value]:
        """f̂(X) − f(X) for any other operator: the node once more, with the compressed constants."""
        again, last = self._again(change.before, change.after), change.before
        if change.bias_adds is not None:
            last = change.bias_adds[0]
            again = self._again(*change.bias_adds, {change.before.outputs[0]: again.outputs[0]})
        pairs = [(a, b) for a, b in zip(again.outputs, last.outputs, strict=True) if b.name]
        return [self._node("Sub", [self._double(new), self._double(old)]) for new, old in pairs]

    def _again(
        self, node: ir.Node, after: ir.Node, changed: Mapping[ir.Value | None, ir.Value] | None = None
    ) -> ir.Node:
        """A node once more, with the constants of its counterpart, and what was changed before it."""
        inputs = []
        for index in range(max(len(node.inputs), len(after.inputs))):
            new = constant_of(after.inputs[index]) if index < len(after.inputs) else None
            old = node.inputs[index] if index < len(node.inputs) else None
            inputs.append((changed or {}).get(old, old) if new is None else self._constant(new))
        return self._nodes(node, inputs)

    def _energy(self, value: ir.Value, axes: list[int] | None = None) -> str:
        """Σ value² along some axes (None = all), summed in double precision, as an output of the model."""
        numbers = self._double(value)
        if axes is None:
            total = self._node("ReduceSumSquare", [numbers], [ir.AttrInt64("keepdims", 0)])
        elif not axes:
            total = self._node("Mul", [numbers, numbers])
        elif self._graph.opset_imports.get("", 0) < _AXES_ARE_AN_INPUT:
            total = self._node("ReduceSumSquare", [numbers], [ir.AttrInt64s("axes", axes)])
        else:
            total = self._node("ReduceSumSquare", [numbers, self._constant(np.array(axes, np.int64))])
        return self._output(total, ir.DataType.DOUBLE)

    def _double(self, value: ir.Value) -> ir.Value:
        return self._node("Cast", [value], [ir.AttrInt64("to", int(ir.DataType.DOUBLE))])

    def _node(self, operator: str, inputs: list[ir.Value | None], attributes: Iterable[ir.Attr] = ()) -> ir.Value:
        node = ir.Node("", operator, inputs, list(attributes), num_outputs=1)
        return self._append(node).outputs[0]

    def _nodes(self, node: ir.Node, inputs: list[ir.Value | None]) -> ir.Node:
        copy = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            list(node.attributes.values()),
            overload=node.overload,
            num_outputs=len(node.outputs),
        )
        return self._append(copy)

    def _append(self, node: ir.Node) -> ir.Node:
        node.name = self._fresh()
        for value in node.outputs:
            value.name = self._fresh()
        self._graph.append(node)
        return node

    def _constant(self, array: npt.NDArray[Any]) -> ir.Value:
        tensor = ir.tensor(np.ascontiguousarray(array), name=self._fresh())
        value = ir.Value(
            name=tensor.name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
        )
        self._graph.register_initializer(value)
        return value

    def _output(self, value: ir.Value, kind: ir.DataType) -> str:
        value.dtype = kind
        self._graph.outputs.append(value)
        return value.name or ""

    def _fresh(self) -> str:
        self._made += 1
        return f"{_PREFIX}/{self._made}"


def _data_index(change: Change) -> int | None:
    """Which operand of a linear operator is the data; None where it is not one constant against one activation."""
    node = change.before
    # Linear in weight and bias: one forward pass with their differences is the difference of two forward passes.
    if not traits_of(node).is_linear:
        return None
    constants = [constant_of(node.inputs[index]) is not None for index in (0, 1)]
    return constants.index(False) if constants in ([True, False], [False, True]) else None


def _delta(before: ir.Node, after: ir.Node, index: int) -> npt.NDArray[np.float64]:
    """The difference of a constant input, 0 where there is none or it is no constant."""
    constants = [constant_of(node.inputs[index]) if index < len(node.inputs) else None for node in (before, after)]
    old, new = (np.zeros(()) if array is None else array.astype(np.float64) for array in constants)
    return np.asarray(new - old, dtype=np.float64)
