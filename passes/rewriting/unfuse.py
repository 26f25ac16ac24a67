"""Take apart what ONNX Runtime's optimiser has fused around weights, so that every weight is that of a layer again.

Attention becomes three matrix products and MultiHeadAttention, which runs the same kernel, and biases that other
operators add become Adds behind the product that they belong to. What ONNX Runtime fuses while it loads a model, such
as products that are scaled or followed by an activation, it fuses again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir import tape

from netsurgeon.passes.graph import (
    ACTIVATIONS,
    MICROSOFT,
    graph_of,
    is_constant,
    label,
    optional_input,
    present,
    tensor,
    unused_name,
    why_fused,
)

QUERY_KEY_VALUE = ("query", "key", "value")


Sliced = dict[tuple[ir.Value, int, int], ir.Value]
"""Columns of a constant, from one to another, as a constant of their own."""


class UnfuseWeights(ir.passes.InPlacePass):
    """Take apart every fused node of the graph and its bodies of which all is understood; the others stay as they are.

    What several nodes share, they share as parts, too.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite in place; the product of a node that is taken apart has its name."""
        modified, sliced = False, Sliced()
        for node in list(model.graph.all_nodes()):
            is_fused = node.domain == MICROSOFT and why_fused(node) is None
            unfuse = _FUSED.get(node.op_type) if is_fused else None
            parts = _Parts(node, model.graph, sliced)
            outputs = None if unfuse is None else unfuse(parts)
            if outputs is not None:
                parts.replace(outputs)
                modified = True
        return ir.passes.PassResult(model, modified)


class _Parts:
    """One fused node, and the nodes that take its place as they are written down.

    Args:
        node: in the graph, or in a body of it.
        graph: of the model, to which new constants belong.
        sliced: what was cut from constants before, for other nodes.
    """

    def __init__(self, node: ir.Node, graph: ir.Graph, sliced: Sliced):
        self.node, self._graph, self._sliced = node, graph, sliced
        self.name = label(node)
        self.opset = graph.opset_imports.get("", 1)
        self._tape = tape.Tape()

    # ------------------------------------------------------------------------------------------------ reading
    def input(self, index: int) -> ir.Value | None:
        """An input, or None."""
        return optional_input(self.node, index)

    def constant(self, index: int) -> npt.NDArray[np.generic] | None:
        """An input that is a constant, or None."""
        value = self.input(index)
        return tensor(value).numpy() if value is not None and is_constant(value) else None

    def integer(self, name: str) -> int:
        """An attribute, 0 where it has none."""
        return self.node.attributes.get_int(name, 0)

    def attributes(self, *names: str) -> dict[str, Any]:
        """Those of these attributes that it has."""
        return {name: self.node.attributes[name].value for name in names if name in self.node.attributes}

    def is_used(self, index: int) -> bool:
        """Whether it has this output, and anybody reads it."""
        value = self.node.outputs[index] if index < len(self.node.outputs) else None
        return value is not None and bool(value.uses() or value.is_graph_output())

    # ------------------------------------------------------------------------------------------------ writing
    def op(
        self, operator: str, *inputs: ir.Value | None, name: str = "", domain: str = "", **attributes: Any
    ) -> ir.Value:
        """The output of a new node, of the type of its first input."""
        return self.ops(operator, *inputs, outputs=1, name=name, domain=domain, **attributes)[0]

    def ops(
        self, operator: str, *inputs: ir.Value | None, outputs: int, name: str = "", domain: str = "", **attributes: Any
    ) -> Sequence[ir.Value]:
        """The outputs of a new node."""
        name = name or unused_name(self._graph, f"{self.name}_{operator.lower()}_{len(self._tape.nodes)}")
        values = self._tape.op_multi_out(operator, inputs, attributes, num_outputs=outputs, domain=domain, name=name)
        for number, value in enumerate(values):
            value.type = inputs[0].type if inputs[0] is not None else None
            value.name = unused_name(self._graph, f"{name}_{number}")
        return values

    def new(self, array: npt.ArrayLike, name: str) -> ir.Value:
        """A new constant."""
        constant = ir.tensor(np.array(array, order="C"), name=unused_name(self._graph, f"{self.name}_{name}"))
        value = ir.Value(
            name=constant.name,
            shape=ir.Shape(constant.shape.numpy()),
            type=ir.TensorType(constant.dtype),
            const_value=constant,
        )
        self._graph.register_initializer(value)
        return value

    def columns(self, index: int, start: int, end: int, name: str) -> ir.Value:
        """Columns of an input that is a constant, as a new constant, which all nodes that share the input have."""
        source, array = present(self.input(index)), self.constant(index)
        assert array is not None
        key = source, start, end
        if key not in self._sliced:
            self._sliced[key] = self.new(array[..., start:end], name)
        return self._sliced[key]

    def with_axes(self, operator: str, value: ir.Value, axis: int, **attributes: Any) -> ir.Value:
        """A node that takes axes as an input since opset 13, and as an attribute before."""
        if self.opset < 13:
            return self.op(operator, value, axes=[axis], **attributes)
        return self.op(operator, value, self.new(np.array([axis]), f"axis_{operator.lower()}"), **attributes)

    def replace(self, outputs: Sequence[ir.Value | None]) -> None:
        """Put the parts in the node's place; what takes the place of an output has its name."""
        pairs = [(old, new) for old, new in zip(self.node.outputs, outputs, strict=False) if new is not None]
        old, new = ([pair[at] for pair in pairs] for at in (0, 1))
        ir.convenience.replace_nodes_and_values(
            graph_of(self.node),
            insertion_point=self.node,
            old_nodes=[self.node],
            new_nodes=list(self._tape.nodes),
            old_values=old,
            new_values=new,
        )


