"""The error bound of Layer-wise OBS, and beside it the error that ONNX Runtime measures on the same samples.

With √δE^k = ‖ΔW_k X_k + Δb_k‖_F / √N, on the dense model's inputs X_k of layer k and N whole inputs (arXiv 1705.07565,
the theorem on the error of the whole network),

    ‖Ỹ − Y‖_F / √N  ≤  Σ_{k<L} ( Π_{l>k} ‖Ŵ_l‖ ) √δE^k  +  √δE^L

and on any graph, with an error e for each value, e(out) ≤ Σ_i K_i e(in_i) + √δE. ONNX Runtime itself measures δE:
probes beside the layers of the dense model apply the same operator with ΔW and Δb to the same input. The bound is one
of exact arithmetic: it says nothing about what floating point rounds.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import RemoveInitializersFromInputsPass, ShapeInferencePass

from netsurgeon.passes._layers import find_layers
from netsurgeon.pipeline._lipschitz import SHAPE_ONLY, Extents, NoConstantError, Step, constant_of, error_after
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.runtime import Runtime

Error = float | str
"""An error bound, or where it ends and why."""
_LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Linear in weight and bias: one forward pass with their differences is the difference of two forward passes."""
_PREFIX = "netsurgeon/probe"


@dataclasses.dataclass(frozen=True)
class LayerError:
    """What one changed node adds to the error.

    Attributes:
        node: its name.
        operator: its operator type.
        error: √δE = ‖ΔW X + Δb‖_F / √N on the dense model's inputs, N whole inputs.
        norm: the operator norm of the compressed node, infinite where it has none.
    """

    node: str
    operator: str
    error: float
    norm: float


@dataclasses.dataclass(frozen=True)
class OutputBound:
    """Bound and measured error of one graph output.

    Attributes:
        output: its name.
        bound: the bound on ‖Ỹ − Y‖_F / √N, None where it has none.
        measured: ‖Ỹ − Y‖_F / √N; NaN for a discrete output, or where the two models disagree on the shape.
        ends_at: the node where the bound ends, and why; None where there is a bound.
    """

    output: str
    bound: float | None
    measured: float
    ends_at: str | None


@dataclasses.dataclass(frozen=True)
class Bound:
    """The bound of a compressed model on the samples it was measured on.

    Attributes:
        samples: N, the number of whole inputs.
        layers: the nodes whose weights or biases differ, in graph order.
        outputs: the graph's outputs, in order.
    """

    samples: int
    layers: tuple[LayerError, ...]
    outputs: tuple[OutputBound, ...]


def measure_bound(
    dense: ir.Model,
    pruned: ir.Model,
    batches: Iterable[Mapping[str, npt.NDArray[Any]]],
    count: int,
    runtime: Runtime,
) -> Bound:
    """Bound the error of `pruned` against `dense`, and measure it, on the same samples.

    Args:
        dense: the original model; not changed.
        pruned: the same graph (names of nodes and values), other constants; a bias may have been added.
        batches: feeds by input name; one is held at a time.
        count: N, how many whole inputs the batches hold together.
        runtime: makes the two sessions.

    Raises:
        InputError: the graphs differ in more than constants, or there are no samples.
        CheckFailedError: ONNX Runtime cannot load or run one of the models.
    """
    if count < 1:
        raise InputError("the error bound needs at least one sample, found none")
    before, after = _closed(dense.clone()), _closed(pruned.clone())
    ShapeInferencePass(check_type=False, strict_mode=False)(before)
    changes = _changes(before.graph, after.graph)
    walk = _Walk(after.graph, before.graph)
    walk.ask_for_extents(name for change in changes for name in change.landings)
    probes = _Probes(before.graph)
    energies = {change: probes.energies(change) for change in changes}
    shapes = {name: probes.shape(walk.dense_values[name]) for name in walk.extents.wanted}
    outputs = [value.name or "" for value in after.graph.outputs]
    tally = _run(runtime, (before, after), outputs, batches)
    walk.extents.record({name: tally.shapes[probe] for name, probe in shapes.items() if probe in tally.shapes})
    roots = {
        name: math.sqrt(tally.energies[probe] / count) for held in energies.values() for name, probe in held.items()
    }
    errors = walk.errors(roots | _unmeasured(changes, energies))
    layers = [_layer_error(change, roots, walk) for change in changes if energies[change]]
    return Bound(count, tuple(layers), tuple(_output_bound(name, errors, tally, count) for name in outputs))


