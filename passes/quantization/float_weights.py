"""Weights that came as integers: as floats while they are pruned, and back on the integers' own grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, label, optional_input, present, tensor
from netsurgeon.passes.layers import LAYER_OPERATORS, Layer, find_layers
from netsurgeon.passes.solvers import IntegerGrid

Array = npt.NDArray[np.generic]

PRUNED_TYPES = {
    ir.DataType.INT8: (-128, 127),
    ir.DataType.UINT8: (0, 255),
    ir.DataType.INT4: (-8, 7),
    ir.DataType.UINT4: (0, 15),
}
"""Types of integers that are pruned, and the numbers they hold."""
MOST_OF_A_BIAS = 2**31 - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredIntegers:
    """How a constant is stored behind a DequantizeLinear; numbers are code minus zero, times scale.

    Attributes:
        name: of the initializer with the codes.
        node: name of the DequantizeLinear.
        axis: its attribute; None where it has none.
        dtype: of the codes.
        scale: (1,) or one a row.
        scale_name: of its initializer.
        zero: likewise; None = 0.
        zero_name: of its initializer.
    """

    name: str
    node: str
    axis: int | None
    dtype: ir.DataType
    scale: Array = dataclasses.field(repr=False)
    scale_name: str
    zero: Array | None = dataclasses.field(default=None, repr=False)
    zero_name: str = ""

    def of_rows(self, numbers: Array | None, rows: int) -> npt.NDArray[np.float64]:
        """Scale or zero as one number for each of so many rows."""
        flat = np.zeros(1) if numbers is None else numbers.astype(np.float64).reshape(-1)
        return np.broadcast_to(flat, (rows,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightGrid:
    """The integers that a layer's weight and bias were stored as.

    Attributes:
        weight: of the weight.
        least: smallest code less its zero that the weight had.
        most: largest. Codes beyond them are not made: they may be left out so that sums do not saturate.
        bias: of the bias; None where it is floats.
    """

    weight: StoredIntegers
    least: int
    most: int
    bias: StoredIntegers | None = None

    def of(self, layer: Layer) -> IntegerGrid:
        """The grid in the shape that solvers take."""
        outputs = layer.groups * layer.rows
        zeros = self.weight.of_rows(self.weight.zero, outputs)
        low, high = PRUNED_TYPES[self.weight.dtype]

        def spread(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            by_group = numbers.reshape(layer.groups, 1, layer.rows)
            return np.repeat(by_group, layer.blocks, axis=1).reshape(-1, layer.rows)

        return IntegerGrid(
            scales=spread(self.weight.of_rows(self.weight.scale, outputs)),
            least=spread(np.maximum(low - zeros, self.least)),
            most=spread(np.minimum(high - zeros, self.most)),
        )


@dataclasses.dataclass(frozen=True)
class FloatWeights(ir.passes.InPlacePass):
    """Make floats of the integers behind DequantizeLinear that are the weight and bias of a Conv, Gemm or MatMul.

    Activations stay as they are. What is not understood stays, too.

    Attributes:
        grids: by layer name: where the integers were is added.
        reasons: by layer name: why integers stay is added.
    """

    grids: dict[str, WeightGrid] = dataclasses.field(default_factory=dict)
    reasons: dict[str, str] = dataclasses.field(default_factory=dict)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Replace in place."""
        replaced: dict[ir.Node, tuple[int, StoredIntegers, Array]] = {}
        for node in list(model.graph):
            index = _weight_index(node)
            if index is None:
                continue
            stored = _stored_at(node, index, tuple(PRUNED_TYPES))
            if isinstance(stored, str):
                self.reasons[label(node)] = stored
            else:
                replaced[node] = (index, stored, _to_floats(node, index, stored))
        layers = {layer.node: layer for layer in find_layers(model.graph)[0]}
        for node, (index, stored, codes) in replaced.items():
            layer = layers.get(node)
            problem = "it is not a layer that is pruned" if layer is None else _scale_problem(layer, stored)
            if layer is None or problem is not None:
                self.reasons[label(node)] = problem or ""
                _to_integers(node, index, stored, codes)
                continue
            numbers = codes.astype(np.int64) - _along(stored.zero, codes, stored.axis).astype(np.int64)
            self.grids[layer.name] = WeightGrid(
                weight=stored,
                least=min(int(numbers.min()), 0),
                most=max(int(numbers.max()), 0),
                bias=_bias_to_floats(layer, stored),
            )
        return ir.passes.PassResult(model, bool(self.grids))


