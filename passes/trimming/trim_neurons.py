"""Remove units from a graph: their slices of every constant, and what sizes say of them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from netsurgeon.passes.axes import DECLARATIONS, Axis, Removal, Slot, kept
from netsurgeon.passes.dependencies import Dependencies, Part, Unit, by_group
from netsurgeon.passes.graph import (
    Edit,
    is_constant,
    label,
    names_read_once,
    operator_key,
    optional_input,
    present,
    set_initializer,
    tensor,
)

Keep = Callable[[Axis], npt.NDArray[np.bool_]]
Use = tuple[ir.Node, int]


@dataclasses.dataclass(frozen=True)
class TrimNeurons(ir.passes.InPlacePass):
    """Remove units. The columns that consume them must be zero already: then no output changes.

    Attributes:
        dependencies: of the model, or of the one it came from by changing nothing but weights.
        units: what to remove.
        check: whether to look that the consumers' columns are zero.
    """

    dependencies: Dependencies = dataclasses.field(repr=False)
    units: Sequence[Unit] = dataclasses.field(repr=False)
    check: bool = True

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Remove in place; everything is planned before anything is written.

        Raises:
            ValueError: a group would be left without a unit, a consumer's columns are not zero, or the model is not
                the one that was analysed. The model is then as it was.
        """
        if not self.units:
            return ir.passes.PassResult(model, False)
        self._check_groups()
        nodes = {label(node): node for node in model.graph}
        if self.check:
            for unit in self.units:
                for part in (*unit.consumers, *unit.zeroed):
                    _check_zero(nodes, part, unit.name)
        keep = self._keep()
        constants = list(self._constants(nodes, keep))
        edits = list(self._edits(model.graph, keep))
        shapes = list(self._shapes(model.graph, keep))
        with names_read_once(model.graph):
            for uses, array in constants:
                _write(uses, array)
            for edit in edits:
                edit.apply(nodes)
        for value, shape in shapes:
            value.shape = shape
        RemoveUnusedNodesPass()(model)  # what computed sizes that are constants now
        return ir.passes.PassResult(model, True)

    def _check_groups(self) -> None:
        removed: dict[int, set[int]] = {}
        for unit in self.units:
            removed.setdefault(unit.group, set()).add(unit.number)
        for number, numbers in removed.items():
            group = self.dependencies.groups[number]
            if len(numbers) >= len(group.units):
                raise ValueError(f"no unit of {group.node!r} would be left: at least one must stay")

    def _keep(self) -> Keep:
        classes = self.dependencies.classes
        removed = np.zeros(len(classes.reason), bool)
        removed[self.dependencies.class_of[[unit.number for unit in self.units]]] = True
        return kept(classes, removed)

    def _constants(
        self, nodes: Mapping[str, ir.Node], keep: Keep
    ) -> Iterator[tuple[list[Use], npt.NDArray[np.generic]]]:
        """New arrays, and the uses that get each; uses of one constant from which the same goes share the new one."""
        shared: dict[tuple[object, ...], tuple[list[Use], npt.NDArray[np.generic]]] = {}
        for (name, index), slots in self.dependencies.tracks.slots.items():
            masks = [keep(slot.labels) for slot in slots]
            if all(mask.all() for mask in masks):
                continue
            node = _found(nodes, name)
            value = optional_input(node, index)
            if value is None or not is_constant(value):
                raise ValueError(f"input {index} of {name!r} is not a constant any more: analyse the model again")
            # A constant that several nodes share stays shared where they lose the same indices.
            key = (value.name, *(mask.tobytes() for mask in masks))
            if key not in shared:
                shared[key] = [], _sliced(tensor(value).numpy(), slots, masks, name)
            shared[key][0].append((node, index))
        yield from _joined(shared.values())

    def _edits(self, graph: ir.Graph, keep: Keep) -> Iterator[Edit]:
        tracks = self.dependencies.tracks
        opset = graph.opset_imports.get("", graph.opset_imports.get("ai.onnx", 1))
        for node in graph:
            declaration = DECLARATIONS.get(operator_key(node.domain, node.op_type))
            if declaration is None or declaration.rewrite is None:
                continue
            removal = Removal(tracks, node, opset, keep)
            if removal.is_changed():
                yield from declaration.rewrite(removal)

    def _shapes(self, graph: ir.Graph, keep: Keep) -> Iterator[tuple[ir.Value, ir.Shape]]:
        """What the graph notes of the shapes of values that shrink."""
        for node in graph:
            for value in node.outputs:
                axes = self.dependencies.tracks.axes.get(value.name or "", ())
                if value.shape is None or len(value.shape) != len(axes):
                    continue
                left = [int(keep(axis).sum()) for axis in axes]
                if any(n < len(axis) for n, axis in zip(left, axes, strict=True)):
                    pairs = zip(value.shape, left, axes, strict=True)
                    yield value, ir.Shape([n if n < len(axis) else old for old, n, axis in pairs])


