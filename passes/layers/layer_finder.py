"""Which nodes of a graph are layers, and why the others that hold weights are left alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import onnx_ir as ir

from netsurgeon.passes.graph import (
    FEWEST_SHARED,
    FLOATS,
    bodies,
    constants_read,
    is_constant,
    is_generated,
    label,
    present,
    tensor,
    traits_of,
    why_fused,
)
from netsurgeon.passes.layers.geometry import Geometry
from netsurgeon.passes.layers.layer import Layer

HOSTS = ("If", "Loop")
"""Operators in whose bodies layers are pruned."""
MAX_COLUMNS = 6144
"""Wider layers are solved in column blocks of whole channels (a block-diagonal Hessian)."""
_DECLINED_OPERATORS = {
    "ConvTranspose": "transposed convolutions are not pruned",
    "LSTM": "recurrent cells are not pruned",
    "GRU": "recurrent cells are not pruned",
    "RNN": "recurrent cells are not pruned",
    "Einsum": "the contraction of an Einsum is not analysed",
    "DeformConv": "deformable convolutions are not pruned",
    "Gather": "what rows are looked up in is not pruned, but stored in fewer bits where it is large and float32",
}
_QUANTISED = {
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QGemm", "QAttention"), "QOperator form"),
    **dict.fromkeys(
        ("ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"),
        "dynamic quantization",
    ),
    "MatMulNBits": "blocks of a few bits",
}
"""Operators whose weights are integers, and what that form is called."""


@dataclasses.dataclass(frozen=True)
class Declined:
    """A node that is left as it is, and why.

    Attributes:
        node: its name.
        operator: its operator type.
        reason: why it is left.
        parameters: elements of its weights.
    """

    node: str
    operator: str
    reason: str
    parameters: int = 0


def find_layers(graph: ir.Graph) -> tuple[list[Layer], list[Declined]]:
    """Every layer that can be pruned, in graph order, and every other node that holds weights, with its reason.

    Layers in a body of an If or Loop of the graph are among them, those in bodies further in are not.
    """
    layers: list[Layer] = []
    declined: list[Declined] = []
    for node in graph:
        view = _view(node)
        if isinstance(view, Layer):
            layers.append(view)
        elif view is not None:
            declined.append(Declined(label(node), node.op_type, view, _weights_of(node)))
        for inner in _inside(node):
            if isinstance(inner, Layer):
                layers.append(inner)
            else:
                declined.append(inner)
    return layers, declined


def layers_by_name(graph: ir.Graph) -> dict[str, Layer]:
    """Every layer that can be pruned, in graph order, by its name."""
    return {layer.name: layer for layer in find_layers(graph)[0]}


def _inside(host: ir.Node) -> Iterator[Layer | Declined]:
    """Layers and others with weights in the bodies of a node of the graph."""
    for body in bodies(host):
        for node in body:
            view, size = _view(node), _weights_of(node)
            reason = _body_problem(view, host) if isinstance(view, Layer) else view
            if isinstance(view, Layer) and reason is None:
                yield dataclasses.replace(view, host=host)
            elif reason is not None:
                yield Declined(label(node), node.op_type, reason, size)
            yield from _deeper(node)


def _body_problem(layer: Layer, host: ir.Node) -> str | None:
    """Why a layer in a body cannot be measured there, or pruned; None where it can."""
    if host.domain or host.op_type not in HOSTS:
        return f"it lies inside a body of {host.op_type} {label(host)!r}"
    if layer.weight.graph is not host.graph:
        return f"its weight is stored inside a body of {host.op_type} {label(host)!r}"
    if host.op_type == "Loop" and layer.weight_index < layer.data_index:
        return f"its weight is the first operand, inside a body of Loop {label(host)!r}"
    return None


def _deeper(node: ir.Node) -> Iterator[Declined]:
    """What lies in a body inside a body: no output of the host can show what enters it."""
    for body in bodies(node):
        for inner in body:
            size = _weights_of(inner)
            if size and _view(inner) is not None:
                reason = f"it lies inside a body of {node.op_type} {label(node)!r}, which lies inside one itself"
                yield Declined(label(inner), inner.op_type, reason, size)
            yield from _deeper(inner)


def _weights_of(node: ir.Node) -> int:
    constants = [v.const_value for v in node.inputs if v is not None and v.const_value is not None]
    quantised = [_quantised(v) for v in node.inputs if node.op_type in LAYER_OPERATORS]
    return sum(c.size for c in quantised if c is not None and len(c.shape) >= 2) + sum(
        c.size for c in constants if c.dtype in FLOATS and len(c.shape) >= 2
    )


def _view(node: ir.Node) -> Layer | str | None:
    """The layer of a node; a reason when it has weights that are left alone; None when it has none."""
    if not node.domain and node.op_type in LAYER_OPERATORS:
        return LAYER_OPERATORS[node.op_type](node)
    if node.op_type in _QUANTISED:
        return f"its weight is integers ({_QUANTISED[node.op_type]}), which are left as they are"
    size = _weights_of(node)
    if node.domain:
        return _why_left(node) if size else None
    if node.op_type in _DECLINED_OPERATORS and size:
        return _DECLINED_OPERATORS[node.op_type]
    return f"the constant of {node.op_type} is not a layer's weight" if size >= 1024 else None


def _why_left(node: ir.Node) -> str:
    """Why a node of another domain with constants is left alone: what is in the way, or that nobody knows it."""
    problem, tables = why_fused(node), constants_read(node)
    if problem is not None:
        return problem
    if tables:
        return f"what it reads as {' and '.join(tables)} is no layer's weight"
    return f"operator {node.domain}.{node.op_type} is not known"


def _quantised(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The constant that a DequantizeLinear makes a weight of, which may be turned or reshaped on the way."""
    while value is not None and (producer := value.producer()) is not None:
        if producer.op_type == "DequantizeLinear" and not producer.domain:
            constants = all(v is None or is_constant(v) for v in producer.inputs)
            return present(producer.inputs[0]).const_value if constants else None
        if not traits_of(producer).is_view or not all(is_constant(v) for v in producer.inputs[1:]):
            return None
        value = producer.inputs[0]
    return None