def _closed(model: ir.Model) -> ir.Model:
    """No feed overrides an initializer here; before version 4 every one must be an input, those of probes as well."""
    RemoveInitializersFromInputsPass()(model)
    model.ir_version = max(model.ir_version, 4)
    return model


# ---------------------------------------------------------------- what differs
@dataclasses.dataclass(frozen=True, eq=False)
class _Change:
    """A node whose constants differ.

    Attributes:
        before: the dense node.
        after: the same node of the compressed model.
        adders: the Add behind a MatMul that holds its bias, in both models.
    """

    before: ir.Node
    after: ir.Node
    adders: tuple[ir.Node, ir.Node] | None = None

    @property
    def landings(self) -> list[str]:
        """The values where the difference appears."""
        node = self.adders[0] if self.adders else self.before
        return [value.name for value in node.outputs if value.name]


def _changes(before: ir.Graph, after: ir.Graph) -> list[_Change]:
    twins = _twins(before, after)
    adders = {layer.node: layer.adder for layer in find_layers(before)[0] if layer.adder is not None}
    behind = set(adders.values())
    changes = []
    for node, twin in twins.items():
        adder = adders.get(node)
        if adder is not None and (_differs(node, twin) or _differs(adder, twins[adder])):
            changes.append(_Change(node, twin, (adder, twins[adder])))
        elif adder is None and node not in behind and _differs(node, twin):
            changes.append(_Change(node, twin))
    return changes


def _twins(before: ir.Graph, after: ir.Graph) -> dict[ir.Node, ir.Node]:
    """Each dense node with its counterpart, in graph order."""
    found = {_key(node): node for node in after}
    result = {node: found[_key(node)] for node in before if _key(node) in found}
    if len(result) != len(found) or len(found) != len(list(before)):
        missing = next((n for n in before if n not in result), None)
        name = f": node {missing.name!r} has no counterpart" if missing is not None else ""
        raise InputError(
            f"the error bound compares two models that differ in constants only, these differ in nodes{name}"
        )
    return result


def _key(node: ir.Node) -> tuple[str, str]:
    return node.op_type, next((value.name for value in node.outputs if value.name), node.name or "")


def _differs(before: ir.Node, after: ir.Node) -> bool:
    length = max(len(before.inputs), len(after.inputs))
    if any(_difference_at(before, after, index) for index in range(length)):
        return True
    inner = zip(_body(before), _body(after), strict=True)
    return any(_differs(one, other) for one, other in inner)


def _difference_at(before: ir.Node, after: ir.Node, index: int) -> bool:
    old, new = (node.inputs[index] if index < len(node.inputs) else None for node in (before, after))
    if old is not None and new is not None and old.const_value is not None and old.const_value is new.const_value:
        return False
    first, second = constant_of(old), constant_of(new)
    if first is None and second is None:
        return False
    return first is None or second is None or not np.array_equal(first, second)


def _body(node: ir.Node) -> Iterator[ir.Node]:
    """The nodes of a control-flow operator's bodies (of those in them, their own constants count)."""
    for graph in _bodies(node):
        yield from graph


