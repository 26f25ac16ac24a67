"""What a model may hold, looked at before anything else touches it: nesting, sizes, order, and data of tensors.

Parsers, shape inference and ONNX Runtime recurse, expand and allocate as a file tells them to, and a crash of theirs
cannot be caught. So what a file asks for is counted here first, without doing it.
"""

from __future__ import annotations

import collections
import functools
import heapq
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import onnx
import onnx.defs
import onnx_ir as ir
from onnx import helper

from netsurgeon.passes.graph import infer_shapes
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files.constant_graph import bodies_of, reads_of
from netsurgeon.pipeline.model_files.constant_sizes import large_constant

DEEPEST = 100
"""Functions in functions and bodies in bodies: exporters need some twenty, ONNX Runtime crashes at some thousands."""
MOST_NODES = 250_000
"""Nodes once every call of a function is replaced by its nodes."""
MOST_ELEMENTS = 2**30
"""Elements of a value whose fixed dimensions are multiplied."""
_GROWING = ("Expand", "Tile", "Pad", "Resize", "Upsample", "OneHot")
"""Operators that make far more of a value than they read where a constant tells them to."""
_LISTS = ("float_data", "int32_data", "int64_data", "uint64_data", "double_data", "string_data")
_Key = tuple[str, str, str]


def checked(proto: onnx.ModelProto, name: str, folder: Path | None = None) -> tuple[onnx.ModelProto, list[Message]]:
    """The model, its nodes in order and without negative dimensions, and what was put right; itself where nothing was.

    Args:
        proto: the model.
        name: what the user calls it.
        folder: of its external data, all of which is there.

    Raises:
        InputError: nobody could run it, or it would take the process with it: it nests too deep or expands to too much,
            has no outputs, an input nobody can fill, nodes in a circle, a tensor whose data does not fit its
            dimensions, or constants that become far larger than the file.
    """
    _check_expansion(proto, name)
    _check_lists(proto, name)
    if not proto.graph.output:
        raise InputError(f"{name} has no outputs, so that nothing of it could be compared: name some in its graph")
    stored = {tensor.name for tensor in proto.graph.initializer}
    for kind, values in (("input", proto.graph.input), ("output", proto.graph.output)):
        for value in values:
            if value.name not in stored:
                _check_extent(kind, value, name)
    for tensor in tensors_of(proto):
        _check_tensor(tensor, name)
    proto, notes = _put_right(proto, name)
    problem = large_constant(proto, folder)
    if problem is not None:
        raise InputError(f"{name} cannot be opened: {problem}")
    return proto, notes


def _put_right(proto: onnx.ModelProto, name: str) -> tuple[onnx.ModelProto, list[Message]]:
    is_unsorted = any(order_of(nodes, name) is not None for nodes in _node_lists(proto))
    negative = sum(1 for dimension in _dimensions(proto) if dimension.dim_value < 0)
    if not is_unsorted and not negative:
        return proto, []
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    notes = []
    if is_unsorted:
        for nodes in _node_lists(copy):
            _sort(nodes, name)
        notes.append(Message("nodes that stood before what they read were put in order", "nodes-sorted"))
    if negative:
        for dimension in _dimensions(copy):
            if dimension.dim_value < 0:
                dimension.ClearField("dim_value")
        text = f"negative dimensions count as free ones: {negative}"
        notes.append(Message(text, "dimensions-freed", count=negative))
    return copy, notes


# ------------------------------------------------------------------------------------------------ nesting
def _walk(nodes: Iterable[onnx.NodeProto], name: str) -> Iterator[tuple[onnx.NodeProto, int]]:
    """All nodes, those of bodies too, and how many bodies each lies in."""
    stack = [(node, 0) for node in nodes]
    while stack:
        node, depth = stack.pop()
        if depth > DEEPEST:
            raise _too_deep(name)
        yield node, depth
        stack += [(inner, depth + 1) for body in bodies_of(node) for inner in body.node]


