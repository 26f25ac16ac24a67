"""A model that came quantized: what of it is integers, and which of these are floats while it is pruned."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import onnx_ir as ir

from netsurgeon.passes.quantization import (
    FloatWeights,
    QuantizedLayer,
    RestoreIntegers,
    WeightGrid,
    find_quantized_layers,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntegerWeights:
    """The integers that a model came with.

    Attributes:
        layers: nodes with weights of integers, in whatever form.
        grids: by layer name: the integers of those whose weights are floats for now.
        reasons: by node name: why other integers behind a DequantizeLinear stay as they are.
    """

    layers: tuple[QuantizedLayer, ...] = ()
    grids: Mapping[str, WeightGrid] = dataclasses.field(default_factory=dict, repr=False)
    reasons: Mapping[str, str] = dataclasses.field(default_factory=dict)


def find_integers(model: ir.Model) -> IntegerWeights:
    """What of a model in normal form is integers; nothing is changed."""
    return IntegerWeights(layers=tuple(find_quantized_layers(model.graph)))


def weights_to_floats(model: ir.Model) -> tuple[ir.Model, IntegerWeights]:
    """A clone of a model in normal form, the integers that can be pruned as floats; activations stay as they are."""
    integers = find_integers(model)
    if not integers.layers:
        return model, integers
    clone, floats = model.clone(), FloatWeights()
    floats(clone)
    return clone, dataclasses.replace(integers, grids=floats.grids, reasons=floats.reasons)


def weights_to_integers(model: ir.Model, integers: IntegerWeights) -> ir.Model:
    """The inverse for a model that was pruned: a clone whose weights are the integers that they lie on."""
    if not integers.grids:
        return model
    clone = model.clone()
    RestoreIntegers(integers.grids)(clone)
    return clone
