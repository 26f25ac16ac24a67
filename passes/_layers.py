"""One view of Conv, Gemm and MatMul: a stack of matrices (groups, rows, columns) and the samples to match.

A layer's output is ``Z = W X + b``. Whatever the operator, ``Layer.matrix()`` returns W as
(groups, rows, columns) with rows = outputs and columns = inputs, and ``Layer.samples(x)`` turns a batch of the
layer's input into X transposed, (groups, samples, columns), in the same column order. For a convolution the
columns are (channel, kernel...) of one group, in the weight's own order, and the samples are its im2col patches.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Array = npt.NDArray[np.float64]
FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)
MAX_COLUMNS = 6144
"""Wider layers are solved in column blocks of whole channels (a block-diagonal Hessian)."""

_DECLINED_OPERATORS = {
    "ConvTranspose": "transposed convolutions are not pruned",
    "LSTM": "recurrent cells are not pruned",
    "GRU": "recurrent cells are not pruned",
    "RNN": "recurrent cells are not pruned",
    "Einsum": "the contraction of an Einsum is not analysed",
    "DeformConv": "deformable convolutions are not pruned",
    "Gather": "embedding tables are not pruned",
}
_QUANTISED = (
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
    "QGemm",
    "MatMulNBits",
    "QAttention",
)


@dataclasses.dataclass(frozen=True)
class Declined:
    """A node that is left as it is, and why."""

    node: str
    operator: str
    reason: str
    parameters: int = 0


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How a convolution slides: kernel, strides, dilations and padding, one entry a spatial axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    auto_pad: str

    def padding(self, extent: tuple[int, ...]) -> list[tuple[int, int]]:
        """Begin and end padding of each spatial axis for an input of these spatial extents."""
        if self.auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
            rank = len(self.kernel)
            pads = (0,) * (2 * rank) if self.auto_pad == "VALID" else self.pads
            return [(pads[i], pads[i + rank]) for i in range(rank)]
        result = []
        for size, k, s, d in zip(extent, self.kernel, self.strides, self.dilations, strict=True):
            total = max((math.ceil(size / s) - 1) * s + (k - 1) * d + 1 - size, 0)
            small, large = total // 2, total - total // 2
            result.append((small, large) if self.auto_pad == "SAME_UPPER" else (large, small))
        return result

    def patches(self, x: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """View of x (batch, channels, *extent) as (batch, channels, *positions, *kernel)."""
        pads = self.padding(x.shape[2:])
        padded = np.pad(x, [(0, 0), (0, 0), *pads]) if any(map(any, pads)) else x
        window = tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))
        axes = tuple(range(2, 2 + len(window)))
        view = np.lib.stride_tricks.sliding_window_view(padded, window, axis=axes)
        steps = [slice(None, None, s) for s in self.strides] + [slice(None, None, d) for d in self.dilations]
        result: npt.NDArray[np.generic] = view[(slice(None), slice(None), *steps)]
        return result


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """A Conv, Gemm or MatMul node with a constant weight, seen as a stack of matrices.

    Attributes:
        node: the operator's node.
        weight_index: which input of the node is the weight.
        data_index: which input of the node is the activation.
        groups: independent blocks of the weight matrix.
        rows: outputs of one group.
        columns: inputs of one group.
        geometry: the sliding window, for convolutions.
        blocks: column blocks each group is cut into (1 unless the layer is very wide).
        adder: the Add node behind a MatMul that carries its bias, if any.
        kernel_size: columns that belong to one input channel.
    """

    node: ir.Node
    weight_index: int
    data_index: int
    groups: int
    rows: int
    columns: int
    geometry: Geometry | None = None
    blocks: int = 1
    adder: ir.Node | None = None
    kernel_size: int = 1

    @property
    def name(self) -> str:
        """Name of the node, or else of what it computes; never empty."""
        return _label(self.node) or f"{self.operator}_{self.weight.name}"

    @property
    def operator(self) -> str:
        """Operator type."""
        return self.node.op_type

    @property
    def weight(self) -> ir.Value:
        """The weight's initializer."""
        return _present(self.node.inputs[self.weight_index])

    @property
    def input(self) -> ir.Value:
        """The activation that enters the layer."""
        return _present(self.node.inputs[self.data_index])

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.groups * self.rows * self.columns

    @property
    def scale(self) -> float:
        """Gemm's alpha, which multiplies the stored weight."""
        return _float(self.node, "alpha", 1.0) if self.operator == "Gemm" else 1.0

    def matrix(self) -> Array:
        """Weight as float64 (groups x blocks, rows, columns / blocks), alpha included."""
        stored = tensor(self.weight).numpy()
        height, width = self.groups * self.rows, self.columns
        oriented = stored.reshape(height, width) if self._rows_first() else stored.reshape(width, height).T
        stacked = oriented.astype(np.float64, order="C").reshape(self.groups, self.rows, self.columns)
        if self.scale != 1.0:
            stacked *= self.scale
        return self._split(stacked)

    def _rows_first(self) -> bool:
        if self.operator == "Conv":
            return True
        if self.operator == "Gemm":
            transposed = bool(_int(self.node, "transB" if self.weight_index else "transA", 0))
            return transposed == bool(self.weight_index)
        return self.weight_index == 0

    def _split(self, stack: Array) -> Array:
        """(groups, rows, columns) -> (groups x blocks, rows, columns / blocks)."""
        if self.blocks == 1:
            return stack
        cut = stack.reshape(self.groups, stack.shape[1], self.blocks, -1)
        return np.ascontiguousarray(cut.transpose(0, 2, 1, 3)).reshape(self.groups * self.blocks, stack.shape[1], -1)

    def stored(self, matrix: Array) -> npt.NDArray[np.generic]:
        """The inverse of `matrix()`: an array of the weight's own shape and type."""
        if self.blocks > 1:
            cut = matrix.reshape(self.groups, self.blocks, self.rows, -1)
            matrix = cut.transpose(0, 2, 1, 3).reshape(self.groups, self.rows, self.columns)
        scaled = matrix if self.scale == 1.0 else matrix / self.scale
        oriented = scaled.reshape(self.groups * self.rows, self.columns)
        if not self._rows_first():
            oriented = oriented.T
        old = tensor(self.weight).numpy()
        return np.ascontiguousarray(oriented.reshape(old.shape).astype(old.dtype))

    def samples(
        self, x: npt.NDArray[np.generic], limit: int | None = None, rng: np.random.Generator | None = None
    ) -> npt.NDArray[np.float32]:
        """Rows of the layer's input as a new float32 array (groups x blocks, samples, columns / blocks).

        Args:
            x: a batch of the layer's input, with the shape the graph gives it.
            limit: keep at most this many rows, drawn by `rng`, in order.
            rng: draws the rows; the same state draws the same rows for an input of the same shape.

        Raises:
            ValueError: there is a limit, but no `rng`.
        """
        rows = self._patch_rows(x, limit, rng) if self.geometry else self._matrix_rows(x, limit, rng)
        axis = rows.ndim - 1 - (len(self.geometry.kernel) if self.geometry else 0)
        parts = self.groups * self.blocks
        shape = (*rows.shape[:axis], parts, rows.shape[axis] // parts, *rows.shape[axis + 1 :])
        stack = np.array(np.moveaxis(rows.reshape(shape), axis, 0), dtype=np.float32, order="C")
        return stack.reshape(parts, -1, self.columns // self.blocks)

    def positions(self, x: npt.NDArray[np.generic]) -> int:
        """How many rows `samples` finds in x without a limit."""
        if self.geometry is None:
            return int(x.size) // self.columns
        rank = len(self.geometry.kernel)
        return int(x.shape[0]) * math.prod(self.geometry.patches(x[:1, :1]).shape[2 : 2 + rank])

    def _patch_rows(
        self, x: npt.NDArray[np.generic], limit: int | None, rng: np.random.Generator | None
    ) -> npt.NDArray[np.generic]:
        """The patches of x: (batch, *positions, channels, *kernel), or (limit, channels, *kernel)."""
        assert self.geometry is not None
        view = self.geometry.patches(x)
        rank = len(self.geometry.kernel)
        grid = (view.shape[0], *view.shape[2 : 2 + rank])
        chosen = _draw(math.prod(grid), limit, rng)
        if chosen is None:
            return np.moveaxis(view, 1, 1 + rank)
        batch, *where = np.unravel_index(chosen, grid)
        index: tuple[Any, ...] = (batch, slice(None), *where)
        picked: npt.NDArray[np.generic] = view[index]
        return picked

    def _matrix_rows(
        self, x: npt.NDArray[np.generic], limit: int | None, rng: np.random.Generator | None
    ) -> npt.NDArray[np.generic]:
        """The rows of x: (samples, columns)."""
        transposed = self.operator == "Gemm" and bool(_int(self.node, "transB" if self.data_index else "transA", 0))
        if x.ndim > 1 and bool(self.data_index) != transposed:
            x = np.swapaxes(x, -1, -2)
        rows = x.reshape(-1, self.columns)
        chosen = _draw(len(rows), limit, rng)
        return rows if chosen is None else rows[chosen]

    @property
    def pattern_columns(self) -> npt.NDArray[np.int64]:
        """Columns of `matrix()` in the order N:M patterns run: along the channels, for each kernel position."""
        return np.arange(self.columns // self.blocks).reshape(-1, self.kernel_size).T.ravel()

    # ---------------------------------------------------------------- bias
    def bias_slot(self) -> tuple[ir.Node, int] | None:
        """Node and input index that hold the bias, or None where the layer has no room for one."""
        if self.operator == "MatMul":
            if self.adder is None:
                return None
            return self.adder, int(self.adder.inputs[0] is self.node.outputs[0])
        held = _optional_input(self.node, 2)
        if held is not None and not is_constant(held):
            return None
        if self.operator == "Gemm" and not self._gemm_has_room(held):
            return None
        return self.node, 2

    def _gemm_has_room(self, held: ir.Value | None) -> bool:
        """Whether Gemm's C is, or can be, one number an output: a scalar, (rows,) or (1, rows)."""
        if self.weight_index == 0 or _float(self.node, "beta", 1.0) == 0.0:
            return False
        return held is None or math.prod(tensor(held).shape.numpy()[:-1]) == 1

    def shift_bias(self, shift: Array) -> None:
        """Add `shift` (groups x rows,) to the bias; a bias is created where there is none.

        Raises:
            ValueError: the layer has no room for a bias.
        """
        slot = self.bias_slot()
        if slot is None:
            raise ValueError(f"layer {self.name!r} has no room for a bias")
        node, index = slot
        beta = _float(node, "beta", 1.0) if node.op_type == "Gemm" else 1.0
        held = _optional_input(node, index)
        old = tensor(held).numpy() if held is not None else np.zeros((), tensor(self.weight).numpy().dtype)
        delta = (shift / beta).reshape(old.shape if node is self.adder else (-1,))
        new = (old.astype(np.float64) + delta).astype(old.dtype)
        name = held.name if held is not None and held.name else f"{self.weight.name}_bias"
        set_initializer(node, index, new, name)

    def write(self, matrix: Array) -> None:
        """Replace the weight by `matrix` (shape of `matrix()`), rounded to the weight's own type."""
        set_initializer(self.node, self.weight_index, self.stored(matrix), self.weight.name or "weight")


def _present(value: ir.Value | None) -> ir.Value:
    if value is None:
        raise ValueError("a required input is missing")
    return value


def _optional_input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _label(node: ir.Node) -> str:
    return node.name or (node.outputs[0].name if node.outputs else "") or ""


def _draw(available: int, limit: int | None, rng: np.random.Generator | None) -> npt.NDArray[np.int64] | None:
    if limit is None:
        return None
    if rng is None:
        raise ValueError(f"a limit of {limit} samples needs an rng that draws them")
    if available <= limit:
        return None
    # one row from each of `limit` cells: no permutation of millions of positions, no duplicates, already sorted
    edges = np.arange(limit + 1) * available // max(limit, 1)
    return rng.integers(edges[:-1], edges[1:])


def _int(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def _ints(node: ir.Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    attribute = node.attributes.get(name)
    return default if attribute is None else tuple(attribute.as_ints())


def _float(node: ir.Node, name: str, default: float) -> float:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_float()


def tensor(value: ir.Value) -> ir.TensorProtocol:
    """The constant behind an initializer.

    Raises:
        ValueError: the value holds no constant.
    """
    if value.const_value is None:
        raise ValueError(f"{value.name!r} is not a constant")
    return value.const_value


def is_constant(value: ir.Value | None) -> bool:
    """Whether the value is an initializer that no caller can override."""
    return value is not None and value.is_initializer() and value.const_value is not None and not value.is_graph_input()


def set_initializer(node: ir.Node, index: int, array: npt.NDArray[np.generic], name: str) -> None:
    """Make input `index` of `node` the constant `array`; a shared initializer is cloned first, never changed."""
    graph = node.graph
    if not isinstance(graph, ir.Graph):
        raise ValueError(f"node {node.name!r} is not in a graph")
    held = _optional_input(node, index)
    if held is not None and len(held.uses()) == 1 and not held.is_graph_output():
        held.const_value = ir.tensor(array, name=held.name)
        held.shape = ir.Shape(array.shape)
        return
    fresh, taken = name, _names(graph)
    while fresh in taken:
        fresh += "_own"
    constant = ir.tensor(array, name=fresh)
    value = ir.Value(name=fresh, shape=ir.Shape(array.shape), type=ir.TensorType(constant.dtype), const_value=constant)
    graph.register_initializer(value)
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)


def _names(graph: ir.Graph) -> set[str | None]:
    """Names of all values in the graph and in the bodies inside it."""
    names = {value.name for node in graph.all_nodes() for value in node.outputs}
    for part in (graph, *graph.subgraphs()):
        names.update(value.name for value in part.inputs)
        names.update(part.initializers)
    return names


def find_layers(graph: ir.Graph) -> tuple[list[Layer], list[Declined]]:
    """Every layer that can be pruned, in graph order, and every other node that holds weights, with its reason."""
    layers: list[Layer] = []
    declined: list[Declined] = []
    for node in graph:
        found = _view(node)
        if isinstance(found, Layer):
            layers.append(found)
        elif found is not None:
            declined.append(Declined(_label(node), node.op_type, found, _weights_of(node)))
        declined.extend(_inside(node))
    return layers, declined


def _inside(node: ir.Node) -> Iterable[Declined]:
    for attribute in node.attributes.values():
        graphs: Iterable[ir.Graph] = ()
        if attribute.type == ir.AttributeType.GRAPH:
            graphs = (attribute.as_graph(),)
        elif attribute.type == ir.AttributeType.GRAPHS:
            graphs = attribute.as_graphs()
        for body in graphs:
            for inner in body:
                size = _weights_of(inner)
                if size and (inner.op_type in _VIEWS or inner.op_type in _DECLINED_OPERATORS):
                    reason = f"it lies inside a body of {node.op_type} {_label(node)!r}"
                    yield Declined(_label(inner), inner.op_type, reason, size)
                yield from _inside(inner)


def _weights_of(node: ir.Node) -> int:
    constants = (v.const_value for v in node.inputs if v is not None and v.const_value is not None)
    return sum(c.size for c in constants if c.dtype in FLOATS and len(c.shape) >= 2)


def _view(node: ir.Node) -> Layer | str | None:
    """The layer of a node; a reason when it has weights that are left alone; None when it has none."""
    if not node.domain and node.op_type in _VIEWS:
        return _VIEWS[node.op_type](node)
    if node.op_type in _QUANTISED:
        return "quantised operators are not pruned"
    size = _weights_of(node)
    if node.domain:
        return f"operator {node.domain}.{node.op_type} is not known" if size else None
    if node.op_type in _DECLINED_OPERATORS and size:
        return _DECLINED_OPERATORS[node.op_type]
    return f"the constant of {node.op_type} is not a layer's weight" if size >= 1024 else None


def _weight_problem(node: ir.Node, index: int) -> str | None:
    value = node.inputs[index]
    if value is None or not value.is_initializer() or value.const_value is None:
        return "its weight is computed while the model runs"
    if value.is_graph_input():
        return "its weight is an input of the model, which a caller can replace"
    if value.is_graph_output():
        return "its weight is an output of the model"
    if tensor(value).dtype not in FLOATS:
        return f"its weight has type {tensor(value).dtype.name}, expected a float type"
    return None


def _conv(node: ir.Node) -> Layer | str:
    problem = _weight_problem(node, 1)
    if problem:
        return problem
    shape = tuple(tensor(_present(node.inputs[1])).shape.numpy())
    rank, groups = len(shape) - 2, _int(node, "group", 1)
    auto_pad = node.attributes["auto_pad"].as_string() if "auto_pad" in node.attributes else "NOTSET"
    geometry = Geometry(
        shape[2:],
        _ints(node, "strides", (1,) * rank),
        _ints(node, "dilations", (1,) * rank),
        _ints(node, "pads", (0,) * (2 * rank)),
        auto_pad,
    )
    columns, kernel = math.prod(shape[1:]), math.prod(shape[2:])
    blocks = _blocks(columns, kernel)
    return Layer(node, 1, 0, groups, shape[0] // groups, columns, geometry, blocks, kernel_size=kernel)


def _weight_side(node: ir.Node) -> int | str | None:
    """Which operand of a Gemm or MatMul is the weight; a reason to decline it; None when neither is one."""
    constants = [i for i in (1, 0) if is_constant(node.inputs[i])]
    if len(constants) == 2:
        return "both operands are constants"
    if constants:
        return _weight_problem(node, constants[0]) or constants[0]
    return next((_weight_problem(node, i) for i in (1, 0) if _comes_from_constants(node.inputs[i])), None)


def _comes_from_constants(value: ir.Value | None) -> bool:
    """Whether the value is a constant that can be overridden, or one node (as DequantizeLinear) behind constants."""
    if value is None or value.producer() is None:
        return value is not None and value.is_initializer()
    producer = value.producer()
    return producer is not None and all(v is None or v.is_initializer() for v in producer.inputs)


def _gemm(node: ir.Node) -> Layer | str | None:
    side = _weight_side(node)
    if not isinstance(side, int):
        return side
    if _float(node, "alpha", 1.0) == 0.0:
        return "alpha is 0: the weight has no effect"
    layer = Layer(node, side, 1 - side, 1, 1, 1)
    shape = tensor(layer.weight).shape.numpy()
    rows, columns = shape if layer._rows_first() else shape[::-1]
    return dataclasses.replace(layer, rows=rows, columns=columns, blocks=_blocks(columns, 1))


def _matmul(node: ir.Node) -> Layer | str | None:
    side = _weight_side(node)
    if not isinstance(side, int):
        return side
    shape = tensor(_present(node.inputs[side])).shape.numpy()
    if len(shape) < 2:
        return "its weight is a vector"
    if math.prod(shape[:-2]) != 1:
        return "its weight is a stack of matrices"
    columns, rows = shape[-2:] if side == 1 else (shape[-1], shape[-2])
    layer = Layer(node, side, 1 - side, 1, rows, columns, blocks=_blocks(columns, 1))
    return dataclasses.replace(layer, adder=_adder(layer))


def _adder(layer: Layer) -> ir.Node | None:
    """The Add right behind a MatMul, when its constant is one number an output."""
    output = layer.node.outputs[0]
    users = [use.node for use in output.uses()]
    if len(users) != 1 or output.is_graph_output() or users[0].op_type != "Add" or users[0].domain:
        return None
    other = next(v for v in users[0].inputs if v is not output)
    if not is_constant(other):
        return None
    wanted: tuple[int, ...] = (layer.rows,)
    if layer.weight_index == 0:
        # W x has one column a sample, unless x is a vector: only its rank tells which axis the outputs are on
        if layer.input.shape is None:
            return None
        wanted = (layer.rows, 1)[: len(layer.input.shape)]
    shape = tensor(_present(other)).shape.numpy()
    return users[0] if shape[-len(wanted) :] == wanted and math.prod(shape) == layer.rows else None


def _blocks(columns: int, kernel: int) -> int:
    """Fewest equal cuts into whole channels that leave at most MAX_COLUMNS columns each."""
    channels = columns // kernel
    fits = (b for b in range(1, channels + 1) if channels % b == 0 and columns // b <= MAX_COLUMNS)
    return next(fits, channels)


_VIEWS: dict[str, Callable[[ir.Node], Layer | str | None]] = {"Conv": _conv, "Gemm": _gemm, "MatMul": _matmul}
