"""Weights that are stored as integers with a scale: QuantizeLinear's counterpart in front of a layer."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, label, optional_input, present, tensor, traits_of


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
    """By name of the layer's node: weights that a DequantizeLinear makes of integers, which lie in an initializer."""
    weights = {}
    for node in graph:
        if node.domain or traits_of(node).integer_role != "weighs":
            continue
        maker = present(node.inputs[1]).producer()
        if maker is None or maker.op_type != "DequantizeLinear":
            continue
        stored = optional_input(maker, 0)
        if stored is None or not is_constant(stored):
            continue
        codes = tensor(stored)
        weights[label(node)] = StoredWeight(
            name=stored.name or "",
            codes=codes.numpy(),
            bytes=codes.nbytes,
            form=codes.dtype.name.lower(),
            nonzero=int((whole_numbers(maker) != 0).sum()),
        )
    return weights
