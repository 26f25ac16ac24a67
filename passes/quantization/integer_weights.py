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
    """

    name: str
    codes: npt.NDArray[np.generic] = dataclasses.field(repr=False)
    bytes: int
    form: str


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
            name=stored.name or "", codes=codes.numpy(), bytes=codes.nbytes, form=codes.dtype.name.lower()
        )
    return weights
