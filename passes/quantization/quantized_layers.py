"""Which layers of a model have integer weights, in whatever form they are, and what the file holds of them."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, label, optional_input, present, tensor, traits_of
from netsurgeon.passes.layers import LAYER_OPERATORS
from netsurgeon.passes.quantization.store_blocks import MICROSOFT, unpack_codes

Array = npt.NDArray[np.generic]
Whole = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class _Inputs:
    """Form of an operator with integer weights, and which of its inputs hold them, their scale and their zero point."""

    form: str
    weight: int
    scale: int | None
    zero: int


QDQ = "QDQ"
_OPERATORS = {
    ("", "QLinearConv"): _Inputs("QOperator", 3, 4, 5),
    ("", "QLinearMatMul"): _Inputs("QOperator", 3, 4, 5),
    ("com.microsoft", "QGemm"): _Inputs("QOperator", 3, 4, 5),
    ("com.microsoft", "QAttention"): _Inputs("QOperator", 1, 4, 7),
    ("", "ConvInteger"): _Inputs("dynamic", 1, None, 3),
    ("", "MatMulInteger"): _Inputs("dynamic", 1, None, 3),
    ("com.microsoft", "MatMulIntegerToFloat"): _Inputs("dynamic", 1, 3, 5),
    ("com.microsoft", "DynamicQuantizeMatMul"): _Inputs("dynamic", 1, 2, 3),
    ("com.microsoft", "DynamicQuantizeLSTM"): _Inputs("dynamic", 1, 8, 9),
    ("com.microsoft", "MatMulNBits"): _Inputs("MatMulNBits", 1, 2, 3),
}
_OUTPUT_SCALES = {("", "QLinearConv"): 6, ("", "QLinearMatMul"): 6, ("com.microsoft", "QGemm"): 7}
"""Which input is the scale of the output, of operators that take one; 1 is that of the activations, 4 the weight's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedLayer:
    """A node whose weight is integers.

    Attributes:
        name: of the node.
        operator: its type.
        form: "QDQ" (DequantizeLinear in front of it), "QOperator", "dynamic" or "MatMulNBits".
        bits: of an integer, as many as those that are there need.
        scheme: how many scales there are, and whether zero is the middle.
        weights: how many.
        zeros: of them 0.
    """

    name: str
    operator: str
    form: str
    bits: int
    scheme: str
    weights: int
    zeros: int


def find_quantized_layers(graph: ir.Graph) -> list[QuantizedLayer]:
    """Every node of the graph whose weight is a constant of integers, in graph order."""
    views = (_quantized(node) for node in graph)
    return [view for view in views if view is not None]


def scales_of_integers(graph: ir.Graph) -> set[ir.Value]:
    """Constants of a graph that are nothing but scales: of integer weights, and of activations."""
    places: dict[tuple[str, str], tuple[int, ...]] = {("", "QuantizeLinear"): (1,), ("", "DequantizeLinear"): (1,)}
    places |= {kind: (inputs.scale,) for kind, inputs in _OPERATORS.items() if inputs.scale is not None}
    places |= {kind: (1, 4, last) for kind, last in _OUTPUT_SCALES.items()}
    places["com.microsoft", "DynamicQuantizeLSTM"] = (8, 10)  # of both weights
    scales, others = set[ir.Value](), set[ir.Value]()
    for node in graph:
        of_node = (0, 1) if _multiplies_a_step(node) else places.get((node.domain, node.op_type), ())
        for index, value in enumerate(node.inputs):
            if value is not None:
                (scales if index in of_node else others).add(value)
    return {value for value in scales - others if is_constant(value)}


def _multiplies_a_step(node: ir.Node) -> bool:
    """Whether a Mul joins a weight's scales with the step that activations were found to have in this run."""
    makers = [(value, value.producer()) for value in node.inputs if value is not None]
    return node.op_type == "Mul" and any(
        maker is not None and maker.op_type == "DynamicQuantizeLinear" and value is maker.outputs[1]
        for value, maker in makers
    )


def summary(layers: Sequence[QuantizedLayer]) -> str:
    """Of layers, in a few words: how many of each operator, and their forms."""
    counts = Counter(layer.operator for layer in layers)
    forms = dict.fromkeys(layer.form for layer in layers)
    return f"{', '.join(f'{count} {operator}' for operator, count in counts.items())}; form: {' and '.join(forms)}"