def _too_deep(name: str) -> InputError:
    return InputError(
        f"{name} nests functions or bodies more than {DEEPEST} deep, which crashes runtimes: inline its functions, "
        "for example with onnx.inliner"
    )


def _check_expansion(proto: onnx.ModelProto, name: str) -> None:
    """Count the nodes and the depth of the model as if its functions were inlined, each function once."""
    functions = {(function.domain, function.name, function.overload): function for function in proto.functions}
    calls: dict[_Key | None, list[tuple[_Key, int]]] = {}
    count: dict[_Key | None, int] = {}
    deepest: dict[_Key | None, int] = {}
    parts: list[tuple[_Key | None, Iterable[onnx.NodeProto]]] = [(key, f.node) for key, f in functions.items()]
    for key, nodes in (*parts, (None, proto.graph.node)):
        places = list(_walk(nodes, name))
        calls[key] = [(_called(node), depth) for node, depth in places if _called(node) in functions]
        count[key] = len(places)
        deepest[key] = max((depth for _, depth in places), default=0)
    for key in _callees_first(calls, name):
        count[key] += sum(count[callee] for callee, _ in calls[key])
        deepest[key] = max([deepest[key], *(depth + 1 + deepest[callee] for callee, depth in calls[key])])
        if deepest[key] > DEEPEST:
            raise _too_deep(name)
        if count[key] > MOST_NODES:
            raise InputError(
                f"{name} has {count[key]:,} nodes once its functions are inlined, expected at most {MOST_NODES:,}: "
                "split it, or export it with fewer"
            )


def _check_lists(proto: onnx.ModelProto, name: str) -> None:
    """Refuse Constant nodes with inputs, which ONNX Runtime overlooks and no clone of the graph can have.

    And nodes with a gap in a list of inputs (Sum, Concat): ONNX Runtime reads through a null pointer there.
    """
    for nodes in _node_lists(proto):
        for node in nodes:
            if node.op_type == "Constant" and not node.domain and any(node.input):
                raise InputError(
                    f"{name} has the Constant node {node.name or ', '.join(node.output)!r} that reads a value, "
                    "and a constant reads none: export it anew"
                )
            if "" not in node.input:
                continue
            fixed = _inputs_before_list(node.domain, node.op_type)
            if fixed is not None and "" in node.input[fixed:]:
                raise InputError(
                    f"node {node.name or node.op_type!r} of {name} ({node.op_type}) has an input without a name in its "
                    "list of inputs: leave it out"
                )


@functools.lru_cache
def _inputs_before_list(domain: str, operator: str) -> int | None:
    """How many inputs an operator has before those that may be any number; None where it has no such list."""
    try:
        schema = onnx.defs.get_schema(operator, domain="" if domain == "ai.onnx" else domain)
    except onnx.defs.SchemaError:
        return None
    is_list = schema.inputs and schema.inputs[-1].option == onnx.defs.OpSchema.FormalParameterOption.Variadic
    return len(schema.inputs) - 1 if is_list else None


def _called(node: onnx.NodeProto) -> _Key:
    return node.domain, node.op_type, node.overload


def _callees_first(calls: dict[_Key | None, list[tuple[_Key, int]]], name: str) -> Iterator[_Key | None]:
    callers: dict[_Key | None, list[_Key | None]] = collections.defaultdict(list)
    waiting = {}
    for key, called in calls.items():
        callees = {callee for callee, _ in called}
        waiting[key] = len(callees)
        for callee in callees:
            callers[callee].append(key)
    ready = [key for key, callees_left in waiting.items() if not callees_left]
    yielded_count = 0
    while ready:
        key = ready.pop()
        yielded_count += 1
        yield key
        for caller in callers[key]:
            waiting[caller] -= 1
            if not waiting[caller]:
                ready.append(caller)
    if yielded_count < len(calls):
        raise InputError(f"{name} has a function that calls itself, so that its nodes have no end: export it without")


