"""Layers on integers whose activations get a scale while the model runs: no range is measured beforehand.

A product becomes a MatMulInteger. An LSTM becomes ONNX Runtime's DynamicQuantizeLSTM, which also rounds its state, in
each step, before it multiplies it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import MICROSOFT, present, tensor
from netsurgeon.passes.layers import Cell, Layer, find_cells, find_layers
from netsurgeon.passes.quantization.insert_quantizers import Constants, separated
from netsurgeon.passes.quantization.quantize_layers import IntegerOutcome
from netsurgeon.passes.quantization.store_blocks import bias_row, codes_of, replace
from netsurgeon.passes.solvers import nearest_integers

OPSET_OF_RANGES = 11
"""DynamicQuantizeLinear exists from here on."""


@dataclasses.dataclass(frozen=True)
class MeasureWhileRunning(ir.passes.InPlacePass):
    """Make integers of the values that layers take, of the range that they have in a run, and floats of these again.

    Attributes:
        entering: names of the values; `SeparateInputs` has put an Identity on each, which goes.
    """

    entering: Collection[str]

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Insert in place."""
        graph = model.graph
        constants = Constants(graph)
        names = {separated(name) for name in self.entering}
        for node in list(graph):
            if node.op_type != "Identity" or node.outputs[0].name not in names:
                continue
            integers = ir.node(
                "DynamicQuantizeLinear", [node.inputs[0]], num_outputs=3, name=constants.unused("quantize")
            )
            for value in integers.outputs:
                value.name = constants.unused("integers")
            graph.insert_before(node, integers)
            replace(node, "DequantizeLinear", list(integers.outputs), {})
        return ir.passes.PassResult(model, bool(self.entering))


@dataclasses.dataclass(frozen=True)
class MultiplyIntegers(ir.passes.InPlacePass):
    """Replace layers by a MatMulInteger of their name and what scales its sums, for which ONNX Runtime has one kernel.

    Their inputs are those of `MeasureWhileRunning`, and their weights lie on integers already.

    Attributes:
        scales: of the rows of each layer's weight, (rows,), by layer name.
    """

    scales: Mapping[str, npt.NDArray[np.float64]] = dataclasses.field(repr=False)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Replace in place.

        Raises:
            ValueError: a weight does not lie on its scales, or an input is not made while the model runs.
        """
        constants = Constants(model.graph)
        restored = set()
        for layer in find_layers(model.graph)[0]:
            if layer.name in self.scales:
                restored.add(_rewrite(layer, self.scales[layer.name], constants))
        for node in restored:
            if not node.outputs[0].uses():
                model.graph.remove(node, safe=True)
        return ir.passes.PassResult(model, bool(self.scales))


def _rewrite(layer: Layer, scales: npt.NDArray[np.float64], constants: Constants) -> ir.Node:
    """Put a layer on integers; returns the DequantizeLinear that it no longer takes its input from."""
    restored, node = _restored(layer.name, layer.input), layer.node
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    numbers, step, zero = (present(value) for value in restored.inputs)
    codes = codes_of(layer, scales[:, None], layer.columns, 127).astype(np.int8)
    bias = bias_row(layer, constants)
    name = constants.freed(node, layer.weight_index)
    stored = constants.own(np.ascontiguousarray(codes.T), name)
    sums = ir.node("MatMulInteger", [numbers, stored, zero], name=layer.name)
    floats = ir.node("Cast", [sums.outputs[0]], {"to": ir.DataType.FLOAT.value}, name=constants.unused("cast"))
    factors = constants.own(scales.astype(np.float32), constants.unused("scale"))
    scale = ir.node("Mul", [step, factors], name=constants.unused("multiply"))
    graph.insert_before(node, [sums, floats, scale])
    if bias is not None:
        product = ir.node("Mul", [floats.outputs[0], scale.outputs[0]], name=constants.unused("multiply"))
        graph.insert_before(node, product)
        last = replace(node, "Add", [product.outputs[0], bias], {})
    else:
        last = replace(node, "Mul", [floats.outputs[0], scale.outputs[0]], {})
    last.name = constants.unused("sum")
    for part in (sums, floats, scale, *([product] if bias is not None else [])):
        part.outputs[0].name = constants.unused("value")
    return restored


@dataclasses.dataclass(frozen=True)
class RoundCells(ir.passes.InPlacePass):
    """Round the weights of recurrent cells to the nearest integers, with a scale a row; they stay floats.

    Neither what rounding costs nor how later weights could make up for it is known by statistics of what enters: the
    state, which half of the weights multiply, comes from inside. With 7 bits a row loses least where none is clipped.

    Attributes:
        most: largest integer of a weight, by name of the cell.
        outcomes: by name of the cell: what was done is added, the error that of the weights themselves; scales are of
            the rows of both weights, (2, directions, rows).
    """

    most: Mapping[str, int]
    outcomes: dict[str, IntegerOutcome] = dataclasses.field(default_factory=dict, repr=False)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Round in place."""
        for cell in find_cells(model.graph):
            if cell.name not in self.most:
                continue
            weights = cell.matrices()
            integers = [nearest_integers(weight, self.most[cell.name]) for weight in weights]
            cell.write(*(whole.weight for whole in integers))
            lost = sum(np.square(whole.weight - old).sum() for whole, old in zip(integers, weights, strict=True))
            energy = sum(np.square(old).sum() for old in weights)
            scales = np.stack([whole.scales for whole in integers])
            self.outcomes[cell.name] = IntegerOutcome(
                damping=0.0, error=float(lost / energy) if energy else 0.0, scales=scales
            )
        return ir.passes.PassResult(model, bool(self.most))