def _bodies(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


# ---------------------------------------------------------------- probes
class _Probes:
    """Nodes added to the dense model that measure, beside it, what a change adds."""

    def __init__(self, graph: ir.Graph):
        self._graph = graph
        self._made = 0

    def energies(self, change: _Change) -> dict[str, str]:
        """Measure ‖difference‖² where the change lands: landing value -> probe. Control flow cannot be probed."""
        if next(_bodies(change.before), None) is not None:
            return {}
        data = _data_index(change)
        differences = [self._linear(change, data)] if data is not None else self._subtracted(change)
        return {name: self._energy(value) for name, value in zip(change.landings, differences, strict=True)}

    def shape(self, value: ir.Value) -> str:
        """Record the value's shape."""
        return self._output(self._node("Shape", [value]), ir.DataType.INT64)

    def _linear(self, change: _Change, data: int) -> ir.Value:
        """ΔW X + Δb, by the layer's own operator; in float32 for a float16 layer."""
        weight = constant_of(change.before.inputs[1 - data])
        assert weight is not None
        kind = np.dtype(np.float64 if weight.dtype == np.float64 else np.float32)
        x = change.before.inputs[data]
        if weight.dtype != kind:
            x = self._node("Cast", [x], [ir.AttrInt64("to", int(ir.DataType.FLOAT))])
        delta = self._constant(_delta(change.before, change.after, 1 - data).astype(kind))
        inputs = [x, delta] if data == 0 else [delta, x]
        if change.before.op_type != "MatMul":
            bias = _delta(change.before, change.after, 2).astype(kind)
            # Gemm's third input is optional from opset 11 only; Conv's has no form for "nothing".
            if bias.ndim or change.before.op_type == "Gemm":
                inputs.append(self._constant(np.atleast_1d(bias)))
        result = self._node(change.before.op_type, inputs, change.before.attributes.values())
        if change.adders is None:
            return result
        slot = next(i for i, v in enumerate(change.adders[0].inputs) if v is not change.before.outputs[0])
        bias = _delta(*change.adders, slot).astype(kind)
        return self._node("Add", [result, self._constant(bias)], change.adders[0].attributes.values())

    def _subtracted(self, change: _Change) -> list[ir.Value]:
        """f̂(X) − f(X) for any other operator: the node once more, with the compressed constants."""
        node, inputs = change.before, []
        for index in range(max(len(node.inputs), len(change.after.inputs))):
            new = constant_of(change.after.inputs[index]) if index < len(change.after.inputs) else None
            inputs.append(node.inputs[index] if new is None else self._constant(new))
        again = self._nodes(node, inputs)
        pairs = [(a, b) for a, b in zip(again.outputs, node.outputs, strict=True) if b.name]
        return [self._node("Sub", [self._double(new), self._double(old)]) for new, old in pairs]

    def _energy(self, value: ir.Value) -> str:
        """Σ value², summed in double precision, as an output of the model."""
        total = self._node("ReduceSumSquare", [self._double(value)], [ir.AttrInt64("keepdims", 0)])
        return self._output(total, ir.DataType.DOUBLE)

    def _double(self, value: ir.Value) -> ir.Value:
        return self._node("Cast", [value], [ir.AttrInt64("to", int(ir.DataType.DOUBLE))])

    def _node(self, operator: str, inputs: list[ir.Value | None], attributes: Iterable[ir.Attr] = ()) -> ir.Value:
        node = ir.Node("", operator, inputs, list(attributes), num_outputs=1)
        return self._append(node).outputs[0]

    def _nodes(self, node: ir.Node, inputs: list[ir.Value | None]) -> ir.Node:
        copy = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            list(node.attributes.values()),
            overload=node.overload,
            num_outputs=len(node.outputs),
        )
        return self._append(copy)

    def _append(self, node: ir.Node) -> ir.Node:
        node.name = self._fresh()
        for value in node.outputs:
            value.name = self._fresh()
        self._graph.append(node)
        return node

    def _constant(self, array: npt.NDArray[Any]) -> ir.Value:
        tensor = ir.tensor(np.ascontiguousarray(array), name=self._fresh())
        value = ir.Value(
            name=tensor.name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
        )
        self._graph.register_initializer(value)
        return value

    def _output(self, value: ir.Value, kind: ir.DataType) -> str:
        value.dtype = kind
        self._graph.outputs.append(value)
        return value.name or ""

    def _fresh(self) -> str:
        self._made += 1
        return f"{_PREFIX}/{self._made}"


def _data_index(change: _Change) -> int | None:
    """Which operand of a linear operator is the data; None where it is not one constant against one activation."""
    node = change.before
    if node.op_type not in _LINEAR or node.domain not in ("", "ai.onnx"):
        return None
    constants = [constant_of(node.inputs[index]) is not None for index in (0, 1)]
    return constants.index(False) if constants in ([True, False], [False, True]) else None


def _delta(before: ir.Node, after: ir.Node, index: int) -> npt.NDArray[np.float64]:
    """The difference of a constant input, 0 where there is none or it is no constant."""
    held = [constant_of(node.inputs[index]) if index < len(node.inputs) else None for node in (before, after)]
    old, new = (np.zeros(()) if array is None else array.astype(np.float64) for array in held)
    return np.asarray(new - old, dtype=np.float64)


# ---------------------------------------------------------------- running
@dataclasses.dataclass
class _Tally:
    """Sums over all batches, in float64, by output name."""

    energies: dict[str, float] = dataclasses.field(default_factory=lambda: collections.defaultdict(float))
    shapes: dict[str, list[tuple[int, ...]]] = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
    differences: dict[str, float] = dataclasses.field(default_factory=lambda: collections.defaultdict(float))
    discrete: dict[str, str] = dataclasses.field(default_factory=dict)


def _run(
    runtime: Runtime,
    models: tuple[ir.Model, ir.Model],
    outputs: list[str],
    batches: Iterable[Mapping[str, npt.NDArray[Any]]],
) -> _Tally:
    probed, pruned = (runtime.session(model) for model in models)
    tally = _Tally()
    seen = False
    for feed in batches:
        seen = True
        first, second = probed.run(feed), pruned.run(feed)
        for name in outputs:
            _compare(tally, name, first[name], second[name])
        _count(tally, {name: value for name, value in first.items() if name not in outputs})
    if not seen:
        raise InputError("the error bound needs at least one sample, found none")
    return tally


