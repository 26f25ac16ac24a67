"""Which neurons and channels of a graph hang together: units that can be removed whole, and what is frozen and why.

A unit is a class of labels (`_labels`) without a frozen member: the slices of weights, biases and other constants that
go with it, and the columns of the weights that consume it. Removing it from every place at once leaves a valid graph.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.axes import UNREPORTED, Axis, Classes, Contest, Observation, Reason, Slot, Tracks
from netsurgeon.passes.dependencies.track import track
from netsurgeon.passes.dependencies.zeroing import zeroed_slots
from netsurgeon.passes.graph import label
from netsurgeon.passes.layers import Layer, find_layers
from netsurgeon.passes.solvers import FIXED

Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """Indices of one axis of a constant, as a node uses it.

    Attributes:
        node: the node's name.
        index: which of its inputs is the constant.
        axis: which axis of the constant.
        indices: along that axis.
        groups: where above 1, rows (axis 0) come in so many groups with columns of their own, and `indices` run over
            (group, index along the axis).
    """

    node: str
    index: int
    axis: int
    indices: Ints = dataclasses.field(repr=False)
    groups: int = 1

    def where(self, shape: tuple[int, ...]) -> tuple[Ints | slice, ...]:
        """What indexes the part in a constant of this shape, of which axis 0 is cut into groups where there are any."""
        before: tuple[slice, ...] = (slice(None),) * self.axis
        if self.groups == 1:
            return *before, self.indices
        group, index = np.divmod(self.indices, shape[self.axis])
        return group, *before, index


@dataclasses.dataclass(frozen=True, eq=False)
class Consumer(Part):
    """What a unit feeds: indices of an axis that a weight sums over.

    Attributes:
        columns: the same as columns of `Layer.matrix()`, before it is cut into blocks, (groups, columns): every group
            has as many; None where the node is no layer, so that there are no statistics of its input.
    """

    columns: Ints | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True, eq=False)
class Term:
    """What a unit adds to a product of two activations: indices of the axis it sums over."""

    node: str
    indices: Ints = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Unit:
    """What can only be removed together.

    Attributes:
        number: its place in `Dependencies.units`.
        name: the first node it is a part of, and the index there.
        group: number of the group of units that lie on the same axes.
        parts: what it owns: rows of weights, bias entries, and other constants.
        consumers: what it feeds.
        products: sums over it of two activations (query and key), which have no column to zero.
        zeroed: where there are such sums, the parts that are zero in the masked model.
        parameters: elements of constants that go with it, as if it went alone.
        macs: multiply-adds of one sample that go with it, as if it went alone.
    """

    number: int
    name: str
    group: int
    parts: tuple[Part, ...] = dataclasses.field(repr=False)
    consumers: tuple[Consumer, ...] = dataclasses.field(repr=False)
    products: tuple[Term, ...] = dataclasses.field(repr=False)
    zeroed: tuple[Part, ...] = dataclasses.field(repr=False)
    parameters: int
    macs: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Units that lie on the same axes: of these at least one must stay, and counts are rounded within them.

    Attributes:
        node: the first node that holds a weight of theirs.
        operators: of all nodes that hold a part of theirs, in the order of the graph.
        units: their numbers.
        parameters: that go with one unit.
    """

    node: str
    operators: tuple[str, ...]
    units: tuple[int, ...]
    parameters: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frozen:
    """Indices of a weight's axis that must stay, and why.

    Attributes:
        value: the constant.
        axis: which axis of it.
        indices: how many of its indices.
        parameters: elements of the constant in them.
        node: the node that needs them.
        operator: its operator.
        reason: what it says.
    """

    value: str
    axis: int
    indices: int
    parameters: int
    node: str
    operator: str
    reason: str


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Dependencies:
    """What hangs together in a graph.

    Attributes:
        units: all that can be removed.
        groups: of units that lie on the same axes.
        frozen: what cannot, and why.
    """

    units: tuple[Unit, ...] = dataclasses.field(repr=False)
    groups: tuple[Group, ...]
    frozen: tuple[Frozen, ...]
    tracks: Tracks = dataclasses.field(repr=False)
    classes: Classes = dataclasses.field(repr=False)
    class_of: Ints = dataclasses.field(repr=False)
    """The class of labels of each unit, (units,)."""

    @functools.cached_property
    def unit_of(self) -> Ints:
        """The unit of each class of labels, (classes,); `FIXED` where it is none."""
        result = np.full(len(self.classes.reason), FIXED)
        result[self.class_of] = np.arange(len(self.class_of))
        return result

    @property
    def contests(self) -> tuple[Contest, ...]:
        """Where other units could be in the place of some: heads, say, in the place of width inside heads."""
        return self.classes.contests

    def contested(self, contest: Contest) -> Ints:
        """Numbers of the units that lie on the axes of a contest's winners."""
        units = np.unique(self.unit_of[self.classes.of[contest.labels]])
        return np.asarray(units[units != FIXED])