@dataclasses.dataclass(frozen=True)
class RestoreIntegers(ir.passes.InPlacePass):
    """Put floats back on the integers that `FloatWeights` has made them of; names, scales and zero points are the same.

    Attributes:
        grids: by layer name.
    """

    grids: Mapping[str, WeightGrid]

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Replace in place.

        Raises:
            ValueError: a weight does not lie on its grid.
        """
        layers = [layer for layer in find_layers(model.graph)[0] if layer.name in self.grids]
        for layer in layers:
            grid = self.grids[layer.name]
            codes, distance = _codes(tensor(layer.weight).numpy(), grid.weight, 0 if layer.rows_first() else -1)
            low, high = PRUNED_TYPES[grid.weight.dtype]
            if distance > 1e-3 or codes.min(initial=0) < low or codes.max(initial=0) > high:
                raise ValueError(f"the weight of {layer.name!r} is not on the integers it came with")
            _to_integers(layer.node, layer.weight_index, grid.weight, codes)
            bias = optional_input(layer.node, 2)
            if grid.bias is not None and is_constant(bias):
                numbers = np.broadcast_to(tensor(present(bias)).numpy().reshape(-1), (layer.groups * layer.rows,))
                whole = _codes(numbers, grid.bias, 0)[0].clip(-MOST_OF_A_BIAS, MOST_OF_A_BIAS)
                _to_integers(layer.node, 2, grid.bias, whole)
        return ir.passes.PassResult(model, bool(layers))


def _weight_index(node: ir.Node) -> int | None:
    """Which input of a layer a DequantizeLinear makes of constants, perhaps through other nodes; None = neither."""
    if node.domain or node.op_type not in LAYER_OPERATORS:
        return None
    for index in (1,) if node.op_type == "Conv" else (1, 0):
        maker = _maker(optional_input(node, index))
        if maker is not None and all(value is None or is_constant(value) for value in maker.inputs):
            return index
    return None


def _maker(value: ir.Value | None) -> ir.Node | None:
    maker = None if value is None else value.producer()
    return maker if maker is not None and maker.op_type == "DequantizeLinear" and not maker.domain else None


def _stored_at(node: ir.Node, index: int, dtypes: tuple[ir.DataType, ...]) -> StoredIntegers | str:
    """How an input is stored, or why its integers stay as they are."""
    maker = _maker(optional_input(node, index))
    if maker is None or not all(value is None or is_constant(value) for value in maker.inputs):
        return "no DequantizeLinear makes it of constants"
    codes, scale = present(maker.inputs[0]), present(maker.inputs[1])
    zero = optional_input(maker, 2)
    if tensor(codes).dtype not in dtypes:
        return f"its integers are of type {tensor(codes).dtype.name}, which is not pruned"
    if "block_size" in maker.attributes and maker.attributes["block_size"].as_int():
        return "its integers have a scale a block, and only those with one a row or one in all are pruned"
    if tensor(scale).dtype != ir.DataType.FLOAT:
        return f"its scale has type {tensor(scale).dtype.name}, expected FLOAT"
    if len(codes.uses()) > 1 or len(maker.outputs[0].uses()) > 1 or maker.outputs[0].is_graph_output():
        return "it shares its integers with another node"
    if not (tensor(scale).numpy() > 0.0).all():
        return "a scale of its integers is not above 0"
    return StoredIntegers(
        name=codes.name or "",
        node=maker.name or "",
        axis=maker.attributes["axis"].as_int() if "axis" in maker.attributes else None,
        dtype=tensor(codes).dtype,
        scale=tensor(scale).numpy(),
        scale_name=scale.name or "",
        zero=None if zero is None else tensor(zero).numpy(),
        zero_name="" if zero is None else zero.name or "",
    )


def _scale_problem(layer: Layer, stored: StoredIntegers) -> str | None:
    """Why rows of a layer have no scale each."""
    if layer.scale != 1.0:
        return "its factor alpha is not 1"
    if stored.scale.size == 1:
        return None
    rank = len(tensor(layer.weight).shape)
    axis = (1 if stored.axis is None else stored.axis) % rank
    if axis != (0 if layer.rows_first() else rank - 1):
        return "its integers have a scale for each of its inputs, and only those with one an output are pruned"
    return None


def _bias_to_floats(layer: Layer, weight: StoredIntegers) -> StoredIntegers | None:
    """Where a layer's bias lies on integers of 32 bits; floats in their place. A Gemm that gets one has it there."""
    if layer.operator == "MatMul":
        return None
    if optional_input(layer.node, 2) is None:
        maker = _maker(layer.input) if layer.operator == "Gemm" else None
        step = None if maker is None or not is_constant(maker.inputs[1]) else tensor(present(maker.inputs[1])).numpy()
        if step is None or step.size != 1:
            return None
        scale = np.asarray(step.reshape(-1) * weight.of_rows(weight.scale, layer.rows), np.float32)
        name = f"{weight.name}_bias"
        return StoredIntegers(
            name=name, node=f"{name}_restored", axis=0, dtype=ir.DataType.INT32, scale=scale, scale_name=f"{name}_scale"
        )
    stored = _stored_at(layer.node, 2, (ir.DataType.INT32,))
    if isinstance(stored, str) or (stored.zero is not None and stored.zero.any()):
        return None
    _to_floats(layer.node, 2, stored)
    return stored


