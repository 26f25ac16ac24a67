"""Store the weights of matrix products as integers with a scale for a few columns of a row, activations as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, optional_input, tensor
from netsurgeon.passes.layers import Layer, find_layers
from netsurgeon.passes.quantization.insert_quantizers import Constants
from netsurgeon.passes.solvers import steps_of

MICROSOFT = "com.microsoft"
ROUNDED_INPUTS = 4
"""`accuracy_level` at which ONNX Runtime rounds what enters to 8 bits, with a scale for each block: without it kernels
of 8 bits take 4 to 50 times as long, and those of 4 bits are no faster than floats from 16 rows on."""
OPSET_OF_BLOCKS = 21
"""DequantizeLinear takes scales of blocks, and 4 bits, from here on."""
IR_OF_4_BITS = 10
"""Files have a type of 4 bits from this version of their format on."""
Codes = npt.NDArray[np.int64]


def pack_codes(codes: Codes, bits: int, span: int) -> npt.NDArray[np.uint8]:
    """Integers (rows, columns) as MatMulNBits takes them: (rows, spans, span · bits / 8), the first in the low bits.

    They stand above zero by 2^(bits − 1); the last span is filled up with what stands for zero.
    """
    rows, columns = codes.shape
    spans, middle = -(-columns // span), 1 << (bits - 1)
    fields = np.full((rows, spans * span), middle, np.uint8)
    fields[:, :columns] = codes + middle
    if bits == 4:
        fields = fields[:, 0::2] | (fields[:, 1::2] << 4)
    return fields.reshape(rows, spans, span * bits // 8)


def unpack_codes(packed: npt.NDArray[np.uint8], bits: int, columns: int) -> npt.NDArray[np.int8]:
    """The inverse of `pack_codes`, (rows, columns)."""
    fields = packed.reshape(len(packed), -1)
    if bits == 4:
        fields = np.stack([fields & 15, fields >> 4], axis=-1).reshape(len(packed), -1)
    return (fields[:, :columns].astype(np.int16) - (1 << (bits - 1))).astype(np.int8)


@dataclasses.dataclass(frozen=True)
class StoreBlocks(ir.passes.InPlacePass):
    """Replace layers by nodes that hold integers, whose weights lie on them already.

    In the standard's own operators the integers keep the weight's place, behind a DequantizeLinear. For ONNX Runtime
    the layer becomes a MatMulNBits of its name, a Gemm's bias with it.

    Attributes:
        scales: of the spans of each row, (rows, spans), by layer name.
        spans: columns that share a scale, by layer name.
        bits: of a weight, 4 or 8.
        standard: no operators but those of the ONNX standard.
    """

    scales: Mapping[str, npt.NDArray[np.float64]] = dataclasses.field(repr=False)
    spans: Mapping[str, int]
    bits: int
    standard: bool = False

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Replace in place.

        Raises:
            ValueError: a weight does not lie on its scales.
        """
        constants = Constants(model.graph)
        for layer in find_layers(model.graph)[0]:
            if layer.name not in self.scales:
                continue
            codes = codes_of(layer, self.scales[layer.name], self.spans[layer.name], 1 << (self.bits - 1))
            if self.standard:
                self._dequantize(layer, codes, constants)
                model.ir_version = max(model.ir_version, IR_OF_4_BITS if self.bits == 4 else 0)
            else:
                self._multiply_packed(layer, codes, constants)
                model.graph.opset_imports.setdefault(MICROSOFT, 1)
        return ir.passes.PassResult(model, bool(self.scales))

    def _multiply_packed(self, layer: Layer, codes: Codes, constants: Constants) -> None:
        span, scales = self.spans[layer.name], self.scales[layer.name].astype(np.float32)
        name = constants.freed(layer.node, layer.weight_index)
        inputs: list[ir.Value | None] = [
            layer.input,
            constants.own(pack_codes(codes, self.bits, span), name),
            constants.own(scales, constants.unused("scale")),
        ]
        bias = bias_row(layer, constants)
        if bias is not None:
            inputs += [None, None, bias]
        attributes = {"K": layer.columns, "N": layer.rows, "bits": self.bits, "block_size": span}
        replace(layer.node, "MatMulNBits", inputs, {**attributes, "accuracy_level": ROUNDED_INPUTS}, MICROSOFT)

    def _dequantize(self, layer: Layer, codes: Codes, constants: Constants) -> None:
        scales, rows_first = self.scales[layer.name].astype(np.float32), layer.rows_first()
        if scales.shape[1] == 1:
            scales, attributes = scales[:, 0], {"axis": 0 if rows_first else 1}
        else:
            attributes = {"axis": 1 if rows_first else 0, "block_size": self.spans[layer.name]}
            scales = np.ascontiguousarray(scales if rows_first else scales.T)
        kind = ir.DataType.INT4 if self.bits == 4 else ir.DataType.INT8
        stored = np.ascontiguousarray(codes if rows_first else codes.T).astype(kind.numpy())
        name = constants.freed(layer.node, layer.weight_index)
        inputs = [constants.own(stored, name), constants.own(scales, constants.unused("scale"))]
        restored = ir.node("DequantizeLinear", inputs, attributes, name=constants.unused("restore"))
        restored.outputs[0].name = constants.unused("floats")
        graph = layer.node.graph
        assert graph is not None
        graph.insert_before(layer.node, restored)
        layer.node.replace_input_with(layer.weight_index, restored.outputs[0])


