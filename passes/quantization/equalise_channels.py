"""Move scale between two layers, channel by channel, so that one range serves all channels between them.

Relu(a x) = a Relu(x) for a > 0: what the first layer's rows and bias are divided by, the second one's columns are
multiplied by, and the model computes the same (Nagel et al., arXiv 1906.04721). Activations share one scale, so that a
channel that stays small is rounded coarsely beside one that does not; weights have a scale a row.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import optional_input, tensor
from netsurgeon.passes.layers import Layer, find_layers
from netsurgeon.passes.quantization.clips import end_of_clips

Array = npt.NDArray[np.float64]

BALANCE = 0.5
"""Exponent of the activations' reach against that of the weights that take them (SmoothQuant, arXiv 2211.10438)."""
MOST_FACTOR = 64.0
"""No channel is scaled by more: what hardly fires on the calibration inputs may fire on others."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChannelPair:
    """Two layers with nothing but a Relu or Clip between them.

    Attributes:
        first: makes the channels.
        second: the only one that takes them.
        value: what it takes.
        ceiling: number at which channels are clipped.
    """

    first: Layer
    second: Layer
    value: str
    ceiling: float


def find_channel_pairs(graph: ir.Graph) -> list[ChannelPair]:
    """Every pair of layers between which scale can move, in graph order."""
    layers = {layer.node: layer for layer in find_layers(graph)[0]}
    pairs = []
    for layer in layers.values():
        if layer.operator not in ("Conv", "Gemm") or layer.bias_slot() is None:
            continue
        value, (low, ceiling) = end_of_clips(layer.node.outputs[0])
        if low not in (0.0, -math.inf) or (low < ceiling < math.inf and low < 0.0):
            continue
        uses = list(value.uses())
        second = layers.get(uses[0].node) if len(uses) == 1 else None
        if second is None or second.input is not value or value.is_graph_output():
            continue
        if second.operator == layer.operator and all(len(node.weight.uses()) == 1 for node in (layer, second)):
            pairs.append(ChannelPair(first=layer, second=second, value=value.name or "", ceiling=ceiling))
    return pairs


@dataclasses.dataclass(frozen=True)
class EqualiseChannels(ir.passes.InPlacePass):
    """Balance what channels reach against the weights that take them.

    Attributes:
        reach: largest size of each channel of the values between pairs, (channels,), by name of value.
    """

    reach: Mapping[str, Array] = dataclasses.field(repr=False)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rescale in place; the model computes the same, up to rounding."""
        modified = False
        for pair in find_channel_pairs(model.graph):
            if pair.value in self.reach:
                factors = _factors(pair, self.reach[pair.value])
                _scale_rows(pair.first, 1.0 / factors)
                scale_columns(pair.second, factors)
                modified = True
        return ir.passes.PassResult(model, modified)


def _factors(pair: ChannelPair, reach: Array) -> Array:
    """What the channels are divided by, (channels,)."""
    second = pair.second
    # a depthwise layer has a scale of its own for the weights of each channel: the activations decide alone
    balance = 1.0 if second.columns == second.kernel_size else BALANCE
    factors = balanced_factors(reach, columns_of(second).max(axis=(1, 2)), balance)
    # channels that reach the clip, or would once they are larger, stay: scaled, they would be clipped elsewhere
    clipped = reach * np.maximum(1.0, 1.0 / factors) >= pair.ceiling
    return np.asarray(np.where(clipped, 1.0, factors))


def balanced_factors(reach: npt.NDArray[np.floating], largest: Array, balance: float) -> Array:
    """What channels are divided by, (channels,); powers of two, which change no digit of a weight.

    Args:
        reach: largest size of each channel.
        largest: of the weights that take it.
        balance: exponent of `reach`; that of `largest` is what is missing to 1.
    """
    usable = (reach > 0.0) & (largest > 0.0)
    if not usable.any():
        return np.ones(len(reach))
    logarithms = np.zeros(len(reach))
    logarithms[usable] = balance * np.log2(reach[usable]) - (1.0 - balance) * np.log2(largest[usable])
    logarithms[usable] -= logarithms[usable].mean()
    steps = np.rint(np.clip(logarithms, -math.log2(MOST_FACTOR), math.log2(MOST_FACTOR)))
    return np.asarray(np.where(usable, 2.0**steps, 1.0))


def columns_of(layer: Layer) -> Array:
    """Sizes of a layer's weights by input channel, (channels, rows of its group, kernel)."""
    matrix = np.abs(layer.matrix()).reshape(layer.groups, layer.blocks, layer.rows, -1, layer.kernel_size)
    return np.asarray(matrix.transpose(0, 1, 3, 2, 4).reshape(-1, layer.rows, layer.kernel_size))


def _scale_rows(layer: Layer, factors: Array) -> None:
    matrix = layer.matrix()
    stacked = matrix.reshape(layer.groups, layer.blocks, layer.rows, -1)
    layer.write((stacked * factors.reshape(layer.groups, 1, layer.rows, 1)).reshape(matrix.shape))
    bias = optional_input(layer.node, 2)
    if bias is not None:
        old = np.broadcast_to(tensor(bias).numpy().reshape(-1), factors.shape).astype(np.float64)
        # beta multiplies what is stored, and is taken out of the shift again
        beta = layer.node.attributes.get_float("beta", 1.0) if layer.operator == "Gemm" else 1.0
        layer.shift_bias(beta * old * (factors - 1.0))


def scale_columns(layer: Layer, factors: Array) -> None:
    """Multiply the weights that take each channel, (channels,), by a factor."""
    matrix = layer.matrix()
    stacked = matrix.reshape(layer.groups * layer.blocks, layer.rows, -1, layer.kernel_size)
    by_column = factors.reshape(layer.groups * layer.blocks, 1, -1, 1)
    layer.write((stacked * by_column).reshape(matrix.shape))
