"""What the declarations of operators have said of the axes of a graph, as `_axes` collects it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.axes.labels import Axis, Classes, Labels
from netsurgeon.passes.graph import is_constant

Axes = tuple[Axis, ...]


@dataclasses.dataclass(frozen=True)
class Observation:
    """What one run of the model has shown.

    Attributes:
        shapes: of every value that is a tensor, by name.
        integers: small integer values that are computed, by name.
    """

    shapes: Mapping[str, tuple[int, ...]]
    integers: Mapping[str, npt.NDArray[np.int64]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Reason:
    """Why labels are frozen: the node that asks for it, and what it says."""

    node: str
    operator: str
    text: str


@dataclasses.dataclass(frozen=True, eq=False)
class Slot:
    """An axis of a constant, as one node uses it.

    Attributes:
        node: the node's name.
        index: which of its inputs.
        axis: which axis of the constant.
        labels: of the axis.
        size: elements of the constant.
        contracted: where set, the node sums over the axis where these labels are free.
        groups: where above 1, `labels` run over (group, index): each group of rows (axis 0) has columns of its own.
    """

    node: str
    index: int
    axis: int
    labels: Axis
    size: int
    contracted: Axis | None = None
    groups: int = 1


@dataclasses.dataclass(frozen=True, eq=False)
class Product:
    """A sum over an axis of two activations.

    Attributes:
        node: that sums.
        labels: of input 0's and of input 1's axis.
        heads: of queries and of keys, where these are the inputs; None where both are matrices as MatMul takes them.
    """

    node: str
    labels: Axis
    heads: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Work:
    """Multiply-adds of a node for one sample; they are in proportion to the extent of each of `axes`.

    Where there are groups, the first two axes are cut into them, and each group multiplies its own.
    """

    node: str
    amount: float
    axes: Axes
    groups: int = 1


class Tracks:
    """Everything the declarations of a graph have said."""

    def __init__(self, observation: Observation):
        self.observation = observation
        self.labels = Labels()
        self.axes: dict[str, Axes] = {}
        self.slots: dict[tuple[str, int], list[Slot]] = {}
        self.reasons: list[Reason] = []
        self.products: list[Product] = []
        self.work: list[Work] = []
        self.extents: dict[str, tuple[Axis | None, ...]] = {}
        """Of values computed from shapes: the axis whose extent each entry is, None where it is a constant."""

    def reason(self, node: str, operator_name: str, text: str) -> int:
        """The number of a new reason."""
        self.reasons.append(Reason(node, operator_name, text))
        return len(self.reasons) - 1

    def shape(self, value: ir.Value) -> tuple[int, ...] | None:
        """Shape of a value; None for what is no tensor or was not observed."""
        if value.const_value is not None:
            return tuple(value.const_value.shape.numpy())
        return self.observation.shapes.get(value.name or "")

    def is_static(self, value: ir.Value | None) -> bool:
        """Whether a value is missing, a constant, or integers computed from constants alone."""
        if value is None or is_constant(value):
            return True
        extents = self.extents.get(value.name or "")
        return extents is not None and all(source is None for source in extents)


def kept(classes: Classes, removed: npt.NDArray[np.bool_]) -> Callable[[Axis], npt.NDArray[np.bool_]]:
    """A function that says of an axis which indices stay; `removed` (classes,) marks classes."""

    def keep(axis: Axis) -> npt.NDArray[np.bool_]:
        if axis.strides == (0,) and len(axis):
            return np.broadcast_to(~removed[classes.of[axis[:1]]], axis.shape)
        return np.asarray(~removed[classes.of[axis]])

    return keep