@dataclasses.dataclass(frozen=True)
class RecurOnIntegers(ir.passes.InPlacePass):
    """Make LSTMs the DynamicQuantizeLSTM of their name, which takes floats and makes integers of them itself.

    Their inputs are those of `MeasureWhileRunning`, and their weights lie on integers already.

    Attributes:
        scales: of the rows of both weights of each cell, (2, directions, rows), by its name.
    """

    scales: Mapping[str, npt.NDArray[np.float64]] = dataclasses.field(repr=False)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Replace in place.

        Raises:
            ValueError: a weight does not lie on its scales, or an input is not made while the model runs.
        """
        constants, restored = Constants(model.graph), set()
        for cell in find_cells(model.graph):
            if cell.name in self.scales:
                restored.add(_restored(cell.name, cell.input))
                _recur(cell, self.scales[cell.name], constants)
                model.graph.opset_imports.setdefault(MICROSOFT, 1)
        for node in restored:
            integers = present(node.inputs[0]).producer()
            for unread in (node, integers):
                if unread is not None and not any(value.uses() for value in unread.outputs):
                    model.graph.remove(unread, safe=True)
        return ir.passes.PassResult(model, bool(self.scales))


def _restored(name: str, value: ir.Value) -> ir.Node:
    """The DequantizeLinear that makes floats again of what `MeasureWhileRunning` has made integers of."""
    restored = value.producer()
    if restored is None or restored.op_type != "DequantizeLinear":
        raise ValueError(f"the input of {name!r} is not made of integers")
    return restored


def _recur(cell: Cell, scales: npt.NDArray[np.float64], constants: Constants) -> None:
    """Put an LSTM on integers, on the floats that its input was made of."""
    node, rounded = cell.node, cell.input
    integers = present(_restored(cell.name, rounded).inputs[0]).producer()
    assert integers is not None
    for index, value in enumerate(node.inputs):
        if value is rounded:  # a state to begin with may be the same value
            node.replace_input_with(index, integers.inputs[0])
    node.resize_inputs(8 + 2 * len(Cell.WEIGHTS))
    for at, (index, own) in enumerate(zip(Cell.WEIGHTS, scales, strict=True)):
        weight = tensor(present(node.inputs[index])).numpy()
        codes = np.rint(weight / own[..., None])
        off = np.abs(codes * own[..., None] - weight) > 1e-3 * own[..., None]
        if off.any() or np.abs(codes).max(initial=0.0) > 127:
            raise ValueError(f"a weight of {cell.name!r} is not on integers")
        turned = np.ascontiguousarray(codes.astype(np.int8).swapaxes(1, 2))
        node.replace_input_with(index, constants.own(turned, constants.freed(node, index)))
        node.replace_input_with(8 + 2 * at, constants.own(own.astype(np.float32), constants.unused("scale")))
        node.replace_input_with(9 + 2 * at, constants.value(np.zeros(own.shape, np.int8)))
    node.op_type, node.domain = "DynamicQuantizeLSTM", MICROSOFT
    node.attributes.pop("layout", None)
