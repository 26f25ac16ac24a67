"""How large the constants of a graph become once they are computed: by rules for shapes, without computing them.

What no rule tells is computed in a process of its own that may take so much memory and no more.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from netsurgeon.passes.graph import NativeCrashError, NativeError, compute_constants
from netsurgeon.pipeline.model_files.constant_graph import Source, bodies_of, constant_graph, reads_of

MOST_BYTES = 2**29
"""Bytes that constant nodes may make out of less: ONNX Runtime folds them while it loads a model, and we again."""
MOST_KNOWN = 64
"""Entries of integer constants that are followed: shapes and repeats."""


@dataclasses.dataclass(frozen=True)
class _Constant:
    """A value computed from constants alone.

    Attributes:
        shape: its extents.
        width: bytes of an element.
        entries: where they may be a shape.
        is_known: whether shape and width are; where no rule tells them, they count for nothing.
        source: what makes it.
    """

    shape: tuple[int, ...]
    width: int = 4
    entries: tuple[int, ...] | None = None
    is_known: bool = True
    source: Source | None = dataclasses.field(default=None, compare=False)

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.width


_Inputs = Sequence[_Constant]
_Known = dict[str, _Constant]
_UNKNOWN = _Constant((), 0, is_known=False)
_FAILED = re.compile(r"running (\w+) node\. Name:'([^']*)'")
"""How ONNX Runtime names the node that failed."""


def large_constant(proto: onnx.ModelProto, folder: Path | None = None) -> str | None:
    """A sentence where nodes with constant inputs make far more out of them than the file holds; None else.

    Args:
        proto: a model with its nodes in order; functions are looked at on their own.
        folder: of its external data.
    """
    parts: list[tuple[Sequence[onnx.NodeProto], _Known]] = [(f.node, {}) for f in proto.functions]
    parts.append((proto.graph.node, _initializers(proto.graph) | _static_shapes(proto.graph)))
    limit = max(MOST_BYTES, 8 * sum(constant.bytes for constant in parts[-1][1].values()))
    total = 0
    while parts:
        nodes, constants = parts.pop()
        unknown = []
        for node in nodes:
            parts += [(body.node, constants | _initializers(body)) for body in bodies_of(node)]
            constant = _made(node, constants)
            if constant is None:
                continue
            unknown += [] if constant.is_known else [node]
            source = sum(constants[name].bytes for name in set(node.input) if name in constants)
            total += constant.bytes if 2 * constant.bytes > 3 * source else 0
            if max(constant.bytes, total) > limit:
                return (
                    f"node {node.name or node.op_type!r} makes a constant of {constant.bytes:,} bytes out of "
                    f"{source:,}, and such constants may have {limit:,} together: store the weight itself, or make it "
                    "smaller"
                )
            constant = dataclasses.replace(constant, source=node)
            constants.update((name, constant) for name in node.output if name)
        if unknown:
            try:
                total += _compute(proto, unknown, constants, limit - total, folder)
            except MemoryError as error:
                return (
                    f"{error}, and such constants may have {limit:,} bytes together: store the weight itself, or make "
                    "it smaller"
                )
    return None


def _compute(
    proto: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], known: _Known, left: int, folder: Path | None
) -> int:
    """Bytes that constant nodes make whose size no rule tells, up to `left`.

    Raises:
        MemoryError: they make more, or never end; the text is the first half of a sentence.
    """
    sources = {name: constant.source for name, constant in known.items() if constant.source is not None}
    model, stored = constant_graph(proto, nodes, sources, folder)
    try:
        # Not all that is computed on the way is a result: as much again may be there at the same time.
        size = compute_constants(model, 2 * (left + stored))
    except MemoryError as error:
        failed = _FAILED.search(str(error))
        size, name = left + 1, (failed[2] or failed[1]) if failed else nodes[-1].name or nodes[-1].op_type
    except NativeError as error:
        if not isinstance(error, NativeCrashError):
            return 0  # ONNX Runtime says itself what is wrong when it loads the model
        names = ", ".join(repr(node.name or node.op_type) for node in nodes[:3])
        raise MemoryError(f"constants of nodes {names} cannot be computed beforehand ({error})") from error
    else:
        name = nodes[-1].name or nodes[-1].op_type
    if size > left:
        raise MemoryError(f"node {name!r} makes a constant of more than {left:,} bytes out of {stored:,}")
    return size if 2 * size > 3 * stored else 0


def _static_shapes(graph: onnx.GraphProto) -> _Known:
    """What Shape nodes give of inputs without a free dimension, by the name of what they give."""
    shapes = {}
    for value in graph.input:
        extents = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(extent.HasField("dim_value") for extent in extents):
            shapes[value.name] = np.array([extent.dim_value for extent in extents], np.int64)
    return {
        name: _stored(numpy_helper.from_array(shapes[node.input[0]], name))
        for node in graph.node
        if node.op_type == "Shape" and not node.domain and not node.attribute and node.input[0] in shapes
        for name in node.output
    }


def _initializers(graph: onnx.GraphProto) -> dict[str, _Constant]:
    """What a graph stores, without what its caller can override."""
    overridable = {value.name for value in graph.input}
    return {tensor.name: _stored(tensor) for tensor in graph.initializer if tensor.name not in overridable}


def _stored(tensor: onnx.TensorProto) -> _Constant:
    try:
        width = max(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize, 1)
    except (KeyError, TypeError, ValueError):
        width = 1
    shape, entries = tuple(tensor.dims), None
    integers = tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
    if integers and math.prod(shape) <= MOST_KNOWN and tensor.data_location != onnx.TensorProto.EXTERNAL:
        entries = tuple(int(entry) for entry in numpy_helper.to_array(tensor).ravel())
    return _Constant(shape, width, entries, source=tensor)


def _made(node: onnx.NodeProto, known: Mapping[str, _Constant]) -> _Constant | None:
    """What a node makes, `_UNKNOWN` where no rule tells it; None where it is no constant."""
    if not any(node.output) or any(name not in known for name in reads_of(node) if name):
        return None
    is_standard = node.domain in ("", "ai.onnx")
    if node.op_type == "Constant" and is_standard:
        return _constant_node(node)
    if any(attribute.ref_attr_name for attribute in node.attribute):
        return None  # whoever calls the function says what it makes
    rule = _RULES.get(node.op_type) if is_standard else None
    inputs = [known[name] for name in node.input if name]
    if rule is None or not inputs or not all(constant.is_known for constant in inputs):
        return _UNKNOWN
    try:
        return rule(node, inputs)
    except (IndexError, ValueError, OverflowError):
        return _UNKNOWN


def _constant_node(node: onnx.NodeProto) -> _Constant | None:
    for attribute in node.attribute:
        if attribute.name == "value":
            return _stored(attribute.t)
        if attribute.name == "value_ints":
            ints = tuple(attribute.ints)
            return _Constant((len(ints),), 8, ints if len(ints) <= MOST_KNOWN else None)
        if attribute.name == "value_int":
            return _Constant((), 8, (attribute.i,))
        if attribute.name in ("value_float", "value_floats"):
            return _Constant((len(attribute.floats),) if attribute.name == "value_floats" else ())
        if attribute.name in ("value_string", "value_strings"):
            return _Constant((len(attribute.strings),) if attribute.name == "value_strings" else (), 1)
    return None


def _broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """NumPy's rule, without arrays: a dimension of 1 follows the other."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(max(extents) if min(extents) else 0 for extents in zip(*padded, strict=True))


