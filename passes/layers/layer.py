"""One view of Conv, Gemm and MatMul: a stack of matrices (groups, rows, columns) and the samples to match.

A layer's output is ``Z = W X + b``. Whatever the operator, ``Layer.matrix()`` returns W as
(groups, rows, columns) with rows = outputs and columns = inputs, and ``Layer.samples(x)`` turns a batch of the
layer's input into X transposed, (groups, samples, columns), in the same column order. For a convolution the
columns are (channel, kernel...) of one group, in the weight's own order, and the samples are its im2col patches.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import is_constant, label, optional_input, present, set_initializer, tensor
from netsurgeon.passes.layers.geometry import Geometry

Array = npt.NDArray[np.float64]
Counted = npt.NDArray[np.bool_]
"""Which rows of a layer's input count, (rows,): padding does not."""


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
        host: the If or Loop in one of whose bodies the node lies; None = it lies in the graph itself.
    """

    node: ir.Node
    weight_index: int
    data_index: int
    groups: int
    rows: int
    columns: int
    geometry: Geometry | None = None
    blocks: int = 1
    bias_add: ir.Node | None = None
    kernel_size: int = 1
    host: ir.Node | None = None

    @property
    def name(self) -> str:
        """Name of the node, or else of what it computes; never empty."""
        return label(self.node) or f"{self.operator}_{self.weight.name}"

    @property
    def operator(self) -> str:
        """Operator type."""
        return self.node.op_type

    @property
    def weight(self) -> ir.Value:
        """The weight's initializer."""
        return present(self.node.inputs[self.weight_index])

    @property
    def input(self) -> ir.Value:
        """The activation that enters the layer."""
        return present(self.node.inputs[self.data_index])

    @property
    def input_name(self) -> str:
        """Under which name a run shows the activation that enters the layer."""
        return self.input.name or "" if self.host is None else exposed_name(self.node)

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.groups * self.rows * self.columns

    @property
    def scale(self) -> float:
        """Gemm's alpha, which multiplies the stored weight."""
        return self.node.attributes.get_float("alpha", 1.0) if self.operator == "Gemm" else 1.0

    def matrix(self) -> Array:
        """Weight as float64 (groups x blocks, rows, columns / blocks), alpha included."""
        stored = tensor(self.weight).numpy()
        height, width = self.groups * self.rows, self.columns
        oriented = stored.reshape(height, width) if self.rows_first() else stored.reshape(width, height).T
        stacked = oriented.astype(np.float64, order="C").reshape(self.groups, self.rows, self.columns)
        if self.scale != 1.0:
            stacked *= self.scale
        return self._split(stacked)

    def rows_first(self) -> bool:
        """Whether the stored weight has an output a row; else it has one a column."""
        if self.operator == "Conv":
            return True
        if self.operator == "Gemm":
            transposed = bool(self.node.attributes.get_int("transB" if self.weight_index else "transA", 0))
            return transposed == bool(self.weight_index)
        return self.weight_index == 0

    def _split(self, stack: Array) -> Array:
        """(groups, rows, columns) -> (groups x blocks, rows, columns / blocks)."""
        if self.blocks == 1:
            return stack
        cut = stack.reshape(self.groups, stack.shape[1], self.blocks, -1)
        return np.ascontiguousarray(cut.transpose(0, 2, 1, 3)).reshape(self.groups * self.blocks, stack.shape[1], -1)

    def of_rows(self, numbers: Array) -> Array:
        """Numbers a row, the same in all blocks, (groups x blocks, rows), as one for each output, (groups x rows,)."""
        return np.asarray(numbers.reshape(self.groups, self.blocks, self.rows)[:, 0].ravel())

    def stored(self, matrix: npt.NDArray[np.floating]) -> npt.NDArray[np.generic]:
        """The inverse of `matrix()`: an array of the weight's own shape and type."""
        if self.blocks > 1:
            cut = matrix.reshape(self.groups, self.blocks, self.rows, -1)
            matrix = cut.transpose(0, 2, 1, 3).reshape(self.groups, self.rows, self.columns)
        scaled = matrix if self.scale == 1.0 else matrix / self.scale
        oriented = scaled.reshape(self.groups * self.rows, self.columns)
        if not self.rows_first():
            oriented = oriented.T
        old = tensor(self.weight).numpy()
        return np.ascontiguousarray(oriented.reshape(old.shape).astype(old.dtype))

    def samples(
        self,
        x: npt.NDArray[np.generic],
        limit: int | None = None,
        rng: np.random.Generator | None = None,
        counted: Counted | None = None,
    ) -> npt.NDArray[np.float32]:
        """Rows of the layer's input as a new float32 array (groups x blocks, samples, columns / blocks).

        Args:
            x: a batch of the layer's input, with the shape the graph gives it. Of a layer in a body, what its host
                shows of it: one after the other for the iterations of a Loop, nothing for a branch that is not taken.
            limit: keep at most this many rows, drawn by `rng`, in order.
            rng: draws the rows; the same state draws the same rows for an input of the same shape.
            counted: which rows count, see `counted_rows`; None = all.

        Raises:
            ValueError: there is a limit, but no `rng`.
        """
        parts = self.groups * self.blocks
        if self.host is not None and x.size == 0:
            return np.zeros((parts, 0, self.columns // self.blocks), np.float32)
        x = self._over_iterations(x)
        of = self._patch_rows if self.geometry else self._matrix_rows
        rows = of(x, limit, rng, counted)
        axis = rows.ndim - 1 - (len(self.geometry.kernel) if self.geometry else 0)
        shape = (*rows.shape[:axis], parts, rows.shape[axis] // parts, *rows.shape[axis + 1 :])
        stack = _copied_from(x, np.moveaxis(rows.reshape(shape), axis, 0))
        return stack.reshape(parts, -1, self.columns // self.blocks)

    def _over_iterations(self, x: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Samples of all iterations of a Loop as one batch; a matrix may have further axes in front as it is."""
        if self.host is None or self.host.op_type != "Loop" or self.geometry is None:
            return x
        return x.reshape(-1, *x.shape[2:])

    @property
    def branch(self) -> ir.Value | None:
        """What is added to the layer's output, if nothing else uses that output: the other branch of a residual sum."""
        output = (self.bias_add or self.node).outputs[0]
        uses = list(output.uses())
        if self.host is not None or self.blocks > 1 or len(uses) != 1 or output.is_graph_output():
            return None
        node = uses[0].node
        others = [value for value in node.inputs if value is not output and value is not None]
        if node.op_type not in ("Add", "Sum") or len(others) != 1 or len(node.inputs) != 2 or is_constant(others[0]):
            return None
        return others[0]

    def output_samples(
        self,
        z: npt.NDArray[np.generic],
        limit: int | None = None,
        rng: np.random.Generator | None = None,
        counted: Counted | None = None,
    ) -> npt.NDArray[np.float32]:
        """Rows of an array of the shape of the layer's output, (groups, samples, rows).

        With the same limit and state of `rng`, the rows that `samples` draws of the layer's input.
        """
        if self.geometry is not None:
            z = np.moveaxis(z, 1, -1)
        elif self.weight_index < self.data_index:
            z = np.swapaxes(z, -1, -2)
        grid = z.shape[:-1]
        positions = draw(math.prod(grid), limit, rng, counted)
        # drawn before anything is copied: a large feature map is not in the order of its rows
        picked = z if positions is None else z[np.unravel_index(positions, grid)]
        rows = picked.reshape(-1, self.groups, self.rows)
        return _copied_from(z, rows.transpose(1, 0, 2))

    def positions(self, x: npt.NDArray[np.generic]) -> int:
        """How many rows `samples` finds in x without a limit."""
        if self.geometry is None or x.size == 0:
            return int(x.size) // self.columns
        x = self._over_iterations(x)
        rank = len(self.geometry.kernel)
        return int(x.shape[0]) * math.prod(self.geometry.patches(x[:1, :1]).shape[2 : 2 + rank])

    def counted_rows(self, x: npt.NDArray[np.generic], counted: npt.NDArray[np.bool_]) -> Counted | None:
        """Which rows of x count, (rows,), by which of its entries do.

        Args:
            x: a batch of the layer's input, or one of its shape.
            counted: of the rank of x, with extents of x or 1.

        Returns:
            None where a row has entries of both kinds, as the patches of a convolution may.
        """
        if self._is_swapped(x.ndim):
            x, counted = np.swapaxes(x, -1, -2), np.swapaxes(counted, -1, -2)
        if self.geometry is not None or self.host is not None or counted.shape[-1] != 1:
            return None
        return np.broadcast_to(counted[..., 0], x.shape[:-1]).ravel()

    def _patch_rows(
        self,
        x: npt.NDArray[np.generic],
        limit: int | None,
        rng: np.random.Generator | None,
        counted: Counted | None,
    ) -> npt.NDArray[np.generic]:
        """The patches of x: (batch, *positions, channels, *kernel), or (limit, channels, *kernel)."""
        assert self.geometry is not None
        view = self.geometry.patches(x)
        rank = len(self.geometry.kernel)
        grid = (view.shape[0], *view.shape[2 : 2 + rank])
        positions = draw(math.prod(grid), limit, rng, counted)
        if positions is None:
            return np.moveaxis(view, 1, 1 + rank)
        batch, *where = np.unravel_index(positions, grid)
        index: tuple[Any, ...] = (batch, slice(None), *where)
        picked: npt.NDArray[np.generic] = view[index]
        return picked

    def _is_swapped(self, rank: int) -> bool:
        """Whether the columns lie on the last axis but one of its input."""
        flag = "transB" if self.data_index else "transA"
        transposed = self.operator == "Gemm" and bool(self.node.attributes.get_int(flag, 0))
        return rank > 1 and bool(self.data_index) != transposed

    def _matrix_rows(
        self,
        x: npt.NDArray[np.generic],
        limit: int | None,
        rng: np.random.Generator | None,
        counted: Counted | None,
    ) -> npt.NDArray[np.generic]:
        """The rows of x: (samples, columns)."""
        if self._is_swapped(x.ndim):
            x = np.swapaxes(x, -1, -2)
        rows = x.reshape(-1, self.columns)
        sampled_rows = draw(len(rows), limit, rng, counted)
        return rows if sampled_rows is None else rows[sampled_rows]

    @property
    def reading(self) -> tuple[Hashable, ...]:
        """What decides which rows `samples` finds: query, key and value have it in common, and see the same."""
        return (self.input_name, self.groups, self.blocks, self.columns, self.geometry, self._is_swapped(rank=2))

    @property
    def pattern_columns(self) -> npt.NDArray[np.int64]:
        """Columns of `matrix()` in the order N:M patterns run: along the channels, for each kernel position."""
        return np.arange(self.columns // self.blocks).reshape(-1, self.kernel_size).T.ravel()

    @property
    def kernel_columns(self) -> npt.NDArray[np.int64]:
        """Columns of a whole group in the order of a kernel: the channels of a kernel position side by side."""
        return np.arange(self.columns).reshape(-1, self.kernel_size).T.ravel()

    # ---------------------------------------------------------------- bias
    def bias_slot(self) -> tuple[ir.Node, int] | None:
        """Node and input index that hold the bias, or None where the layer has no room for one."""
        if self.operator == "MatMul":
            if self.bias_add is None:
                return None
            return self.bias_add, int(self.bias_add.inputs[0] is self.node.outputs[0])
        bias = optional_input(self.node, 2)
        if bias is not None and not is_constant(bias):
            return None
        if self.operator == "Gemm" and not self._gemm_has_room(bias):
            return None
        return self.node, 2

    def _gemm_has_room(self, bias: ir.Value | None) -> bool:
        """Whether Gemm's C is, or can be, one number an output: a scalar, (rows,) or (1, rows)."""
        if self.weight_index == 0 or self.bias_scale == 0.0:
            return False
        return bias is None or math.prod(tensor(bias).shape.numpy()[:-1]) == 1

    @property
    def has_bias(self) -> bool:
        """Whether there is one, and not only room for it."""
        slot = self.bias_slot()
        return slot is not None and optional_input(*slot) is not None

    @property
    def bias_scale(self) -> float:
        """Gemm's beta, which multiplies the stored bias."""
        return self.node.attributes.get_float("beta", 1.0) if self.operator == "Gemm" else 1.0

    def may_add_bias(self, lost: int) -> bool:
        """Whether a bias can be shifted; where that adds one, at least as many weights must go as it has numbers.

        So no model has more numbers that are not zero than it came with.
        """
        return self.bias_slot() is not None and (self.has_bias or lost >= self.groups * self.rows)

    def shift_bias(self, shift: Array) -> None:
        """Add `shift` (groups x rows,) to the bias; a bias is created where there is none.

        Raises:
            ValueError: the layer has no room for a bias.
        """
        slot = self.bias_slot()
        if slot is None:
            raise ValueError(f"layer {self.name!r} has no room for a bias")
        node, index = slot
        value = optional_input(node, index)
        old = tensor(value).numpy() if value is not None else np.zeros((), tensor(self.weight).numpy().dtype)
        delta = (shift / self.bias_scale).reshape(old.shape if node is self.bias_add else (-1,))
        new = (old.astype(np.float64) + delta).astype(old.dtype)
        name = value.name if value is not None and value.name else f"{self.weight.name}_bias"
        set_initializer(node, index, new, name, self._home)

    def write(self, matrix: npt.NDArray[np.floating]) -> None:
        """Replace the weight by `matrix` (shape of `matrix()`), rounded to the weight's own type."""
        set_initializer(self.node, self.weight_index, self.stored(matrix), self.weight.name or "weight", self._home)

    @property
    def _home(self) -> ir.Graph | None:
        """Where its constants belong: those of a body, too, lie in the graph, where every pass looks for them."""
        graph = None if self.host is None else self.host.graph
        return graph if isinstance(graph, ir.Graph) else None


def exposed_name(node: ir.Node) -> str:
    """Name of the output by which the host of a layer in a body shows what enters the layer."""
    return f"input of {label(node)}"


def own_biases(layers: Iterable[Layer]) -> list[str]:
    """Names of the biases that only these layers have."""
    slots = [slot for layer in layers if (slot := layer.bias_slot()) is not None]
    biases = Counter(value for slot in slots if (value := optional_input(*slot)) is not None and is_constant(value))
    return [value.name or "" for value, count in biases.items() if len(value.uses()) + value.is_graph_output() == count]


def _copied_from(x: npt.NDArray[np.generic], rows: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Rows of x as a new float32 array, in the order of its axes; those that were copied when drawn already are."""
    result: npt.NDArray[np.float32] = np.asarray(rows, dtype=np.float32, order="C")
    return result.copy() if np.may_share_memory(result, x) else result


def draw(
    available: int, limit: int | None, rng: np.random.Generator | None, counted: Counted | None = None
) -> npt.NDArray[np.int64] | None:
    """Which of so many rows to take, sorted; None = all.

    Args:
        available: rows there are.
        limit: rows that are taken, at most.
        rng: draws them.
        counted: which rows may be taken, (available,); None = all.

    Raises:
        ValueError: there is a limit, but no `rng`.
    """
    if counted is not None:
        rows = np.flatnonzero(counted)
        drawn = draw(len(rows), limit, rng)
        return rows if drawn is None else rows[drawn]
    if limit is None:
        return None
    if rng is None:
        raise ValueError(f"a limit of {limit} samples needs an rng that draws them")
    if available <= limit:
        return None
    # one row from each of `limit` cells: no permutation of millions of positions, no duplicates, already sorted
    edges = np.arange(limit + 1) * available // max(limit, 1)
    return rng.integers(edges[:-1], edges[1:])