def analyse(model: ir.Model, observation: Observation, blocked: Iterable[int] = ()) -> Dependencies:
    """Find what hangs together in a model in normal form.

    Args:
        model: the model.
        observation: the shapes of its values, and its small computed integers, as one run has shown them.
        blocked: winners of contests (`Dependencies.contests`) that leave their units to others.
    """
    tracks = track(model.graph, observation)
    classes = tracks.labels.classes(blocked)
    zeroed, classes = _zeroings(tracks, classes, model.graph)
    return _Builder(model.graph, tracks, classes, zeroed).dependencies()


def _zeroings(tracks: Tracks, classes: Classes, graph: ir.Graph) -> tuple[dict[int, list[Slot]], Classes]:
    """By class that a product of two activations sums over: what to zero in one factor; frozen where nothing is."""
    reason = classes.reason.copy()
    result: dict[int, list[Slot]] = {}
    nodes = {label(node): node for node in graph}
    for product in tracks.products:
        labels = set(np.unique(classes.of[product.labels][classes.free(product.labels)]).tolist())
        for side in (0, 1):
            zeroing_slots = zeroed_slots(tracks, classes, nodes[product.node], side, labels)
            for label_class, slots in zeroing_slots.items():
                result.setdefault(label_class, []).extend(slots)
            labels -= zeroing_slots.keys()
        why = (
            tracks.reason(product.node, nodes[product.node].op_type, "neither factor can be made zero") if labels else 0
        )
        reason[list(labels)] = why
    return result, dataclasses.replace(classes, reason=reason)