# ------------------------------------------------------------------------------------------------ order
def _node_lists(proto: onnx.ModelProto) -> Iterator[Sequence[onnx.NodeProto]]:
    """The nodes of the graph, of every function and of every body, bodies last."""
    waiting: collections.deque[Sequence[onnx.NodeProto]] = collections.deque(
        [proto.graph.node, *(function.node for function in proto.functions)]
    )
    while waiting:
        nodes = waiting.popleft()
        yield nodes
        waiting.extend(body.node for node in nodes for body in bodies_of(node))


def order_of(nodes: Sequence[onnx.NodeProto], name: str) -> list[int] | None:
    """An order in which every node comes after what it reads; None where they stand in one.

    Raises:
        InputError: there is none.
    """
    producer = {output: at for at, node in enumerate(nodes) for output in node.output if output}
    sources = [{producer[value] for value in reads_of(node) if value in producer} for node in nodes]
    if all(source < at for at, read in enumerate(sources) for source in read):
        return None
    readers: list[list[int]] = [[] for _ in nodes]
    for at, read in enumerate(sources):
        for source in read:
            readers[source].append(at)
    waiting = [len(read) for read in sources]
    ready = [at for at, left in enumerate(waiting) if not left]
    order = []
    while ready:
        at = heapq.heappop(ready)
        order.append(at)
        for reader in readers[at]:
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    if len(order) < len(nodes):
        stuck = next(nodes[at] for at, left in enumerate(waiting) if left)
        raise InputError(
            f"{name} has nodes that wait for each other in a circle, {stuck.name or stuck.op_type!r} among them: "
            "a graph of ONNX has no circles, export it anew"
        )
    return order


def _sort(nodes: Sequence[onnx.NodeProto], name: str) -> None:
    order = order_of(nodes, name)
    if order is None:
        return
    copies = [onnx.NodeProto() for _ in order]
    for copy, at in zip(copies, order, strict=True):
        copy.CopyFrom(nodes[at])
    for at, copy in enumerate(copies):
        nodes[at].CopyFrom(copy)


# ------------------------------------------------------------------------------------------------ sizes
def _values(proto: onnx.ModelProto) -> Iterator[onnx.ValueInfoProto]:
    for function in proto.functions:
        yield from function.value_info
    graphs = [proto.graph, *(body for nodes in _node_lists(proto) for node in nodes for body in bodies_of(node))]
    for graph in graphs:
        yield from itertools.chain(graph.input, graph.output, graph.value_info)


def _dimensions(proto: onnx.ModelProto) -> Iterator[onnx.TensorShapeProto.Dimension]:
    for value in _values(proto):
        kind: onnx.TypeProto = value.type
        while kind.WhichOneof("value") in ("sequence_type", "optional_type"):
            kind = getattr(kind, kind.WhichOneof("value") or "").elem_type
        if kind.HasField("tensor_type"):
            yield from kind.tensor_type.shape.dim
        elif kind.HasField("sparse_tensor_type"):
            yield from kind.sparse_tensor_type.shape.dim


def _check_extent(kind: str, value: onnx.ValueInfoProto, name: str) -> None:
    extents = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim if dimension.dim_value > 0]
    if math.prod(extents) > MOST_ELEMENTS:
        raise InputError(
            f"{kind} {value.name!r} of {name} has {' x '.join(map(str, extents))} elements, expected at most "
            f"{MOST_ELEMENTS:,}: leave the batch free, or fix it to a size that fits into memory"
        )


