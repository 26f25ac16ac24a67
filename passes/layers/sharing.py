"""Layers that share a weight, or a bias."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import onnx_ir as ir

from netsurgeon.passes.graph import FEWEST_SHARED, optional_input, tensor
from netsurgeon.passes.layers.layer import Array, Layer


def sharing_layers(layers: Sequence[Layer]) -> list[tuple[Layer, ...]]:
    """Layers whose weight is the same large initializer, in order; those that share none are left out."""
    by_weight: dict[ir.Value, list[Layer]] = {}
    for layer in layers:
        by_weight.setdefault(layer.weight, []).append(layer)
    return [
        tuple(group) for weight, group in by_weight.items() if len(group) > 1 and tensor(weight).size >= FEWEST_SHARED
    ]


def can_be_solved_together(layers: Sequence[Layer]) -> bool:
    """Whether one solution serves all: they read their weight alike, and nobody else takes it."""
    first = layers[0]
    if len(first.weight.uses()) > len(layers) or first.weight.is_graph_output():
        return False
    return all(
        (layer.groups, layer.rows, layer.columns, layer.kernel_size, layer.scale, layer.rows_first())
        == (first.groups, first.rows, first.columns, first.kernel_size, first.scale, first.rows_first())
        for layer in layers
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Shared:
    """What layers have in common before one of them is solved for all.

    Attributes:
        first: the one that is solved.
        others: the rest.
        weight: the initializer that all of them have.
        bias: the first one's; None where it has none.
        is_bias_theirs: whether nobody but these layers has that bias.
    """

    first: Layer
    others: Sequence[Layer]
    weight: ir.Value
    bias: ir.Value | None
    is_bias_theirs: bool

    @classmethod
    def of(cls, first: Layer, others: Sequence[Layer]) -> Shared:
        """Layers as they are."""
        bias = _bias(first)
        uses = 0 if bias is None else len(bias.uses()) + bias.is_graph_output()
        return cls(first, others, first.weight, bias, uses == sum(_bias(layer) is bias for layer in (first, *others)))

    def take(self, shift: Array | None) -> None:
        """Let the others have what the first one has got, in the initializers that all of them shared.

        Args:
            shift: what was added to the first one's bias, (groups x rows,), and is to each of their own.
        """
        self._keep(self.first.node, self.first.weight_index, self.weight)
        for layer in self.others:
            _replace(layer.node, layer.weight_index, self.weight)
        if shift is None:
            return
        alike = [layer for layer in self.others if self._has_bias_in_common(layer)]
        for layer in self.others:
            if layer not in alike:
                layer.shift_bias(shift)
        slot = self.first.bias_slot()
        if not alike or self.bias is None or slot is None:
            return
        if self.is_bias_theirs:
            self._keep(*slot, self.bias)
            return
        node, index = slot
        own = node.inputs[index]  # equal biases of others may be the same initializer, such as one of zeros
        for layer in alike:
            if own is not None and (place := layer.bias_slot()) is not None:
                _replace(*place, own)

    def _has_bias_in_common(self, layer: Layer) -> bool:
        """Whether a layer's bias is the first one's, and is multiplied by the same number."""
        return self.bias is not None and _bias(layer) is self.bias and layer.bias_scale == self.first.bias_scale

    @staticmethod
    def _keep(node: ir.Node, index: int, shared: ir.Value) -> None:
        """Write what a node has got into the initializer that it had before."""
        own = node.inputs[index]
        if own is not None and own is not shared:
            shared.const_value = ir.tensor(tensor(own).numpy(), name=shared.name)
            _replace(node, index, shared)


def _bias(layer: Layer) -> ir.Value | None:
    slot = layer.bias_slot()
    return None if slot is None else optional_input(*slot)


def _replace(node: ir.Node, index: int, value: ir.Value) -> None:
    """Give a node another initializer, and drop the one it had where nobody else takes it."""
    old = node.inputs[index]
    if old is None or old is value:
        return
    node.replace_input_with(index, value)
    if old.graph is not None and not old.uses() and not old.is_graph_output():
        del old.graph.initializers[old.name or ""]
