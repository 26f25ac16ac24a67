"""How every operator carries the indices of its axes: the only place that knows operators for trimming.

An operator *declares*, once, how labels travel from its inputs to its outputs (`NodeAxes`), and says what must be
rewritten when indices vanish (`Removal`). The declarations are in the modules `_axes_*`; what has none is frozen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.axes.labels import UNREPORTED, Axis
from netsurgeon.passes.axes.tracks import Axes, Product, Slot, Tracks, Work
from netsurgeon.passes.graph import Edit, Override, SetConstant, is_constant, label, optional_input, tensor

Numbers = npt.NDArray[np.generic]


class UndeclaredError(Exception):
    """A declaration does not cover a node; the text is the reason that the user reads."""


Declare = Callable[["NodeAxes"], None]
Rewrite = Callable[["Removal"], Iterator[Edit]]


@dataclasses.dataclass(frozen=True)
class Declaration:
    """What an operator says of its axes.

    Attributes:
        declare: says how labels travel.
        rewrite: what changes besides the weights when indices vanish.
        zero: which inputs must be zero along an index for the output to be zero there: "first", "any", "all",
            "carried" (all that have the index), "own" (its constants alone); None where zero does not give zero.
    """

    declare: Declare
    rewrite: Rewrite | None = None
    zero: str | None = None


DECLARATIONS: dict[str, Declaration] = {}


def operator(*names: str, rewrite: Rewrite | None = None, zero: str | None = None) -> Callable[[Declare], Declare]:
    """Register a declaration for operators; those of another domain with it in front, as "com.microsoft.Gelu".

    Raises:
        ValueError: an operator is declared twice.
    """

    def register(declare: Declare) -> Declare:
        for name in names:
            if name in DECLARATIONS:
                raise ValueError(f"{name} is declared twice")
            DECLARATIONS[name] = Declaration(declare, rewrite, zero)
        return declare

    return register


class NodeAxes:
    """One node, as its declaration sees it: axes in, axes out, and how they hang together."""

    def __init__(self, tracks: Tracks, node: ir.Node, opset: int):
        self._tracks, self.node, self.opset = tracks, node, opset
        self.labels = tracks.labels
        self.handled: set[int] = set()
        self.asked: set[int] = set()

    # ------------------------------------------------------------------------------------------------ reading
    def has(self, index: int) -> bool:
        """Whether the node has this input."""
        return optional_input(self.node, index) is not None

    def is_constant(self, index: int) -> bool:
        """Whether an input is a constant."""
        return is_constant(optional_input(self.node, index))

    def is_static(self, index: int) -> bool:
        """Whether an input is missing, a constant, or integers computed from constants alone."""
        return self._tracks.is_static(optional_input(self.node, index))

    def shape(self, index: int) -> tuple[int, ...]:
        """Shape of an input.

        Raises:
            UndeclaredError: it is not known.
        """
        value = optional_input(self.node, index)
        shape = None if value is None else self._tracks.shape(value)
        if shape is None:
            raise UndeclaredError(f"the shape of its input {index} is not known")
        return shape

    def output_shape(self, index: int = 0) -> tuple[int, ...]:
        """Shape of an output.

        Raises:
            UndeclaredError: it is not known.
        """
        shape = self._tracks.shape(self.node.outputs[index])
        if shape is None:
            raise UndeclaredError(f"the shape of its output {index} is not known")
        return shape

    def axes(self, index: int) -> Axes:
        """Labels of an input's axes; of a constant they are made for this use of it."""
        value = optional_input(self.node, index)
        self.asked.add(index)
        if value is None:
            raise UndeclaredError(f"it has no input {index}")
        if not is_constant(value):
            if value.name not in self._tracks.axes:
                raise UndeclaredError(f"the shape of its input {index} is not known")
            return self._tracks.axes[value.name]
        key = (label(self.node), index)
        if key not in self._tracks.slots:
            constant = tensor(value)
            is_output = value.is_graph_output()
            axes = [self._constant_axis(extent, constant.size, is_output) for extent in constant.shape.numpy()]
            self._tracks.slots[key] = [Slot(*key, axis, ids, constant.size) for axis, ids in enumerate(axes)]
        return tuple(slot.labels for slot in self._tracks.slots[key])

    def _constant_axis(self, extent: int, size: int, is_output: bool) -> Axis:
        if extent == 1 or size == 0:
            return self.labels.fixed(extent)
        if is_output:
            return self.labels.fixed(extent, self.reason("its constant is an output of the model"))
        return self.labels.fresh(extent, size / extent)

    def numbers(self, index: int, attribute: str = "") -> tuple[int, ...] | None:
        """An attribute, or else an input, as integers; None where there is neither.

        Raises:
            UndeclaredError: the input is computed from more than shapes.
        """
        if attribute and attribute in self.node.attributes:
            stored = self.node.attributes[attribute]
            return tuple(stored.as_ints()) if stored.type == ir.AttributeType.INTS else (stored.as_int(),)
        value = optional_input(self.node, index)
        if value is None:
            return None
        if is_constant(value):
            return tuple(int(number) for number in tensor(value).numpy().ravel())
        integers = self._tracks.observation.integers.get(value.name or "")
        if integers is None or value.name not in self._tracks.extents:
            raise UndeclaredError(f"its input {index} is computed while the model runs")
        return tuple(int(number) for number in integers.ravel())

    # ------------------------------------------------------------------------------------------------ saying
    def reason(self, text: str) -> int:
        """The number of a reason that this node gives."""
        return self._tracks.reason(label(self.node), self.node.op_type, text)

    def join(self, one: Axis, other: Axis) -> None:
        """Let equal indices vanish together.

        Raises:
            UndeclaredError: the axes are of different length.
        """
        if len(one) != len(other):
            raise UndeclaredError(f"its axes of {len(one)} and {len(other)} do not match")
        self.labels.join(one, other)

    def freeze(self, axes: Iterable[Axis], text: str) -> None:
        """Keep all indices of axes; no reason (an empty text) for what nobody would expect to vanish."""
        why = self.reason(text) if text else UNREPORTED
        for axis in axes:
            self.labels.freeze(axis, why)

    def fresh(self, extent: int) -> Axis:
        """A new axis; a single index stays."""
        return self.labels.fresh(extent) if extent > 1 else self.labels.fixed(extent)

    def fixed(self, extent: int, text: str = "") -> Axis:
        """A new axis that stays."""
        return self.labels.fixed(extent, self.reason(text) if text else UNREPORTED)

    def split(self, flat: Axis, factors: Sequence[Axis]) -> None:
        """Let `flat` run over the combinations of `factors`."""
        sizes = " x ".join(str(len(factor)) for factor in factors)
        self.labels.split(flat, factors, self.reason(f"{len(flat)} indices run over {sizes}, and only one can vanish"))

    def contract(self, index: int, axis: int, labels: Axis | None = None) -> None:
        """The node sums over an axis of its constant (where `labels`, if given, are what vanishes)."""
        slots = self._tracks.slots[label(self.node), index]
        slots[axis] = dataclasses.replace(slots[axis], contracted=slots[axis].labels if labels is None else labels)

    def contract_grouped(self, index: int, axis: int, flat: Axis, groups: int, labels: Axis) -> None:
        """The node sums over an axis of its constant, of which every group of rows has another part of `flat`."""
        slots = self._tracks.slots[label(self.node), index]
        slots[axis] = dataclasses.replace(slots[axis], labels=flat, contracted=labels, groups=groups)
        self.labels.weigh(flat, slots[axis].size / len(flat))

    def group(self, flat: Axis, group: Axis, inner: Axis) -> None:
        """Let `flat` run over groups that lose whole groups, or equally many indices each."""
        text = f"{len(flat)} indices in {len(group)} groups cannot vanish evenly"
        self.labels.group(flat, group, inner, self.reason(text))

    def multiply(self, labels: Axis, heads: tuple[int, int] | None = None) -> None:
        """The node sums over these indices of its first two inputs, both activations, which may come in heads."""
        self._tracks.products.append(Product(label(self.node), labels, heads))

    def work(self, amount: float, *axes: Axis, groups: int = 1, samples: int | None = None) -> None:
        """The node does so many multiply-adds for the samples that were observed: the extent of its output's axis 0."""
        if samples is None:
            samples = self.output_shape()[0] if self.output_shape() else 1
        self._tracks.work.append(Work(label(self.node), amount / max(samples, 1), axes, groups))

    def sizes(self, index: int, axes: Sequence[Axis]) -> None:
        """Input `index` holds the extents of these axes; what it takes from another axis ties the two.

        Raises:
            UndeclaredError: it is computed from more than shapes.
        """
        self.handled.add(index)
        value = optional_input(self.node, index)
        extents = self._tracks.extents.get("" if value is None else value.name or "")
        if extents is None and value is not None and not is_constant(value):
            raise UndeclaredError(f"its input {index} is computed while the model runs")
        for axis, source in zip(axes, extents or (), strict=False):
            if source is not None and len(source) == len(axis):
                self.labels.join(source, axis)
            elif source is not None and len(axis) > 1:
                self.labels.freeze(source, self.reason("its size is that of another axis"))

    def emit(self, *outputs: Sequence[Axis]) -> None:
        """Give the outputs their axes, in order.

        Raises:
            UndeclaredError: an output has another shape.
        """
        for index, (value, axes) in enumerate(zip(self.node.outputs, outputs, strict=False)):
            if value.name and tuple(len(axis) for axis in axes) != self.output_shape(index):
                raise UndeclaredError(f"its output {index} has another shape than expected")
            if value.name:
                self._tracks.axes[value.name] = tuple(axes)