def check_values(model: ir.Model, name: str) -> None:
    """Check that no value between inputs and outputs is larger than any run could hold, where shapes can be inferred.

    Raises:
        InputError: one is.
    """
    if not any(node.op_type in _GROWING for node in model.graph.all_nodes()):
        return
    try:
        inferred = infer_shapes(model.clone())
    except RuntimeError:  # a node reads what nobody makes: ONNX Runtime says which when it loads the model
        return
    for node in inferred.graph.all_nodes():
        for value in node.outputs:
            extents = [extent for extent in value.shape or () if isinstance(extent, int) and extent > 0]
            if math.prod(extents) > MOST_ELEMENTS:
                raise InputError(
                    f"node {node.name or node.op_type!r} of {name} makes {' x '.join(map(str, extents))} elements, "
                    f"expected at most {MOST_ELEMENTS:,}: no run of it would fit into memory"
                )


# ------------------------------------------------------------------------------------------------ tensors
def tensors_of(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model: initializers and attributes, of functions and bodies too."""
    yield from proto.graph.initializer
    for nodes in _node_lists(proto):
        for node in nodes:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                for sparse in [attribute.sparse_tensor] * attribute.HasField("sparse_tensor"):
                    yield from (sparse.values, sparse.indices)
            for body in bodies_of(node):
                yield from body.initializer


def bytes_needed(tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor's data by its type and dimensions; texts count for nothing.

    Raises:
        InputError: the type is unknown, or a dimension negative.
    """
    if any(extent < 0 for extent in tensor.dims):
        raise InputError(
            f"tensor {tensor.name!r} has dimensions {_dims(tensor)}, expected none below 0: export it anew"
        )
    try:
        bits = 0 if tensor.data_type == onnx.TensorProto.STRING else ir.DataType(tensor.data_type).bitwidth
    except (ValueError, TypeError) as error:
        raise InputError(
            f"tensor {tensor.name!r} has the data type {tensor.data_type}, which ONNX does not know: export it anew"
        ) from error
    return int(-(-math.prod(int(extent) for extent in tensor.dims) * bits // 8))


def _check_tensor(tensor: onnx.TensorProto, name: str) -> None:
    if tensor.HasField("segment"):
        raise InputError(
            f"tensor {tensor.name!r} of {name} is a segment of a larger one, which no runtime reads: export it whole"
        )
    needed, count = bytes_needed(tensor), math.prod(tensor.dims)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return
    filled = {field: len(getattr(tensor, field)) for field in _LISTS if getattr(tensor, field)}
    if tensor.HasField("raw_data"):
        filled["raw_data"] = len(tensor.raw_data)
    if len(filled) > 1:
        fields = " and ".join(sorted(filled, reverse=True))
        raise InputError(
            f"tensor {tensor.name!r} of {name} has its data twice, as {fields}: which one counts is not said, "
            "export it with one"
        )
    field, entries = next(iter(filled.items()), ("raw_data", 0))
    usual = helper.tensor_dtype_to_field(tensor.data_type)
    expected = _entries(tensor, field, count, needed)
    if entries != expected or (count and field not in ("raw_data", usual)):
        unit = "bytes" if field == "raw_data" else f"entries of {field}"
        raise InputError(
            f"tensor {tensor.name!r} of {name} has the dimensions {_dims(tensor)} and {entries:,} {unit}, expected "
            f"{expected:,}{'' if field in ('raw_data', usual) else f' in {usual}'}: the file is damaged, export it anew"
        )


def _entries(tensor: onnx.TensorProto, field: str, count: int, needed: int) -> int:
    """How many entries a field must have; small types are packed into bytes."""
    if field == "raw_data" and tensor.data_type != onnx.TensorProto.STRING:
        return needed
    if tensor.data_type in (onnx.TensorProto.COMPLEX64, onnx.TensorProto.COMPLEX128):
        return 2 * count
    return min(needed, count) if tensor.data_type != onnx.TensorProto.STRING else count


def _dims(tensor: onnx.TensorProto) -> str:
    text = " x ".join(str(extent) for extent in tensor.dims[:8])
    return f"{text} …" if len(tensor.dims) > 8 else text or "of a single number"
