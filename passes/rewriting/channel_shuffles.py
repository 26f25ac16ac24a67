"""Shuffles of channels, as exporters write them: Reshape, Transpose, Reshape."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, optional_input, present, tensor

Shapes = Mapping[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True, eq=False)
class Shuffle:
    """``(N, groups, width, ...)`` read as ``(N, width, groups, ...)``.

    Attributes:
        first: the Reshape that takes what is shuffled.
        last: the Reshape that gives the result.
        groups: into which the channels fall.
        channels: how many there are.
    """

    first: ir.Node
    last: ir.Node
    groups: int
    channels: int

    @property
    def order(self) -> list[int]:
        """Which channel of the input each channel of the output is."""
        width = self.channels // self.groups
        return [channel % self.groups * width + channel // self.groups for channel in range(self.channels)]


def find_shuffles(graph: ir.Graph, shapes: Shapes) -> list[Shuffle]:
    """Every shuffle of channels whose inner values nothing else reads.

    Args:
        graph: in normal form.
        shapes: of values as a run shows them, by name; what is not there is no shuffle.
    """
    shuffles = (_shuffle(node, shapes) for node in graph if node.op_type == "Reshape" and not node.domain)
    return [shuffle for shuffle in shuffles if shuffle is not None]


def _shuffle(last: ir.Node, shapes: Shapes) -> Shuffle | None:
    transpose = _only_maker(last, "Transpose")
    first = _only_maker(transpose, "Reshape") if transpose is not None else None
    if transpose is None or first is None:
        return None
    perm = tuple(transpose.attributes.get_ints("perm", ()))
    before, middle, after = (
        shapes.get(value.name or "", ()) for value in (present(first.inputs[0]), first.outputs[0], last.outputs[0])
    )
    rank = len(before)
    if rank < 3 or perm != (0, 2, 1, *range(3, rank + 1)) or len(middle) != rank + 1:
        return None
    groups, width = middle[1:3]
    is_shuffle = before == after and middle == (before[0], groups, width, *before[2:]) and groups * width == before[1]
    # what the run shows must hold for other inputs: the groups may not be computed
    if not is_shuffle or not _is_fixed(optional_input(first, 1)):
        return None
    return Shuffle(first, last, groups, before[1])


def _only_maker(node: ir.Node, operator: str) -> ir.Node | None:
    """What makes a node's first input, where it is of this type and nothing else reads it."""
    value = present(node.inputs[0])
    maker = value.producer()
    if maker is None or maker.op_type != operator or maker.domain or len(value.uses()) != 1 or value.is_graph_output():
        return None
    return maker


def _is_fixed(shape: ir.Value | None) -> bool:
    """Whether the groups in a shape, its second and third number, are constants; the others may be computed."""
    if is_constant(shape):
        return True
    maker = None if shape is None else shape.producer()
    if maker is None or maker.op_type != "Concat":
        return False
    parts = maker.inputs[1:3]
    return len(parts) == 2 and all(
        value is not None and is_constant(value) and tensor(value).size == 1 for value in parts
    )
