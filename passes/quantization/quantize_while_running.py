"""Matrix products on integers whose activations get a scale while the model runs: no range is measured beforehand."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import present
from netsurgeon.passes.layers import Layer, find_layers
from netsurgeon.passes.quantization.insert_quantizers import Constants, separated
from netsurgeon.passes.quantization.store_blocks import bias_row, codes_of, replace

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
    restored, node = layer.input.producer(), layer.node
    graph = node.graph
    if restored is None or restored.op_type != "DequantizeLinear" or not isinstance(graph, ir.Graph):
        raise ValueError(f"the input of {layer.name!r} is not made of integers")
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