class Removal:
    """One node while indices vanish, as its rewriting sees it."""

    def __init__(self, tracks: Tracks, node: ir.Node, opset: int, keep: Callable[[Axis], npt.NDArray[np.bool_]]):
        self._tracks, self.node, self.opset, self.keep = tracks, node, opset, keep
        self.name = label(node)

    def axes(self, index: int) -> Axes:
        """Labels of an input's axes."""
        value = optional_input(self.node, index)
        if value is None or is_constant(value):
            return tuple(slot.labels for slot in self._tracks.slots.get((self.name, index), ()))
        return self._tracks.axes[value.name or ""]

    def output_axes(self, index: int = 0) -> Axes:
        """Labels of an output's axes."""
        return self._tracks.axes[self.node.outputs[index].name or ""]

    def extent(self, axis: Axis) -> int:
        """How many indices stay."""
        return int(self.keep(axis).sum())

    def changed(self, axis: Axis) -> bool:
        """Whether indices vanish."""
        return self.extent(axis) < len(axis)

    def is_changed(self) -> bool:
        """Whether indices of an input or output of the node vanish."""
        values = [self.axes(i) for i, value in enumerate(self.node.inputs) if value is not None and self._known(value)]
        outputs = [self.output_axes(k) for k, v in enumerate(self.node.outputs) if v.name in self._tracks.axes]
        return any(self.changed(axis) for axes in (*values, *outputs) for axis in axes)

    def _known(self, value: ir.Value) -> bool:
        return is_constant(value) or value.name in self._tracks.axes

    def constant(self, index: int) -> Numbers | None:
        """The constant of an input, or integers computed from constants alone; None where it is neither."""
        value = optional_input(self.node, index)
        if value is None or not self._tracks.is_static(value):
            return None
        return tensor(value).numpy() if is_constant(value) else self._tracks.observation.integers[value.name or ""]

    def computed(self, index: int) -> tuple[Axis | None, ...]:
        """Of a computed vector of extents, where each entry comes from."""
        value = optional_input(self.node, index)
        return self._tracks.extents.get("" if value is None else value.name or "", ())

    def entries(self, index: int, new: Mapping[int, int]) -> Iterator[Edit]:
        """Give entries of the vector at input `index` new values, whether it is a constant or computed."""
        constant = self.constant(index)
        if constant is not None:
            changed = constant.copy().ravel()
            for at, value in new.items():
                changed[at] = value
            if not np.array_equal(changed, constant.ravel()):
                yield SetConstant(self.name, index, changed.reshape(constant.shape))
            return
        sources = self.computed(index)
        pinned = {at: value for at, value in new.items() if sources[at] is None}
        if pinned:
            mask, values = np.zeros(len(sources), bool), np.zeros(len(sources), np.int64)
            mask[list(pinned)] = True
            values[list(pinned)] = list(pinned.values())
            yield Override(self.name, index, mask, values)