def _weight_problem(node: ir.Node, index: int) -> str | None:
    value = node.inputs[index]
    if _quantised(value) is not None:
        return "its weight is a quantised constant (DequantizeLinear), which is not pruned"
    if is_generated(value):
        return "its weight is made by ConstantOfShape, of values that are alike: stored it would make the file larger"
    tied = _tied_to(value)
    if tied is not None:
        return f"its weight is what {label(tied)!r} ({tied.op_type}) takes as well: they stay one tensor"
    if value is None or not value.is_initializer() or value.const_value is None:
        return "its weight is computed while the model runs"
    if value.is_graph_input():
        return "its weight is an input of the model, which a caller can replace"
    if value.is_graph_output():
        return "its weight is an output of the model"
    if tensor(value).size == 0:
        return "its weight is empty"
    if tensor(value).dtype not in FLOATS:
        return f"its weight has type {tensor(value).dtype.name}, expected a float type"
    return None


def _tied_to(value: ir.Value | None) -> ir.Node | None:
    """A node that takes a layer's matrix, too, but is no such layer: with a weight of its own there would be two."""
    turned = None if value is None else value.producer()
    is_turned = turned is not None and turned.op_type == "Transpose" and not turned.domain
    matrix = present(turned.inputs[0]) if turned is not None and is_turned else value
    if matrix is None or not is_constant(matrix) or tensor(matrix).size < FEWEST_SHARED:
        return None
    users = [use.node for use in matrix.uses() if use.node is not turned]
    return next((user for user in users if is_turned or user.domain or user.op_type not in LAYER_OPERATORS), None)


def _conv(node: ir.Node) -> Layer | str:
    problem = _weight_problem(node, 1)
    if problem:
        return problem
    shape = tuple(tensor(present(node.inputs[1])).shape.numpy())
    rank, groups = len(shape) - 2, node.attributes.get_int("group", 1)
    if rank < 1:
        return f"its weight has {len(shape)} dimensions, expected 3 or more"
    if groups < 1 or shape[0] % groups:
        return f"its weight's {shape[0]} rows do not fall into {groups} groups"
    geometry = Geometry(
        shape[2:],
        tuple(node.attributes.get_ints("strides", (1,) * rank)),
        tuple(node.attributes.get_ints("dilations", (1,) * rank)),
        tuple(node.attributes.get_ints("pads", (0,) * (2 * rank))),
        node.attributes.get_string("auto_pad", "NOTSET"),
    )
    if (len(geometry.strides), len(geometry.dilations), len(geometry.pads)) != (rank, rank, 2 * rank):
        return f"its strides, dilations or pads are not those of {rank} axes"
    if min(*geometry.strides, *geometry.dilations) < 1:
        return "its strides or dilations are below 1"
    columns, kernel = math.prod(shape[1:]), math.prod(shape[2:])
    blocks = _blocks(columns, kernel)
    return Layer(
        node=node,
        weight_index=1,
        data_index=0,
        groups=groups,
        rows=shape[0] // groups,
        columns=columns,
        geometry=geometry,
        blocks=blocks,
        kernel_size=kernel,
    )


