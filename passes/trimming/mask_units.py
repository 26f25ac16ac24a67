"""The masked model: units that no longer count anywhere, with everything still in its place."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence, Set

import onnx_ir as ir

from netsurgeon.passes.dependencies import Part, Unit, by_group
from netsurgeon.passes.graph import label, names_read_once, present, set_initializer, tensor


@dataclasses.dataclass(frozen=True)
class MaskUnits(ir.passes.InPlacePass):
    """Zero the columns of units in every consumer; their producers stay as they are.

    Whatever lies between (f(0) ≠ 0, biases, padding), every path of a unit ends in a zero column. Where it ends in a
    product of two activations, there is no column: its slice of one factor, bias included, is zeroed.

    Attributes:
        units: what to mask.
        corrected: nodes whose columns are left alone, because a correction that needs them will zero them.
    """

    units: Sequence[Unit] = dataclasses.field(repr=False)
    corrected: Set[str] = frozenset()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Mask in place.

        Raises:
            ValueError: a weight of a unit is not in the model.
        """
        nodes = {label(node): node for node in model.graph}
        parts: dict[tuple[str, int], list[Part]] = {}
        for unit in self.units:
            consumers = (consumer for consumer in unit.consumers if consumer.node not in self.corrected)
            for part in (*consumers, *unit.zeroed):
                parts.setdefault((part.node, part.index), []).append(part)
        with names_read_once(model.graph):
            for (name, index), parts_of_input in parts.items():
                if name not in nodes:
                    raise ValueError(f"node {name!r} is not in the model: analyse it again")
                value = present(nodes[name].inputs[index])
                array = tensor(value).numpy().copy()
                for part in parts_of_input:
                    by_group(array, part.groups)[part.where(array.shape)] = 0
                set_initializer(nodes[name], index, array, value.name or "weight")
        return ir.passes.PassResult(model, bool(parts))
