"""How large the constants of a graph become once they are computed: by rules for shapes, without computing them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

MOST_BYTES = 2**29
"""Bytes that constant nodes may make out of less: ONNX Runtime folds them while it loads a model, and we again."""
MOST_KNOWN = 64
"""Entries of integer constants that are followed: shapes and repeats."""


@dataclasses.dataclass(frozen=True)
class _Constant:
    """A value computed from constants alone: its shape, bytes of an element, and entries where they may be a shape."""

    shape: tuple[int, ...]
    width: int = 4
    entries: tuple[int, ...] | None = None

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.width


_Inputs = Sequence[_Constant]


def large_constant(proto: onnx.ModelProto) -> str | None:
    """A sentence where nodes with constant inputs make far more out of them than the file holds; None else.

    Args:
        proto: a model with its nodes in order; functions are looked at on their own.
    """
    parts: list[tuple[Sequence[onnx.NodeProto], dict[str, _Constant]]] = [(f.node, {}) for f in proto.functions]
    parts.append((proto.graph.node, _initializers(proto.graph)))
    limit = max(MOST_BYTES, 8 * sum(constant.bytes for constant in parts[-1][1].values()))
    total = 0
    while parts:
        nodes, constants = parts.pop()
        for node in nodes:
            parts += [(body.node, constants | _initializers(body)) for body in _bodies(node)]
            constant = _made(node, constants)
            if constant is None:
                continue
            source = sum(constants[name].bytes for name in set(node.input) if name in constants)
            total += constant.bytes if 2 * constant.bytes > 3 * source else 0
            if max(constant.bytes, total) > limit:
                return (
                    f"node {node.name or node.op_type!r} makes a constant of {constant.bytes:,} bytes out of "
                    f"{source:,}, and such constants may have {limit:,} together: store the weight itself, or make it "
                    "smaller"
                )
            constants.update(dict.fromkeys(node.output, constant))
    return None


def _bodies(node: onnx.NodeProto) -> Sequence[onnx.GraphProto]:
    return [
        body
        for attribute in node.attribute
        for body in ([attribute.g] if attribute.HasField("g") else attribute.graphs)
    ]


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
    return _Constant(shape, width, entries)


def _made(node: onnx.NodeProto, known: dict[str, _Constant]) -> _Constant | None:
    """What a node makes; None where it is no constant or its rule is not known."""
    if node.domain not in ("", "ai.onnx") or not node.output:
        return None
    if node.op_type == "Constant":
        return _constant_node(node)
    rule = _RULES.get(node.op_type)
    if rule is None or not node.input or any(name and name not in known for name in node.input):
        return None
    try:
        return rule(node, [known[name] for name in node.input if name])
    except (IndexError, ValueError, OverflowError):
        return None


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
