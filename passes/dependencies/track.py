"""Walk a graph in order and collect what the declarations say of its axes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping

import onnx_ir as ir

from netsurgeon.passes.axes import DECLARATIONS, Axes, Axis, NodeAxes, Observation, Tracks, UndeclaredError
from netsurgeon.passes.graph import bodies, canonical_domain, is_constant, label, operator_key, tensor, traits_of

for _name in ("elementwise", "shape", "select", "weights", "recurrent", "attention", "integers"):
    importlib.import_module(f"netsurgeon.passes.axes.operators.{_name}")


def track(
    graph: ir.Graph, observation: Observation, enter: Callable[[Tracks], Mapping[str, Axes]] | None = None
) -> Tracks:
    """The labels of every axis in a graph.

    Args:
        graph: that is walked.
        observation: what a run has shown of it.
        enter: gives inputs whose axes are followed their labels; those of others must stay.
    """
    tracks = Tracks(observation)
    opset = graph.opset_imports.get("", graph.opset_imports.get("ai.onnx", 1))
    entry = tracks.reason("", "input", "it is an input of the model")
    if enter is not None:
        tracks.axes.update(enter(tracks))
    for value in graph.inputs:
        shape = observation.shapes.get(value.name or "")
        if value.name and shape is not None and value.name not in tracks.axes:
            tracks.axes[value.name] = tuple(tracks.labels.fixed(extent, entry) for extent in shape)
    for node in graph:
        _Node(tracks, node, opset).declare()
    leave = tracks.reason("", "output", "it is an output of the model")
    for value in graph.outputs:
        for axis in (*tracks.axes.get(value.name or "", ()), *tracks.extents.get(value.name or "", ())):
            if axis is not None:
                tracks.labels.freeze(axis, leave)
    _tie_shared(tracks, graph)
    return tracks


class _Node:
    """One node on the walk."""

    def __init__(self, tracks: Tracks, node: ir.Node, opset: int):
        self.tracks, self.node = tracks, node
        self.scope = NodeAxes(tracks, node, opset)

    def declare(self) -> None:
        """Let the declaration speak, or freeze what there is none for."""
        if not self._is_default() or not (self._is_static() or self._moves_extents()):
            try:
                self._by_operator()
                self._freeze_unasked()
            except UndeclaredError as problem:
                self._freeze(str(problem))
        self._freeze_sizes()
        self._complete()

    def _is_default(self) -> bool:
        return not canonical_domain(self.node.domain)

    def _by_operator(self) -> None:
        if any(True for _ in bodies(self.node)):
            raise UndeclaredError("it has a body, whose operators are not analysed")
        declaration = DECLARATIONS.get(operator_key(self.node.domain, self.node.op_type))
        if declaration is None:
            raise UndeclaredError("the operator does not declare how axes travel through it")
        try:
            declaration.declare(self.scope)
        except (IndexError, ValueError, TypeError) as error:
            raise UndeclaredError(f"it is not understood ({error})") from error
        for index, value in enumerate(self.node.outputs):
            if value.name not in self.tracks.axes and (value.uses() or value.is_graph_output()):
                raise UndeclaredError(f"its output {index} is not followed")

    def _freeze(self, text: str) -> None:
        """Keep every axis of every input, of what bodies capture, and of every output."""
        axes: list[Axis] = []
        for index, value in enumerate(self.node.inputs):
            if value is not None and (is_constant(value) or value.name in self.tracks.axes):
                axes.extend(self.scope.axes(index))
        for name in _captured(self.node):
            axes.extend(self.tracks.axes.get(name, ()))
        for value in self.node.outputs:
            axes.extend(self.tracks.axes.get(value.name or "", ()))
        self.scope.freeze(axes, text)

    def _freeze_unasked(self) -> None:
        """Keep the axes of inputs that the declaration does not speak of, such as a computed vector of sizes."""
        for index, value in enumerate(self.node.inputs):
            if value is not None and index not in self.scope.asked:
                self.scope.freeze(self.tracks.axes.get(value.name or "", ()), "it is told what to do by it")

    def _complete(self) -> None:
        """Outputs of what is frozen stay as they are."""
        for value in self.node.outputs:
            shape = self.tracks.observation.shapes.get(value.name or "")
            if value.name and shape is not None and value.name not in self.tracks.axes:
                why = self.scope.reason("its result depends on all indices")
                self.tracks.axes[value.name] = tuple(self.tracks.labels.fixed(extent, why) for extent in shape)

    # ------------------------------------------------------------------------------------------------ extents
    def _is_static(self) -> bool:
        """Follow integers that are computed from constants alone."""
        observed = [self.tracks.observation.integers.get(value.name or "") for value in self.node.outputs if value.name]
        if any(integers is None for integers in observed) or not all(
            self.tracks.is_static(value) for value in self.node.inputs
        ):
            return False
        for value in self.node.outputs:
            integers = self.tracks.observation.integers.get(value.name or "")
            if integers is not None:
                self.tracks.extents[value.name or ""] = (None,) * integers.size
        return bool(observed)

    def _sources(self, index: int) -> tuple[Axis | None, ...] | None:
        value = self.node.inputs[index] if index < len(self.node.inputs) else None
        return None if value is None else self.tracks.extents.get(value.name or "")

    def _moves_extents(self) -> bool:
        """Follow entries of vectors of extents through Shape, Gather, Concat and the like."""
        if not self.node.outputs:  # all outputs of an LSTM are optional
            return False
        output = self.node.outputs[0].name or ""
        if self.node.op_type == "Shape":
            name = self.node.inputs[0].name if self.node.inputs[0] is not None else None
            if name in self.tracks.axes:
                rank = len(self.tracks.axes[name])
                start = self.node.attributes.get_int("start", 0)
                end = self.node.attributes.get_int("end", rank)
                self.tracks.extents[output] = self.tracks.axes[name][slice(start, end)]
                return True
            return False
        if self.node.op_type == "Where" and _is_never(self.tracks, self.node.inputs[0]):
            entries = self._entries(2)
            if entries is not None:
                self.tracks.extents[output] = entries
            return entries is not None
        if not traits_of(self.node).moves_entries:
            return False
        sources = [self._sources(index) for index in range(len(self.node.inputs))]
        if not any(sources) or (sources[0] is None and self.node.op_type != "Concat"):
            return False
        moved = self._moved()
        if moved is not None:
            self.tracks.extents[output] = moved
        return moved is not None

    def _moved(self) -> tuple[Axis | None, ...] | None:
        """Sources of the output's entries; None where the operator does more than move them."""
        scope = self.scope
        if self.node.op_type == "Concat":
            parts = [self._entries(index) for index in range(len(self.node.inputs))]
            return None if None in parts else tuple(axis for part in parts if part is not None for axis in part)
        entries = self._sources(0) or ()
        try:
            if self.node.op_type == "Gather":
                picked = scope.numbers(1)
                return None if picked is None else tuple(entries[at] for at in picked)
            if self.node.op_type == "Slice":
                starts, ends, steps = (scope.numbers(i, a) for i, a in ((1, "starts"), (2, "ends"), (4, "steps")))
                if starts is None or ends is None or len(starts) != 1:
                    return None
                return entries[slice(starts[0], ends[0], steps[0] if steps else 1)]
        except (UndeclaredError, IndexError):
            return None
        return entries

    def _entries(self, index: int) -> tuple[Axis | None, ...] | None:
        source = self._sources(index)
        if source is None and self.scope.is_constant(index):
            value = self.node.inputs[index]
            source = (None,) * (tensor(value).size if value is not None else 0)
        if source is None:  # computed from something else: it stays what it is when indices vanish
            value = self.node.inputs[index]
            integers = self.tracks.observation.integers.get(value.name or "") if value is not None else None
            source = None if integers is None else tuple(self.scope.fixed(max(int(n), 0)) for n in integers.ravel())
        return source

    def _freeze_sizes(self) -> None:
        """An extent that is used in arithmetic, or in any other way nobody has declared, must stay."""
        output = self.node.outputs[0].name if self.node.outputs else ""
        if output in self.tracks.extents or (self.node.outputs and _is_never(self.tracks, self.node.outputs[0])):
            return
        sources = [(i, self._sources(i)) for i in range(len(self.node.inputs)) if i not in self.scope.handled]
        captured = [self.tracks.extents.get(name) for name in _captured(self.node)]
        used = [axis for labels in (*(s for _, s in sources), *captured) for axis in labels or () if axis is not None]
        if used:
            self.scope.freeze(used, "it computes with the size")
        integers = self.tracks.observation.integers.get(output or "")
        if integers is not None and used:
            self.tracks.extents[output or ""] = tuple(self.scope.fixed(max(int(n), 0)) for n in integers.ravel())