def _quantized(node: ir.Node) -> QuantizedLayer | None:
    if (node.domain, node.op_type) in _OPERATORS:
        inputs = _OPERATORS[node.domain, node.op_type]
        weight = optional_input(node, inputs.weight)
        if weight is None or not is_constant(weight):
            return None
        codes = tensor(weight).numpy()
        scale = None if inputs.scale is None else _numbers(node, inputs.scale)
        zero = _numbers(node, inputs.zero)
        if node.op_type == "DynamicQuantizeLSTM":
            return _of_cell(node, codes, dtype=tensor(weight).dtype)
        if inputs.form == "MatMulNBits":
            return _of_blocks(node, codes, zero)
        return _described(node, inputs.form, codes, dtype=tensor(weight).dtype, scale=scale, zero=zero, axis=None)
    if node.domain or node.op_type not in LAYER_OPERATORS:
        return None
    for index in (1,) if node.op_type == "Conv" else (1, 0):
        value = optional_input(node, index)
        maker = None if value is None else value.producer()
        if maker is None or maker.op_type != "DequantizeLinear" or not is_constant(maker.inputs[0]):
            continue
        constant = maker.inputs[0]
        assert constant is not None
        scale, zero = _numbers(maker, 1), _numbers(maker, 2)
        axis = maker.attributes.get_int("axis", 1)
        blocked = maker.attributes.get_int("block_size", 0)
        codes, dtype = tensor(constant).numpy(), tensor(constant).dtype
        return _described(node, QDQ, codes, dtype=dtype, scale=scale, zero=zero, axis=axis, block=blocked)
    return None


def _numbers(node: ir.Node, index: int) -> Array | None:
    value = optional_input(node, index)
    return tensor(value).numpy() if value is not None and is_constant(value) else None


def _described(
    node: ir.Node,
    form: str,
    codes: Array,
    dtype: ir.DataType,
    scale: Array | None,
    zero: Array | None,
    axis: int | None,
    block: int = 0,
) -> QuantizedLayer:
    numbers = codes.astype(np.int64)
    if zero is not None and not block:
        numbers = numbers - _along(zero, codes, axis)
    symmetric = zero is None or _is_middle(zero, dtype)
    parameters = zero if scale is None else scale
    parts = 1 if parameters is None else parameters.size
    per = f"a scale for {block} weights" if block else ("per tensor" if parts == 1 else "per channel")
    largest = int(np.abs(numbers).max(initial=0))
    needed = math.ceil(math.log2(largest + 1)) + 1 if symmetric and largest else dtype.bitwidth
    return QuantizedLayer(
        name=label(node),
        operator=node.op_type,
        form=form,
        bits=min(needed, dtype.bitwidth),
        scheme=f"{per}, {'symmetric' if symmetric else 'asymmetric'}",
        weights=codes.size,
        zeros=int((numbers == 0).sum()),
    )


def _is_middle(zero: Array, dtype: ir.DataType) -> bool:
    signed = dtype.name.startswith("INT")
    return bool((zero.astype(np.int64) == (0 if signed else 1 << (dtype.bitwidth - 1))).all())


def _along(zero: Array, codes: Array, axis: int | None) -> Whole:
    """Zero points in a shape that spreads over the codes: along `axis`, or the first one that fits."""
    if zero.size == 1:
        return zero.astype(np.int64).reshape(())
    fitting = [at for at, size in enumerate(codes.shape) if size == zero.size]
    if axis is not None and codes.shape[axis % codes.ndim] == zero.size:
        fitting = [axis % codes.ndim]
    if not fitting:
        return np.zeros((), np.int64)
    return zero.astype(np.int64).reshape([-1 if at == fitting[0] else 1 for at in range(codes.ndim)])