def _weight_side(node: ir.Node) -> int | str | None:
    """Which operand of a Gemm or MatMul is the weight; a reason to decline it; None when neither is one."""
    constants = [i for i in (1, 0) if is_constant(node.inputs[i])]
    if len(constants) == 2:
        return "both operands are constants"
    if constants:
        return _weight_problem(node, constants[0]) or constants[0]
    return next((_weight_problem(node, i) for i in (1, 0) if _comes_from_constants(node.inputs[i])), None)


def _comes_from_constants(value: ir.Value | None) -> bool:
    """Whether the value is a constant that can be overridden, a quantised one, or one node behind constants."""
    if _quantised(value) is not None or is_generated(value):
        return True
    if value is None or value.producer() is None:
        return value is not None and value.is_initializer()
    producer = value.producer()
    return producer is not None and all(v is None or v.is_initializer() for v in producer.inputs)


def _gemm(node: ir.Node) -> Layer | str | None:
    side = _weight_side(node)
    if not isinstance(side, int):
        return side
    if node.attributes.get_float("alpha", 1.0) == 0.0:
        return "alpha is 0: the weight has no effect"
    layer = Layer(node=node, weight_index=side, data_index=1 - side, groups=1, rows=1, columns=1)
    shape = tensor(layer.weight).shape.numpy()
    if len(shape) != 2:
        return f"its weight has {len(shape)} dimensions, expected 2"
    rows, columns = shape if layer.rows_first() else shape[::-1]
    return dataclasses.replace(layer, rows=rows, columns=columns, blocks=_blocks(columns, 1))


def _matmul(node: ir.Node) -> Layer | str | None:
    side = _weight_side(node)
    if not isinstance(side, int):
        return side
    shape = tensor(present(node.inputs[side])).shape.numpy()
    if len(shape) < 2:
        return "its weight is a vector"
    if math.prod(shape[:-2]) != 1:
        return "its weight is a stack of matrices"
    columns, rows = shape[-2:] if side == 1 else (shape[-1], shape[-2])
    layer = Layer(
        node=node,
        weight_index=side,
        data_index=1 - side,
        groups=1,
        rows=rows,
        columns=columns,
        blocks=_blocks(columns, 1),
    )
    return dataclasses.replace(layer, bias_add=_adder(layer))


def _adder(layer: Layer) -> ir.Node | None:
    """The Add right behind a MatMul, when its constant is one number an output."""
    output = layer.node.outputs[0]
    users = [use.node for use in output.uses()]
    if len(users) != 1 or output.is_graph_output() or users[0].op_type != "Add" or users[0].domain:
        return None
    if users[0].graph is not layer.node.graph:
        return None
    other = next(v for v in users[0].inputs if v is not output)
    if not is_constant(other):
        return None
    bias_shape: tuple[int, ...] = (layer.rows,)
    if layer.weight_index == 0:
        # W x has one column a sample, unless x is a vector: only its rank tells which axis the outputs are on
        if layer.input.shape is None:
            return None
        bias_shape = (layer.rows, 1)[: len(layer.input.shape)]
    shape = tensor(present(other)).shape.numpy()
    return users[0] if shape[-len(bias_shape) :] == bias_shape and math.prod(shape) == layer.rows else None


def _blocks(columns: int, kernel: int) -> int:
    """Fewest equal cuts into whole channels that leave at most MAX_COLUMNS columns each."""
    channels = columns // kernel
    fits = (b for b in range(1, channels + 1) if channels % b == 0 and columns // b <= MAX_COLUMNS)
    return next(fits, channels)


LAYER_OPERATORS: dict[str, Callable[[ir.Node], Layer | str | None]] = {"Conv": _conv, "Gemm": _gemm, "MatMul": _matmul}