def codes_of(layer: Layer, scales: npt.NDArray[np.float64], span: int, most: int) -> Codes:
    """The integers of a layer's weight, (rows, columns).

    Args:
        layer: of one group.
        scales: (rows, spans).
        span: columns that share one.
        most: no integer is larger.

    Raises:
        ValueError: the weight does not lie on its scales.
    """
    weight = np.concatenate(layer.matrix(), axis=-1)  # of all blocks
    steps = steps_of(scales, span, weight.shape[1])
    codes = np.rint(weight / steps)
    off = np.abs(codes * steps - weight) > 1e-3 * np.abs(steps)
    if off.any() or np.abs(codes).max(initial=0.0) > most:
        raise ValueError(f"the weight of {layer.name!r} is not on integers")
    return codes.astype(np.int64)


def bias_row(layer: Layer, constants: Constants) -> ir.Value | None:
    """A Gemm's bias as one number an output, (rows,)."""
    bias = optional_input(layer.node, 2) if layer.operator == "Gemm" else None
    if bias is None:
        return None
    numbers = tensor(bias).numpy()
    if numbers.shape == (layer.rows,):
        return bias
    name = constants.freed(layer.node, 2)
    return constants.own(np.ascontiguousarray(np.broadcast_to(numbers.reshape(-1), (layer.rows,))), name)


def replace(
    old: ir.Node, operator: str, inputs: list[ir.Value | None], attributes: Mapping[str, Any], domain: str = ""
) -> ir.Node:
    """Put a node of one output in the place of another; node and value keep their names."""
    graph, output = old.graph, old.outputs[0]
    assert isinstance(graph, ir.Graph)
    name = output.name
    node = ir.node(operator, inputs, attributes, domain=domain, name=old.name)
    node.outputs[0].type, node.outputs[0].shape = output.type, output.shape
    graph.insert_before(old, node)
    ir.convenience.replace_all_uses_with(output, node.outputs[0], replace_graph_outputs=True)
    left = [value for value in old.inputs if value is not None and is_constant(value)]
    graph.remove(old, safe=True)
    for value in left:
        # another one may have its name by now
        if not value.uses() and not value.is_graph_output() and graph.initializers.get(value.name or "") is value:
            del graph.initializers[value.name or ""]
    node.outputs[0].name = name
    return node