def _of_blocks(node: ir.Node, packed: Array, zero: Array | None) -> QuantizedLayer:
    """Of MatMulNBits: codes of a few bits in bytes, (rows, blocks, bytes of a block), the lowest bits first."""
    bits, block = node.attributes.get_int("bits", 4), node.attributes.get_int("block_size", 32)
    columns, rows = node.attributes.get_int("K", 0), node.attributes.get_int("N", 0)
    middle = 1 << (bits - 1)
    whole: Whole = np.zeros(0, np.int64)
    if 8 % bits == 0 and (zero is None or zero.dtype == np.uint8):
        whole = _unpacked(packed, bits).reshape(rows, -1)[:, :columns]
        blocks = -(-columns // block)
        zeros = np.full((rows, blocks), middle) if zero is None else _unpacked(zero, bits).reshape(rows, -1)[:, :blocks]
        whole = whole - np.repeat(zeros, block, axis=1)[:, :columns]
    return QuantizedLayer(
        name=label(node),
        operator=node.op_type,
        form="MatMulNBits",
        bits=bits,
        scheme=f"a scale for {block} weights, {'symmetric' if zero is None else 'asymmetric'}",
        weights=rows * columns,
        zeros=int((whole == 0).sum()),
    )


def _of_cell(node: ir.Node, codes: Array, dtype: ir.DataType) -> QuantizedLayer | None:
    """Of DynamicQuantizeLSTM, whose weights, (directions, columns, rows), have a scale a direction or one a row."""
    state = _numbers(node, 2)
    if state is None:
        return None
    parts = []
    for weight, scale, zero in ((codes, 8, 9), (state, 10, 11)):
        zeros = _numbers(node, zero)
        if zeros is not None:
            zeros = np.broadcast_to(zeros.reshape(len(weight), 1, -1), weight.shape).ravel()
        parts.append((weight.ravel(), _numbers(node, scale), zeros))
    views = [
        _described(node, "dynamic", flat, dtype=dtype, scale=scale, zero=zeros, axis=0) for flat, scale, zeros in parts
    ]
    return dataclasses.replace(
        views[0],
        bits=max(view.bits for view in views),
        weights=sum(view.weights for view in views),
        zeros=sum(view.zeros for view in views),
    )


def _unpacked(packed: Array, bits: int) -> Whole:
    shifts = np.arange(0, 8, bits)
    return np.asarray((packed.astype(np.int64)[..., None] >> shifts) & ((1 << bits) - 1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredWeight:
    """What a file holds of one layer's weight.

    Attributes:
        name: of the initializer that holds it.
        codes: its integers, or numbers, of the weight's shape.
        bytes: of these, not packed.
        form: what it is stored as: a type of integers, or "dense".
        nonzero: how many of them do not stand for 0.
    """

    name: str
    codes: npt.NDArray[np.generic] = dataclasses.field(repr=False)
    bytes: int
    form: str
    nonzero: int


def whole_numbers(dequantize: ir.Node) -> npt.NDArray[np.int64]:
    """What a DequantizeLinear of constants multiplies by its scale: codes less their zero points.

    Zero points of blocks are not subtracted.
    """
    codes = tensor(present(dequantize.inputs[0])).numpy().astype(np.int64)
    zero = optional_input(dequantize, 2)
    if zero is None or not is_constant(zero) or "block_size" in dequantize.attributes:
        return codes
    zeros = tensor(zero).numpy().astype(np.int64)
    axis = dequantize.attributes.get_int("axis", 1)
    if zeros.size == 1:
        return codes - zeros.reshape(())
    return codes - zeros.reshape([-1 if at == axis % codes.ndim else 1 for at in range(codes.ndim)])


def find_integer_weights(graph: ir.Graph) -> dict[str, StoredWeight]:
    """By name of the layer's node: weights that lie in an initializer as integers, in whatever operator takes them."""
    weights = {}
    for node in graph:
        stored = _stored(node)
        if stored is not None and is_constant(stored):
            codes, maker = _codes(node, stored), next(iter(stored.uses())).node
            numbers = whole_numbers(maker) if maker.op_type == "DequantizeLinear" else codes
            weights[label(node)] = StoredWeight(
                name=stored.name or "",
                codes=codes,
                bytes=tensor(stored).nbytes,
                form=tensor(stored).dtype.name.lower(),
                nonzero=int(np.count_nonzero(numbers)),
            )
    return weights


def _stored(node: ir.Node) -> ir.Value | None:
    """The value that holds a layer's integers; None where the node is no such layer."""
    if node.op_type in ("MatMulNBits", "DynamicQuantizeLSTM") and node.domain == MICROSOFT:
        return node.inputs[1]  # of an LSTM, the weight of what enters stands for both
    if node.domain:
        return None
    if node.op_type == "MatMulInteger":
        return node.inputs[1]
    maker = present(node.inputs[1]).producer() if traits_of(node).integer_role == "weighs" else None
    return optional_input(maker, 0) if maker is not None and maker.op_type == "DequantizeLinear" else None


def _codes(node: ir.Node, stored: ir.Value) -> npt.NDArray[np.generic]:
    """The integers, one an entry."""
    array = tensor(stored).numpy()
    bits = node.attributes.get_int("bits", 8) if node.op_type == "MatMulNBits" else 8
    if node.op_type != "MatMulNBits" or bits not in (4, 8):
        return array
    return unpack_codes(array, bits, node.attributes.get_int("K"))