def _count(tally: _Tally, probes: Mapping[str, npt.NDArray[Any]]) -> None:
    for name, value in probes.items():
        if value.dtype == np.int64:
            tally.shapes[name].append(tuple(int(extent) for extent in value))
        else:
            tally.energies[name] += float(value)


def _compare(tally: _Tally, name: str, first: Any, second: Any) -> None:
    if not isinstance(first, np.ndarray) or first.dtype.kind != "f":
        tally.discrete[name] = first.dtype.name if isinstance(first, np.ndarray) else type(first).__name__
    elif first.shape != second.shape:
        tally.differences[name] = math.nan
    else:
        gap = first.astype(np.float64) - second.astype(np.float64)
        tally.differences[name] += float(np.vdot(gap, gap))


# ---------------------------------------------------------------- through the graph
class _Walk:
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
        found: dict[str, Error] = {}
        for node in self._graph:
            carried = self._carried(node, found)
            for index, value in enumerate(node.outputs):
                name = value.name or ""
                found[name] = _total(self._at(node, index, carried), local.get(name, 0.0))
                # Only what is discrete can become a shape: until it carries an error all shapes are equal.
                self._shapes_may_differ |= bool(found[name]) and self._is_discrete(name)
        return found

    def norm(self, node: ir.Node) -> float:
        """The node's constant for its first operand that is not a constant itself, infinite where it has none."""
        data = next((i for i, v in enumerate(node.inputs) if v is not None and constant_of(v) is None), None)
        if data is None:
            return math.inf
        carried = self._through(node, tuple(float(index == data) for index in range(len(node.inputs))))
        return math.inf if isinstance(carried, str) else carried

    def _carried(self, node: ir.Node, found: Mapping[str, Error]) -> Error:
        operands = [0.0 if value is None else found.get(value.name or "", 0.0) for value in node.inputs]
        everything = [*operands, *(found.get(name, 0.0) for name in _captured(node))]
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
            return _place(node, str(reason))

    def _at(self, node: ir.Node, index: int, carried: Error) -> Error:
        """What is carried to output `index`: the rules speak for the first one, and for every part of a Split."""
        if isinstance(carried, str) or not carried:
            return carried
        if self._is_discrete(node.outputs[index].name or ""):
            return _place(node, "its result is discrete")
        if index and node.op_type != "Split":
            return _place(node, f"no Lipschitz constant is known for its output {index}")
        return carried

    def _is_discrete(self, name: str) -> bool:
        value = self.dense_values.get(name)
        return value is not None and value.dtype is not None and not value.dtype.is_floating_point()


def _total(carried: Error, added: Error) -> Error:
    if isinstance(carried, str):
        return carried
    return added if isinstance(added, str) else carried + added


def _place(node: ir.Node, reason: str) -> str:
    name = node.name or next((value.name for value in node.outputs if value.name), "")
    return f"{name} ({node.op_type}): {reason}"


def _is_shape_only(node: ir.Node) -> bool:
    return node.op_type in SHAPE_ONLY and node.domain in ("", "ai.onnx")


def _captured(node: ir.Node) -> list[str]:
    """Names of all values used in a control-flow operator's bodies; those of the outer graph are among them."""
    names = []
    for graph in _bodies(node):
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


# ---------------------------------------------------------------- results
def _unmeasured(changes: list[_Change], energies: Mapping[_Change, Mapping[str, str]]) -> dict[str, Error]:
    lost = [change for change in changes if not energies[change]]
    return {
        name: _place(change.before, "constants inside its bodies differ") for change in lost for name in change.landings
    }


def _layer_error(change: _Change, roots: Mapping[str, float], walk: _Walk) -> LayerError:
    node = change.after
    error = math.hypot(*(roots[name] for name in change.landings))
    return LayerError(node.name or change.landings[0], node.op_type, error, walk.norm(node))


def _output_bound(name: str, errors: Mapping[str, Error], tally: _Tally, count: int) -> OutputBound:
    if name in tally.discrete:
        return OutputBound(name, None, math.nan, f"output {name!r} is discrete ({tally.discrete[name]})")
    measured = math.sqrt(tally.differences[name] / count)
    error = errors.get(name, 0.0)
    if isinstance(error, str):
        return OutputBound(name, None, measured, error)
    return OutputBound(name, error, measured, None)