def _found(nodes: Mapping[str, ir.Node], name: str) -> ir.Node:
    if name not in nodes:
        raise ValueError(f"node {name!r} is not in the model: analyse it again")
    return nodes[name]


def _check_zero(nodes: Mapping[str, ir.Node], part: Part, unit: str) -> None:
    array = tensor(present(optional_input(_found(nodes, part.node), part.index))).numpy()
    if np.any(by_group(array, part.groups)[part.where(array.shape)]):
        raise ValueError(f"unit {unit!r} still counts in {part.node!r}: its columns there are not zero")


def _sliced(
    array: npt.NDArray[np.generic], slots: Sequence[Slot], masks: Sequence[npt.NDArray[np.bool_]], name: str
) -> npt.NDArray[np.generic]:
    if array.shape != tuple(len(slot.labels) // slot.groups for slot in slots):
        raise ValueError(f"a constant of {name!r} has another shape than when it was analysed: analyse the model again")
    for slot, mask in reversed(list(zip(slots, masks, strict=True))):  # columns of groups before rows
        if slot.groups > 1:
            array = _columns_left(array, slot, mask.reshape(slot.groups, -1))
        elif not mask.all():
            array = array.compress(mask, slot.axis)
    return np.ascontiguousarray(array)


def _columns_left(array: npt.NDArray[np.generic], slot: Slot, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.generic]:
    """Every group of rows without its own columns; a group that goes as a whole goes with its rows."""
    count = int(mask.sum(axis=1).max())
    masks = mask.copy()
    masks[~mask.any(axis=1), :count] = True
    blocks = by_group(array, slot.groups)
    return np.concatenate(
        [block.compress(block_mask, slot.axis) for block, block_mask in zip(blocks, masks, strict=True)]
    )


def _write(uses: Sequence[Use], array: npt.NDArray[np.generic]) -> None:
    """Give all uses one new constant: the old one where nobody else uses it, else a fresh one."""
    node, index = uses[0]
    old = present(node.inputs[index])
    if len(uses) == len(old.uses()) and not old.is_graph_output():
        old.const_value = ir.tensor(array, name=old.name)
        old.shape = ir.Shape(array.shape)
        return
    set_initializer(node, index, array, old.name or "constant")
    fresh = present(node.inputs[index])
    for other, at in uses[1:]:
        other.replace_input_with(at, fresh)


def _joined(
    constants: Iterable[tuple[list[Use], npt.NDArray[np.generic]]],
) -> Iterator[tuple[list[Use], npt.NDArray[np.generic]]]:
    """Uses of equal matrices together.

    One that several nodes share has been cloned where the columns of units were zeroed for some of them: without those
    columns the clones are equal again, and one tensor.
    """
    by_content: dict[tuple[object, ...], tuple[list[Use], npt.NDArray[np.generic]]] = {}
    for uses, array in constants:
        key: tuple[object, ...] = (id(array),)
        if array.ndim > 1:
            digest = hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).data).digest()
            key = (array.shape, array.dtype, digest)
        by_content.setdefault(key, ([], array))[0].extend(uses)
    yield from by_content.values()
