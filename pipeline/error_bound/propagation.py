"""How errors travel through the compressed graph, from where they arise to its outputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import onnx_ir as ir

from netsurgeon.passes.graph import bodies, traits_of
from netsurgeon.pipeline.error_bound.lipschitz.rules import error_after
from netsurgeon.pipeline.error_bound.lipschitz.step import Extents, NoConstantError, Step, constant_of
from netsurgeon.pipeline.messages import Message

Error = float | Message
"""An error bound, or where it ends and why."""


class Propagation:
    """Carries errors through the compressed graph, operator by operator."""

    def __init__(self, graph: ir.Graph, dense: ir.Graph):
        self._graph = graph
        self._norms: dict[str, float] = {}
        self._shapes_may_differ = False
        self.dense_values = _values(dense)
        self.extents = Extents({name: _extent(value) for name, value in self.dense_values.items()})

    def ask_for_extents(self, landings: Iterable[str]) -> None:
        """Let the rules say which shapes they will want, wherever an error can arrive."""
        reached = set(landings)
        for node in self._graph:
            errors = tuple(float(v is not None and v.name in reached) for v in node.inputs)
            if any(errors) and not _is_shape_only(node):
                self._through(node, errors)
            if (any(errors) or any(name in reached for name in _captured(node))) and not _is_shape_only(node):
                reached.update(value.name for value in node.outputs if value.name)

    def errors(self, local: Mapping[str, Error]) -> dict[str, Error]:
        """The error of every value, from what the changes add at the values where they land."""
        errors: dict[str, Error] = {}
        for node in self._graph:
            carried = self._carried(node, errors)
            for index, value in enumerate(node.outputs):
                name = value.name or ""
                errors[name] = _total(self._at(node, index, carried), local.get(name, 0.0))
                # Only what is discrete can become a shape: until it carries an error all shapes are equal.
                self._shapes_may_differ |= bool(errors[name]) and self._is_discrete(name)
        return errors

    def norm(self, node: ir.Node) -> float:
        """The node's constant for its first operand that is not a constant itself, infinite where it has none."""
        data = next((i for i, v in enumerate(node.inputs) if v is not None and constant_of(v) is None), None)
        if data is None:
            return math.inf
        carried = self._through(node, tuple(float(index == data) for index in range(len(node.inputs))))
        return math.inf if isinstance(carried, str) else carried

    def _carried(self, node: ir.Node, errors: Mapping[str, Error]) -> Error:
        operands = [0.0 if value is None else errors.get(value.name or "", 0.0) for value in node.inputs]
        everything = [*operands, *(errors.get(name, 0.0) for name in _captured(node))]
        ended = next((error for error in everything if isinstance(error, str)), None)
        if not any(everything) or (_is_shape_only(node) and not (ended and self._shapes_may_differ)):
            return 0.0
        if ended is not None:
            return ended
        return self._through(node, tuple(error for error in operands if not isinstance(error, str)))

    def _through(self, node: ir.Node, errors: tuple[float, ...]) -> Error:
        try:
            return error_after(Step(node, errors, self.extents, self._norms))
        except NoConstantError as reason:
            return place(node, str(reason))

    def _at(self, node: ir.Node, index: int, carried: Error) -> Error:
        """What is carried to output `index`: the rules speak for the first one, and for every part of a Split."""
        if isinstance(carried, str) or not carried:
            return carried
        if self._is_discrete(node.outputs[index].name or ""):
            return place(node, "its result is discrete")
        if index and node.op_type != "Split":
            return place(node, f"no Lipschitz constant is known for its output {index}")
        return carried

    def _is_discrete(self, name: str) -> bool:
        value = self.dense_values.get(name)
        return value is not None and value.dtype is not None and not value.dtype.is_floating_point()


def _total(carried: Error, added: Error) -> Error:
    if isinstance(carried, str):
        return carried
    return added if isinstance(added, str) else carried + added


def place(node: ir.Node, reason: str) -> Message:
    """Where a bound ends, and why."""
    name = node.name or next((value.name for value in node.outputs if value.name), "")
    text = f"{name} ({node.op_type}): {reason}"
    return Message(text, "bound-ends", node=name, operator=node.op_type, reason=reason)


def _is_shape_only(node: ir.Node) -> bool:
    return traits_of(node).reads_shape_only


def _captured(node: ir.Node) -> list[str]:
    """Names of all values used in a control-flow operator's bodies; those of the outer graph are among them."""
    names = []
    for graph in bodies(node):
        names += [value.name for value in graph.outputs if value.name]
        for inner in graph:
            names += [value.name for value in inner.inputs if value is not None and value.name]
            names += _captured(inner)
    return names


def _values(graph: ir.Graph) -> dict[str, ir.Value]:
    produced = [value for node in graph for value in node.outputs]
    return {value.name: value for value in (*graph.inputs, *graph.initializers.values(), *produced) if value.name}


def _extent(value: ir.Value) -> tuple[int | str | None, ...] | None:
    if value.shape is None:
        return None
    # Some exporters write -1 for an axis that varies.
    sizes = (extent if isinstance(extent, int) else extent.value for extent in value.shape)
    return tuple(None if isinstance(size, int) and size < 0 else size for size in sizes)
