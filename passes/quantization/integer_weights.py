"""Weights that are stored as integers with a scale: QuantizeLinear's counterpart in front of a layer."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, label, optional_input, present, tensor, traits_of
from netsurgeon.passes.quantization.store_blocks import MICROSOFT, unpack_codes


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredWeight:
    """What a file holds of one layer's weight.

    Attributes:
        name: of the initializer that holds it.
        codes: its integers, or numbers, of the weight's shape.
        bytes: of these, not packed.
        form: what it is stored as: a type of integers, or "dense".
        nonzero: how many of them do not stand for 0.
    """

    name: str
    codes: npt.NDArray[np.generic] = dataclasses.field(repr=False)
    bytes: int
    form: str
    nonzero: int


def whole_numbers(dequantize: ir.Node) -> npt.NDArray[np.int64]:
    """What a DequantizeLinear of constants multiplies by its scale: codes less their zero points.

    Zero points of blocks are not subtracted.
    """
    codes = tensor(present(dequantize.inputs[0])).numpy().astype(np.int64)
    zero = optional_input(dequantize, 2)
    if zero is None or not is_constant(zero) or "block_size" in dequantize.attributes:
        return codes
    zeros = tensor(zero).numpy().astype(np.int64)
    axis = dequantize.attributes.get_int("axis", 1)
    if zeros.size == 1:
        return codes - zeros.reshape(())
    return codes - zeros.reshape([-1 if at == axis % codes.ndim else 1 for at in range(codes.ndim)])


def find_integer_weights(graph: ir.Graph) -> dict[str, StoredWeight]:
    """By name of the layer's node: weights that lie in an initializer as integers, in whatever operator takes them."""
    weights = {}
    for node in graph:
        stored = _stored(node)
        if stored is not None and is_constant(stored):
            codes, maker = _codes(node, stored), next(iter(stored.uses())).node
            numbers = whole_numbers(maker) if maker.op_type == "DequantizeLinear" else codes
            weights[label(node)] = StoredWeight(
                name=stored.name or "",
                codes=codes,
                bytes=tensor(stored).nbytes,
                form=tensor(stored).dtype.name.lower(),
                nonzero=int(np.count_nonzero(numbers)),
            )
    return weights


def _stored(node: ir.Node) -> ir.Value | None:
    """The value that holds a layer's integers; None where the node is no such layer."""
    if node.op_type == "MatMulNBits" and node.domain == MICROSOFT:
        return node.inputs[1]
    if node.domain:
        return None
    if node.op_type == "MatMulInteger":
        return node.inputs[1]
    if node.op_type == "Gather":
        table = node.inputs[0]
        is_table = is_constant(table) and tensor(present(table)).dtype == ir.DataType.INT8
        return table if is_table and len(tensor(present(table)).shape) == 2 else None
    maker = present(node.inputs[1]).producer() if traits_of(node).integer_role == "weighs" else None
    return optional_input(maker, 0) if maker is not None and maker.op_type == "DequantizeLinear" else None


def _codes(node: ir.Node, stored: ir.Value) -> npt.NDArray[np.generic]:
    """The integers, one an entry."""
    array = tensor(stored).numpy()
    bits = node.attributes.get_int("bits", 8) if node.op_type == "MatMulNBits" else 8
    if node.op_type != "MatMulNBits" or bits not in (4, 8):
        return array
    return unpack_codes(array, bits, node.attributes.get_int("K"))
