"""What to set to zero so that one factor of a product of two activations is zero along an index."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.axes import DECLARATIONS, Classes, Slot, Tracks
from netsurgeon.passes.graph import is_constant, label, operator_key


def zeroed_slots(
    tracks: Tracks, classes: Classes, node: ir.Node, index: int, class_numbers: set[int]
) -> dict[int, list[Slot]]:
    """By class, the slices of constants that make input `index` of `node` zero there; classes without are left out."""
    value = node.inputs[index]
    result = {}
    for class_number in class_numbers:
        slots: list[Slot] = []
        if value is not None and _Search(tracks, classes, class_number, slots).zero(value, node, index):
            result[class_number] = slots
    return result


class _Search:
    """Goes back from a value to the constants that make it, as long as zero gives zero."""

    def __init__(self, tracks: Tracks, classes: Classes, class_number: int, slots: list[Slot]):
        self._tracks, self._classes, self._class, self._slots = tracks, classes, class_number, slots

    def zero(self, value: ir.Value, user: ir.Node, index: int) -> bool:
        """Whether constants can make the value zero; those that do are collected."""
        if not self._carries(value, user, index):
            return False
        if is_constant(value):
            slots = [slot for slot in self._tracks.slots.get((label(user), index), ()) if self._in(slot.labels)]
            self._slots.extend(slots)
            return bool(slots)
        node = value.producer()
        declaration = DECLARATIONS.get(operator_key(node.domain, node.op_type)) if node is not None else None
        if node is None or declaration is None or declaration.zero is None:
            return False
        if declaration.zero == "own":
            return self._own(node)
        inputs = [(v, node, k) for k, v in enumerate(node.inputs) if v is not None]
        if declaration.zero == "first":
            return self.zero(*inputs[0])
        if declaration.zero == "any":
            return any(self._attempt(*operand) for operand in inputs)
        if declaration.zero == "carried":
            return all(self.zero(*operand) for operand in inputs if self._carries(*operand))
        return all(self._is_zero(operand[0]) or self.zero(*operand) for operand in inputs)

    def _own(self, node: ir.Node) -> bool:
        slots = [
            slot
            for index in range(len(node.inputs))
            for slot in self._tracks.slots.get((label(node), index), ())
            if slot.contracted is None and self._in(slot.labels)
        ]
        self._slots.extend(slots)
        added = node.inputs[2] if len(node.inputs) > 2 else None
        return bool(slots) and (added is None or is_constant(added) or not self._carries(added, node, 2))

    def _attempt(self, value: ir.Value, node: ir.Node, index: int) -> bool:
        before = len(self._slots)
        if self.zero(value, node, index):
            return True
        del self._slots[before:]
        return False

    def _carries(self, value: ir.Value, node: ir.Node, index: int) -> bool:
        if is_constant(value):
            return any(self._in(slot.labels) for slot in self._tracks.slots.get((label(node), index), ()))
        return any(self._in(axis) for axis in self._tracks.axes.get(value.name or "", ()))

    @staticmethod
    def _is_zero(value: ir.Value) -> bool:
        return value.const_value is not None and not np.any(value.const_value.numpy())

    def _in(self, axis: np.typing.NDArray[np.int64]) -> bool:
        return bool((self._classes.of[axis] == self._class).any())