def _elementwise(node: onnx.NodeProto, inputs: _Inputs) -> _Constant:
    return _Constant(_broadcast(*(constant.shape for constant in inputs)), max(constant.width for constant in inputs))


def _same(node: onnx.NodeProto, inputs: _Inputs) -> _Constant:
    return inputs[0]


def _as_list(constant: _Constant) -> tuple[int, ...]:
    if constant.entries is None:
        raise ValueError("not a small vector of integers")
    return constant.entries


def _filled(node: onnx.NodeProto, inputs: _Inputs) -> _Constant:
    value = next((_stored(attribute.t) for attribute in node.attribute if attribute.name == "value"), None)
    return _Constant(tuple(max(extent, 0) for extent in _as_list(inputs[0])), value.width if value else 4)


def _expanded(node: onnx.NodeProto, inputs: _Inputs) -> _Constant:
    return _Constant(_broadcast(inputs[0].shape, _as_list(inputs[1])), inputs[0].width)


def _tiled(node: onnx.NodeProto, inputs: _Inputs) -> _Constant:
    repeats = _as_list(inputs[1])
    return _Constant(tuple(e * max(r, 0) for e, r in zip(inputs[0].shape, repeats, strict=True)), inputs[0].width)


def _product(node: onnx.NodeProto, inputs: _Inputs) -> _Constant:
    one, other = inputs[0].shape, inputs[1].shape
    transposed = {attribute.name for attribute in node.attribute if attribute.i}
    rows = one[-1] if "transA" in transposed else one[-2] if len(one) > 1 else 1
    columns = other[-2] if "transB" in transposed else other[-1] if len(other) > 1 else 1
    return _Constant((*_broadcast(one[:-2], other[:-2]), rows, columns), max(inputs[0].width, inputs[1].width))