def _is_never(tracks: Tracks, value: ir.Value | None) -> bool:
    """Whether a value says which extents equal a negative number: none, however long the axes are.

    So does PyTorch's tracing exporter ask which extents of an Expand are to stay.
    """
    node = None if value is None else value.producer()
    if node is None or node.op_type != "Equal" or node.domain:
        return False
    numbers = [
        tensor(v).numpy()
        if v is not None and is_constant(v)
        else tracks.observation.integers.get(v.name or "" if v else "")
        for v in node.inputs
    ]
    extents = [v is not None and (v.name or "") in tracks.extents for v in node.inputs]
    pairs = zip(extents, reversed(numbers), strict=True)
    return any(known and other is not None and bool((other < 0).all()) for known, other in pairs)


def _captured(node: ir.Node) -> Iterator[str]:
    """Names of all values used inside the bodies of a node."""
    for body in bodies(node):
        yield from (value.name for value in body.outputs if value.name)
        for inner in body:
            yield from (value.name for value in inner.inputs if value is not None and value.name)
            yield from _captured(inner)


def _tie_shared(tracks: Tracks, graph: ir.Graph) -> None:
    """Matrices that several nodes share stay shared: their uses vanish together."""
    first: dict[str, tuple[str, int]] = {}
    for node in graph:
        for index, value in enumerate(node.inputs):
            key = (label(node), index)
            if value is None or key not in tracks.slots or len(tracks.slots[key]) < 2:
                continue
            slots = tracks.slots[first.setdefault(value.name or "", key)]
            for one, other in zip(slots, tracks.slots[key], strict=True):
                if one.groups == other.groups:
                    tracks.labels.join(one.labels, other.labels)
                else:
                    why = tracks.reason(label(node), node.op_type, "its weight is shared by other groups")
                    tracks.labels.freeze(one.labels, why)
                    tracks.labels.freeze(other.labels, why)