class _Builder:
    """Turns classes of labels into units, groups and frozen axes."""

    def __init__(self, graph: ir.Graph, tracks: Tracks, classes: Classes, zeroed: dict[int, list[Slot]]):
        self._graph, self._tracks, self._classes, self._zeroed = graph, tracks, classes, zeroed
        self._operators = {label(node): node.op_type for node in graph}
        self._order = {label(node): at for at, node in enumerate(graph)}
        self._values = {
            (label(node), i): value for node in graph for i, value in enumerate(node.inputs) if value is not None
        }
        self._layers = {label(layer.node): layer for layer in find_layers(graph)[0]}
        slots = [slot for slots_of_weight in tracks.slots.values() for slot in slots_of_weight]
        self._slots = sorted(slots, key=lambda slot: (self._order[slot.node], slot.index, slot.axis))

    def dependencies(self) -> Dependencies:
        """All units, groups and frozen axes."""
        members: dict[int, list[tuple[Slot, Ints, bool]]] = {}
        for slot in self._slots:
            for class_number, indices, contracted in self._members(slot):
                members.setdefault(class_number, []).append((slot, indices, contracted))
        owned = [
            class_number for class_number, parts in members.items() if any(not contracted for *_, contracted in parts)
        ]
        signatures = self._signatures()
        numbers: dict[int, int] = {}
        macs = self._macs()
        units = [
            self._unit(
                number,
                class_number,
                members[class_number],
                numbers.setdefault(signatures[class_number], len(numbers)),
                macs[class_number],
            )
            for number, class_number in enumerate(owned)
        ]
        return Dependencies(
            units=tuple(units),
            groups=tuple(self._groups(units, len(numbers))),
            frozen=tuple(self._frozen()),
            tracks=self._tracks,
            classes=self._classes,
            class_of=np.array(owned, np.int64),
        )

    def _members(self, slot: Slot) -> Iterator[tuple[int, Ints, bool]]:
        """By free class: the indices of a slot in it, and whether the node sums over them."""
        of = self._classes.of[slot.labels]
        free = np.flatnonzero(self._classes.free(slot.labels))
        summed = np.zeros(len(of), bool)
        if slot.contracted is not None:
            summed = self._classes.free(slot.contracted)
        for class_number, indices in split_by(of[free], free):
            if slot.groups == 1 or summed[indices[0]]:
                yield class_number, indices, bool(summed[indices[0]])

    def _unit(
        self, number: int, class_number: int, members: list[tuple[Slot, Ints, bool]], group: int, macs: float
    ) -> Unit:
        parts = tuple(Part(s.node, s.index, s.axis, i) for s, i, contracted in members if not contracted)
        consumers = tuple(self._consumer(s, i) for s, i, contracted in members if contracted)
        first = next((p for p in parts if len(self._tracks.slots[p.node, p.index]) > 1), parts[0])
        parameters = sum(len(indices) * slot.size // len(slot.labels) for slot, indices, _ in members)
        zeroed = self._zeroed.get(class_number, [])
        return Unit(
            number=number,
            name=f"{first.node}[{first.indices[0]}]",
            group=group,
            parts=parts,
            consumers=consumers,
            products=tuple(self._terms(class_number)) if zeroed else (),
            zeroed=tuple(
                Part(s.node, s.index, s.axis, self._indices(s.labels, class_number), s.groups) for s in unique(zeroed)
            ),
            parameters=parameters,
            macs=macs,
        )

    def _consumer(self, slot: Slot, indices: Ints) -> Consumer:
        layer = self._layers.get(slot.node)
        columns = None
        if layer is not None and layer.weight_index == slot.index:
            columns = _columns(layer, indices, slot.groups)
        return Consumer(
            node=slot.node, index=slot.index, axis=slot.axis, indices=indices, groups=slot.groups, columns=columns
        )

    def _terms(self, class_number: int) -> Iterator[Term]:
        for product in self._tracks.products:
            indices = self._indices(product.labels, class_number)
            if len(indices):
                yield Term(product.node, indices)

    def _indices(self, axis: Axis, class_number: int) -> Ints:
        return np.flatnonzero(self._classes.of[axis] == class_number)

    def _signatures(self) -> Ints:
        """A number for each class, equal for classes that lie on the same axes."""
        rng = np.random.default_rng(0)
        result = np.zeros(len(self._classes.reason), np.uint64)
        for axis in self._all_axes():
            if axis.strides != (0,):
                result[np.unique(self._classes.of[axis])] += rng.integers(0, 2**64, dtype=np.uint64)
        return result.astype(np.int64)

    def _all_axes(self) -> Iterable[Axis]:
        """Every axis of every value and constant; one that several values have only once."""
        axes = [axis for axes_of_value in self._tracks.axes.values() for axis in axes_of_value] + [
            slot.labels for slot in self._slots
        ]
        return {id(axis): axis for axis in axes}.values()

    def _macs(self) -> npt.NDArray[np.float64]:
        result = np.zeros(len(self._classes.reason))
        for work in self._tracks.work:
            for axis in work.axes:
                np.add.at(result, self._classes.of[axis], work.amount / max(len(axis), 1))
        return result

    def _groups(self, units: list[Unit], count: int) -> Iterator[Group]:
        members: list[list[Unit]] = [[] for _ in range(count)]
        for unit in units:
            members[unit.group].append(unit)
        for parts in members:
            first = parts[0]
            names = {part.node for part in (*first.parts, *first.consumers)}
            operators = dict.fromkeys(self._operators[name] for name in sorted(names, key=self._order.__getitem__))
            numbers = tuple(unit.number for unit in parts)
            yield Group(
                node=first.name.rpartition("[")[0],
                operators=tuple(operators),
                units=numbers,
                parameters=first.parameters,
            )

    def _frozen(self) -> Iterator[Frozen]:
        reported = set()
        for slot in self._slots:
            if slot.contracted is not None or len(self._tracks.slots[slot.node, slot.index]) < 2:
                continue
            why = self._classes.reason[self._classes.of[slot.labels]]
            for reason_number, indices in split_by(why, np.arange(len(why))):
                if reason_number in (Classes.FREE, UNREPORTED):
                    continue
                reason: Reason = self._tracks.reasons[reason_number]
                name = self._values[slot.node, slot.index].name or ""
                size = len(indices) * slot.size // len(slot.labels)
                entry = Frozen(
                    value=name,
                    axis=slot.axis,
                    indices=len(indices),
                    parameters=size,
                    node=reason.node,
                    operator=reason.operator,
                    reason=reason.text,
                )
                if entry not in reported:  # one that several nodes share has a slot for each of them
                    reported.add(entry)
                    yield entry


def _columns(layer: Layer, indices: Ints, groups: int) -> Ints:
    """Columns of each group of a layer's matrix that belong to input channels."""
    local = indices.reshape(groups, -1) % (layer.columns // layer.kernel_size)
    columns = local[..., None] * layer.kernel_size + np.arange(layer.kernel_size)
    return np.asarray(columns.reshape(groups, -1), np.int64)


def by_group(array: npt.NDArray[np.generic], groups: int) -> npt.NDArray[np.generic]:
    """A view of a constant with its rows (axis 0) cut into groups, where there are any."""
    return array if groups == 1 else array.reshape(groups, -1, *array.shape[1:])


def split_by(keys: npt.NDArray[np.int64], values: Ints) -> Iterator[tuple[int, Ints]]:
    """The values of each key, in the order of keys."""
    order = np.argsort(keys, kind="stable")
    edges = np.flatnonzero(np.diff(keys[order])) + 1
    for part in np.split(order, edges):
        if len(part):
            yield int(keys[part[0]]), values[part]


def unique(slots: Iterable[Slot]) -> Iterator[Slot]:
    """Each slot once."""
    yield from {id(slot): slot for slot in slots}.values()