Unfuse = Callable[[_Parts], Sequence[ir.Value | None] | None]


# ------------------------------------------------------------------------------------------------ attention
def _attention(parts: _Parts) -> Sequence[ir.Value | None]:
    """``Attention(x, [Wq Wk Wv], b)`` is MultiHeadAttention of x Wq + bq, x Wk + bk and x Wv + bv."""
    weight, bias, mask, past = tensor(present(parts.input(1))), parts.constant(2), parts.input(3), parts.input(4)
    sizes = parts.node.attributes.get_ints("qkv_hidden_sizes", (int(weight.shape.numpy()[1]) // 3,) * 3)
    ends = np.cumsum([0, *sizes])
    projected = []
    for name, start, end in zip(QUERY_KEY_VALUE, ends, ends[1:], strict=False):
        layer = f"{parts.name}_{name}"
        value = parts.op("MatMul", parts.input(0), parts.columns(1, start, end, f"{name}_weight"), name=layer)
        if bias is not None:
            value = parts.op("Add", value, parts.columns(2, start, end, f"{name}_bias"), name=f"{layer}_bias")
        projected.append(value)
    before = [
        parts.op("Gather", past, parts.new(np.array(at), f"past_{at}"), axis=0) if past else None for at in (0, 1)
    ]
    kept = parts.attributes("num_heads", "unidirectional", "mask_filter_value", "scale")
    inputs = [*projected, None, mask, parts.input(5), *before]
    outputs = parts.ops(
        "MultiHeadAttention", *inputs, outputs=3 if parts.is_used(1) else 1, name=parts.name, domain=MICROSOFT, **kept
    )
    if not parts.is_used(1):
        return outputs
    cache = [parts.with_axes("Unsqueeze", value, 0) for value in outputs[1:]]
    return outputs[0], parts.op("Concat", *cache, axis=0)


def _multi_head_attention(parts: _Parts) -> Sequence[ir.Value | None] | None:
    """Queries, keys and values get their part of the bias before."""
    bias, operands = parts.constant(3), [parts.input(index) for index in range(3)]
    if bias is None or any(value is None or _rank(value) not in (3, None) for value in operands):
        return None
    widths = [_width(value) for value in operands]
    if None in widths and len(set(widths)) > 1:
        return None
    if widths[0] is None:
        widths = [len(bias) // 3] * 3
    ends = np.cumsum([0, *(width or 0 for width in widths)])
    shifted = [
        parts.op("Add", value, parts.columns(3, start, end, f"{name}_bias"), name=f"{parts.name}_{name}_bias")
        for value, name, start, end in zip(operands, QUERY_KEY_VALUE, ends, ends[1:], strict=False)
    ]
    inputs = [*shifted, None, *parts.node.inputs[4:]]
    count = len(parts.node.outputs)
    attributes = parts.attributes(*parts.node.attributes)
    return parts.ops("MultiHeadAttention", *inputs, outputs=count, name=parts.name, domain=MICROSOFT, **attributes)


def _group_query_attention(parts: _Parts) -> Sequence[ir.Value | None] | None:
    """Queries, keys and values that lie in one value are split."""
    query, shared = parts.integer("num_heads"), parts.integer("kv_num_heads")
    packed = parts.input(0)
    width = _width(packed)
    if packed is None or parts.input(1) is not None or width is None or not shared or width % (query + 2 * shared):
        return None
    head = width // (query + 2 * shared)
    sizes = np.array([query, shared, shared]) * head
    if parts.opset < 13:
        operands = parts.ops("Split", packed, outputs=3, axis=-1, split=sizes.tolist())
    else:
        operands = parts.ops("Split", packed, parts.new(sizes, "sizes"), outputs=3, axis=-1)
    count = len(parts.node.outputs)
    inputs, attributes = [*operands, *parts.node.inputs[3:]], parts.attributes(*parts.node.attributes)
    return parts.ops("GroupQueryAttention", *inputs, outputs=count, name=parts.name, domain=MICROSOFT, **attributes)


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def _width(value: ir.Value | None) -> int | None:
    """The extent of a value's last axis, as noted, or as the weight or bias tells that it is made with."""
    if value is not None and value.shape is not None and isinstance(value.shape[-1], int):
        return value.shape[-1]
    maker = None if value is None else value.producer()
    if maker is not None and maker.op_type == "MatMulNBits":
        return maker.attributes.get_int("N")
    constants = [
        tensor(v).shape.numpy() for v in (() if maker is None else maker.inputs) if v is not None and is_constant(v)
    ]
    keeps_width = maker is not None and maker.op_type in ("MatMul", "Add")
    return int(constants[0][-1]) if keeps_width and constants and constants[0] and constants[0][-1] > 1 else None


# ------------------------------------------------------------------------------------------------ biases
def _shifted(parts: _Parts, value: ir.Value | None, bias: int) -> ir.Value:
    """A value with a bias added to it."""
    return parts.op("Add", value, parts.input(bias), name=f"{parts.name}_bias")


def _bias_gelu(parts: _Parts) -> Sequence[ir.Value]:
    return [parts.op("Gelu", _shifted(parts, parts.input(0), 1), name=parts.name, domain=MICROSOFT)]


def _fast_gelu(parts: _Parts) -> Sequence[ir.Value] | None:
    if parts.input(1) is None:
        return None
    return [parts.op("FastGelu", _shifted(parts, parts.input(0), 1), name=parts.name, domain=MICROSOFT)]


def _skip_norm(bias: int) -> Unfuse:
    """Of a norm of a sum: the bias belongs to the operand that a product makes for it alone."""

    def unfuse(parts: _Parts) -> Sequence[ir.Value | None] | None:
        if parts.input(bias) is None:
            return None
        operands = [parts.input(0), parts.input(1)]
        makers = [value.producer() if value is not None and len(value.uses()) == 1 else None for value in operands]
        at = next((at for at in (0, 1) if (maker := makers[at]) is not None and maker.op_type == "MatMul"), 0)
        operands[at] = _shifted(parts, operands[at], bias)
        inputs, count = [*operands, *parts.node.inputs[2:bias]], len(parts.node.outputs)
        kept = parts.attributes("epsilon")
        return parts.ops(parts.node.op_type, *inputs, outputs=count, name=parts.name, domain=MICROSOFT, **kept)

    return unfuse


# ------------------------------------------------------------------------------------------------ products
def _fused_matmul(parts: _Parts) -> Sequence[ir.Value]:
    """``alpha · op(A) op(B)``."""
    operands = []
    for index, name in enumerate(("transA", "transB")):
        value, array = parts.input(index), parts.constant(index)
        rank = array.ndim if array is not None else _rank(value)
        if parts.integer(name) and rank is not None and rank > 1:
            value = parts.op("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2])
        operands.append(value)
    alpha = parts.node.attributes.get_float("alpha", 1.0)
    product = parts.op("MatMul", *operands, name=parts.name)
    dtype = product.type.dtype.numpy() if product.type is not None else np.dtype(np.float32)
    return [product if alpha == 1.0 else parts.op("Mul", product, parts.new(np.array(alpha, dtype), "alpha"))]


def _fused_gemm(parts: _Parts) -> Sequence[ir.Value]:
    """A Gemm and its activation."""
    kind = parts.node.attributes.get_string("activation")
    numbers = parts.attributes(*(f"activation_{name}" for name in ACTIVATIONS[kind]))
    kept = parts.attributes("alpha", "beta", "transA", "transB")
    product = parts.op("Gemm", *parts.node.inputs, name=parts.name, **kept)
    return [parts.op(kind, product, **{name.removeprefix("activation_"): value for name, value in numbers.items()})]


def _fused_conv(parts: _Parts) -> Sequence[ir.Value]:
    """A Conv, what is added to it, and its activation."""
    kind = parts.node.attributes.get_string("activation")
    numbers = parts.node.attributes.get_floats("activation_params", ())
    kept = parts.attributes(*_CONV_ATTRIBUTES)
    result = parts.op("Conv", *parts.node.inputs[:3], name=parts.name, **kept)
    if parts.input(3) is not None:
        result = parts.op("Add", result, parts.input(3))
    settings: dict[str, Any] = dict(zip(ACTIVATIONS[kind], numbers, strict=False))
    return [parts.op(kind, result, **settings)]


_CONV_ATTRIBUTES = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


# ------------------------------------------------------------------------------------------------ embeddings
def _embed_layer_normalization(parts: _Parts) -> Sequence[ir.Value | None]:
    """Rows of two or three tables, their sum, and its norm."""
    words, segments, mask = present(parts.input(0)), parts.input(1), parts.input(7)
    total = _rows(parts, "word", 2, words)
    total = parts.op("Add", total, _places(parts, words))
    if segments is not None:
        total = parts.op("Add", total, _rows(parts, "segment", 4, segments))
    kept = parts.attributes("epsilon")
    norm = parts.op("LayerNormalization", total, parts.input(5), parts.input(6), name=parts.name, axis=-1, **kept)
    counted = None
    if parts.is_used(1):
        counted = parts.with_axes("ReduceSum", mask, 1, keepdims=0) if mask is not None else None
    return norm, counted, total if parts.is_used(2) else None


def _rows(parts: _Parts, name: str, table: int, indices: ir.Value) -> ir.Value:
    return parts.op("Gather", parts.input(table), indices, name=f"{parts.name}_{name}", axis=0)


def _places(parts: _Parts, words: ir.Value) -> ir.Value:
    """The rows of the table of positions: as told, or the first ones."""
    positions = parts.input(8)
    if positions is not None:
        return _rows(parts, "position", 3, positions)
    shape = parts.op("Shape", words)
    shape.type = ir.TensorType(ir.DataType.INT64)
    length = parts.op("Slice", shape, *(parts.new(np.array([n]), "bound") for n in (1, 2)))
    bounds = parts.new(np.array([0]), "start"), length, parts.new(np.array([0]), "axis")
    return parts.op("Slice", parts.input(3), *bounds, name=f"{parts.name}_position")


_FUSED: dict[str, Unfuse] = {
    "Attention": _attention,
    "MultiHeadAttention": _multi_head_attention,
    "GroupQueryAttention": _group_query_attention,
    "BiasGelu": _bias_gelu,
    "FastGelu": _fast_gelu,
    "SkipLayerNormalization": _skip_norm(4),
    "SkipSimplifiedLayerNormalization": _skip_norm(3),
    "FusedMatMul": _fused_matmul,
    "FusedGemm": _fused_gemm,
    "FusedConv": _fused_conv,
    "EmbedLayerNormalization": _embed_layer_normalization,
}
FUSED_OPERATORS = tuple(sorted(_FUSED))
"""Of com.microsoft: what is taken apart, at least in some forms."""
