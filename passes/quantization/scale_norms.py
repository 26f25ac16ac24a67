"""Move scale from a normalised activation into the weights that take it, so that no channel stands out.

A norm ends in ``u γ + β``, with a number a channel. What γ and β are divided by, the columns of every layer behind them
are multiplied by, and the model computes the same (SmoothQuant, arXiv 2211.10438, section 4). A few channels of
transformers reach a hundred times as far as the others, which share a scale with them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, label, optional_input, present, set_initializer, tensor
from netsurgeon.passes.layers import Layer, find_layers
from netsurgeon.passes.quantization.equalise_channels import BALANCE, balanced_factors, columns_of, scale_columns

Array = npt.NDArray[np.float64]
Slot = tuple[ir.Node, int]

_NORMS = {
    "LayerNormalization": (1, 2),
    "RMSNormalization": (1,),
    "SimplifiedLayerNormalization": (1,),
}
"""Inputs of an operator that its output is proportional to, taken together."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScaledNorm:
    """A norm whose output only layers read.

    Attributes:
        slots: where its γ and β are, constants of one number a channel of the last axis.
        readers: the layers.
        value: what they take.
    """

    slots: tuple[Slot, ...]
    readers: tuple[Layer, ...]
    value: str


def find_scaled_norms(graph: ir.Graph) -> list[ScaledNorm]:
    """Every norm from which scale can move into weights, in graph order.

    Found are the operators that normalise, and a Mul and Add by constants, which is how older exporters end them.
    """
    layers = {layer.node: layer for layer in find_layers(graph)[0]}
    norms = []
    for node in graph:
        slots = _slots(node)
        sizes = {tensor(_constant(slot)).size for slot in slots}
        readers = _readers(node.outputs[0], layers, min(sizes)) if len(sizes) == 1 else None
        if readers:
            norms.append(ScaledNorm(slots=slots, readers=readers, value=node.outputs[0].name or ""))
    return norms


@dataclasses.dataclass(frozen=True)
class ScaleNorms(ir.passes.InPlacePass):
    """Balance what channels of norms reach against the weights that take them.

    Attributes:
        reach: largest size of each channel of the norms' outputs, (channels,), by name of value.
    """

    reach: Mapping[str, npt.NDArray[np.floating]] = dataclasses.field(repr=False)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rescale in place; factors are powers of two, and the model computes the same to the last bit but overflow."""
        modified = False
        for norm in find_scaled_norms(model.graph):
            if norm.value not in self.reach:
                continue
            # one factor serves all layers: what their columns reach together counts
            largest = np.max([columns_of(reader).max(axis=(1, 2)) for reader in norm.readers], axis=0)
            factors = balanced_factors(self.reach[norm.value], largest, BALANCE)
            for slot in norm.slots:
                _divide(slot, factors)
            for reader in norm.readers:
                scale_columns(reader, factors)
            modified = True
        return ir.passes.PassResult(model, modified)


def _slots(node: ir.Node) -> tuple[Slot, ...]:
    """Where the constants are that a node's output is proportional to, taken together; none where there are no such."""
    if node.op_type in _NORMS and node.domain in ("", "com.microsoft"):
        return _of_operator(node)
    if node.domain or node.op_type not in ("Add", "Mul"):
        return ()
    constant = _vector(node)
    if constant is None:
        return ()
    if node.op_type == "Mul":
        return ((node, constant),)
    other = present(node.inputs[1 - constant])
    scaled = other.producer()
    if scaled is None or scaled.op_type != "Mul" or scaled.domain or len(other.uses()) != 1 or other.is_graph_output():
        return ()
    factor = _vector(scaled)
    return ((scaled, factor), (node, constant)) if factor is not None else ()


def _of_operator(node: ir.Node) -> tuple[Slot, ...]:
    """Of an operator that normalises: constants of one axis are always those of the last one."""
    slots = tuple((node, index) for index in _NORMS[node.op_type] if optional_input(node, index) is not None)
    are_vectors = all(is_constant(_constant(slot)) and len(tensor(_constant(slot)).shape) == 1 for slot in slots)
    return slots if are_vectors else ()


def _vector(node: ir.Node) -> int | None:
    """Which input of an Add or Mul is a constant of one number for each index of the last axis."""
    for index in (0, 1):
        value = node.inputs[index]
        if value is not None and is_constant(value):
            shape = tensor(value).shape.numpy()
            is_float = tensor(value).dtype == ir.DataType.FLOAT
            return index if is_float and shape and shape[-1] > 1 and math.prod(shape) == shape[-1] else None
    return None


def _readers(value: ir.Value, layers: Mapping[ir.Node, Layer], columns: int) -> tuple[Layer, ...] | None:
    """The layers of so many columns that read a value, perhaps as rows of a matrix; None where anything else does."""
    if value.is_graph_output():
        return None
    readers: list[Layer] = []
    for use in value.uses():
        layer = layers.get(use.node)
        if _keeps_last_axis(use.node, columns) and use.idx == 0:
            behind = _readers(use.node.outputs[0], layers, columns)
            if behind is None:
                return None
            readers += behind
        elif layer is None or layer.columns != columns or not _multiplies_last_axis(layer, value):
            return None
        else:
            readers.append(layer)
    return tuple(readers)


def _keeps_last_axis(node: ir.Node, columns: int) -> bool:
    """Whether a node gives what it takes, or its rows in another arrangement."""
    if node.domain or node.op_type not in ("Identity", "Reshape"):
        return False
    if node.op_type == "Identity":
        return True
    extents = node.inputs[1]
    return extents is not None and is_constant(extents) and int(tensor(extents).numpy()[-1]) == columns


def _multiplies_last_axis(layer: Layer, value: ir.Value) -> bool:
    if layer.operator not in ("Gemm", "MatMul") or layer.host is not None or layer.input is not value:
        return False
    has_own_weight = layer.weight_index == 1 and len(layer.weight.uses()) == 1
    return has_own_weight and not layer.node.attributes.get_int("transA", 0)


def _constant(slot: Slot) -> ir.Value:
    node, index = slot
    return present(node.inputs[index])


def _divide(slot: Slot, factors: Array) -> None:
    node, index = slot
    old = tensor(_constant(slot)).numpy()
    new = (old.astype(np.float64) / factors.reshape(old.shape)).astype(old.dtype)
    set_initializer(node, index, new, f"{label(node)}_scaled")