def _range(node: onnx.NodeProto, inputs: _Inputs) -> _Constant:
    (start,), (limit,), (step,) = map(_as_list, inputs[:3])
    return _Constant((len(range(start, limit, step or 1)),), inputs[0].width)


def _gathered(node: onnx.NodeProto, inputs: _Inputs) -> _Constant:
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    shape = inputs[0].shape
    axis %= len(shape)
    return _Constant((*shape[:axis], *inputs[1].shape, *shape[axis + 1 :]), inputs[0].width)


def _one_hot(node: onnx.NodeProto, inputs: _Inputs) -> _Constant:
    return _Constant((*inputs[0].shape, *_as_list(inputs[1])[:1]), inputs[2].width)


def _joined(node: onnx.NodeProto, inputs: _Inputs) -> _Constant:
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0) % len(inputs[0].shape)
    shape = list(inputs[0].shape)
    shape[axis] = sum(constant.shape[axis] for constant in inputs)
    vectors = [constant.entries for constant in inputs]
    whole = sum((vector for vector in vectors if vector is not None), ())
    followed = len(shape) == 1 and None not in vectors and len(whole) <= MOST_KNOWN
    return _Constant(tuple(shape), inputs[0].width, whole if followed else None)


def _reshaped(node: onnx.NodeProto, inputs: _Inputs) -> _Constant:
    size, target = math.prod(inputs[0].shape), list(_as_list(inputs[1]))
    target = [inputs[0].shape[at] if extent == 0 else extent for at, extent in enumerate(target)]
    rest = math.prod(extent for extent in target if extent > 0)
    shape = tuple(size // max(rest, 1) if extent < 0 else extent for extent in target)
    return dataclasses.replace(inputs[0], shape=shape)


def _padded(node: onnx.NodeProto, inputs: _Inputs) -> _Constant:
    pads = np.array(_as_list(inputs[1]), object).reshape(2, -1).sum(axis=0)
    return _Constant(tuple(e + int(p) for e, p in zip(inputs[0].shape, pads, strict=True)), inputs[0].width)


def _turned(node: onnx.NodeProto, inputs: _Inputs) -> _Constant:
    order = next((list(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), None)
    shape = inputs[0].shape
    return _Constant(tuple(shape[at] for at in order) if order else shape[::-1], inputs[0].width)


_ELEMENTWISE = "Add Sub Mul Div Pow Where Min Max Sum Mean Mod Equal Less Greater And Or Xor PRelu BitShift"
_UNARY = (
    "Identity Cast Neg Abs Sqrt Exp Log Relu Sigmoid Tanh Floor Ceil Clip Erf Sin Cos Not Reciprocal Softmax CumSum "
    "EyeLike DequantizeLinear QuantizeLinear"
)
_RULES: dict[str, Callable[[onnx.NodeProto, _Inputs], _Constant]] = {
    **dict.fromkeys(_ELEMENTWISE.split(), _elementwise),
    **dict.fromkeys(_UNARY.split(), _same),
    "ConstantOfShape": _filled,
    "Expand": _expanded,
    "Tile": _tiled,
    "MatMul": _product,
    "Gemm": _product,
    "Range": _range,
    "Gather": _gathered,
    "OneHot": _one_hot,
    "Concat": _joined,
    "Reshape": _reshaped,
    "Pad": _padded,
    "Transpose": _turned,
}