def _along(numbers: Array | None, array: Array, axis: int | None) -> Array:
    """Scale or zero point in a shape that spreads over the codes."""
    if numbers is None:
        return np.zeros((), np.int64)
    if numbers.size == 1:
        return numbers.reshape(())
    at = (1 if axis is None else axis) % array.ndim
    return numbers.reshape([-1 if here == at else 1 for here in range(array.ndim)])


def _codes(numbers: Array, stored: StoredIntegers, row_axis: int) -> tuple[npt.NDArray[np.int64], float]:
    """Integers of floats, and how far the floats are from them, in steps."""
    axis = row_axis % numbers.ndim
    steps = numbers.astype(np.float64) / _along(stored.scale, numbers, axis).astype(np.float64)
    whole = np.rint(steps)
    distance = float(np.abs(steps - whole).max(initial=0.0))
    return whole.astype(np.int64) + _along(stored.zero, numbers, axis).astype(np.int64), distance


def _to_floats(node: ir.Node, index: int, stored: StoredIntegers) -> Array:
    """Put floats, as DequantizeLinear computes them, in the place of its output; the codes that they came from."""
    graph, output = node.graph, present(node.inputs[index])
    maker = output.producer()
    assert isinstance(graph, ir.Graph)
    assert maker is not None
    codes = tensor(present(maker.inputs[0])).numpy()
    zeros = _along(stored.zero, codes, stored.axis)
    whole = codes.astype(np.int64) - zeros.astype(np.int64)
    floats = whole.astype(np.float32) * _along(stored.scale, codes, stored.axis).astype(np.float32)
    name = output.name or f"{stored.name}_floats"
    output.name = f"{name}_before"
    constant = ir.tensor(np.ascontiguousarray(floats.reshape(codes.shape)), name=name)
    value = ir.Value(name=name, const_value=constant, type=ir.TensorType(constant.dtype), shape=ir.Shape(codes.shape))
    graph.register_initializer(value)
    node.replace_input_with(index, value)
    graph.remove(maker, safe=True)
    del graph.initializers[stored.name]
    return codes


def _to_integers(node: ir.Node, index: int, stored: StoredIntegers, codes: Array) -> None:
    """Put codes and a DequantizeLinear in the place of floats."""
    graph, floats = node.graph, present(node.inputs[index])
    assert isinstance(graph, ir.Graph)
    inputs = [_constant(graph, stored.name, codes.astype(stored.dtype.numpy()), stored.dtype)]
    inputs.append(_constant(graph, stored.scale_name, stored.scale, ir.DataType.FLOAT))
    if stored.zero is not None:
        inputs.append(_constant(graph, stored.zero_name, stored.zero, stored.dtype))
    attributes = {} if stored.axis is None else {"axis": stored.axis}
    restored = ir.node("DequantizeLinear", inputs, attributes, name=stored.node)
    name = floats.name or f"{stored.name}_floats"
    graph.insert_before(node, restored)
    node.replace_input_with(index, restored.outputs[0])
    if not floats.uses() and name in graph.initializers:
        del graph.initializers[name]
    restored.outputs[0].name = name
    restored.outputs[0].type, restored.outputs[0].shape = floats.type, floats.shape


def _constant(graph: ir.Graph, name: str, array: Array, dtype: ir.DataType) -> ir.Value:
    """An initializer; the one that is there where a name is taken, whose numbers are the same."""
    if name in graph.initializers:
        return graph.initializers[name]
    value = ir.Value(name=name, const_value=ir.tensor(array, dtype=dtype, name=name))
    value.type, value.shape = ir.TensorType(dtype), ir.Shape(array.shape)
    graph.register_initializer(value)
    return value
