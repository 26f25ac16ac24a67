"""Axes through products whose weights are integers: what they sum over stays, and rows of a few of them may go.

Nobody corrects such a weight for an input that is gone, so that its inputs stay. Outputs are rows of the weight with
their scales: where these lie in axes of their own, they vanish as those of float weights do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from netsurgeon.passes.axes.declare import NodeAxes, Removal, UndeclaredError, operator
from netsurgeon.passes.axes.labels import Axis
from netsurgeon.passes.graph import Edit, SetAttribute

_STAYS = "its weight is integers, which are not corrected for inputs that are gone"


@operator("QuantizeLinear", "DequantizeLinear")
def _cast_by_scale(scope: NodeAxes) -> None:
    """Of activations; a scale for each index of an axis goes with the index."""
    if scope.is_constant(0):
        raise UndeclaredError(_STAYS)
    axes = scope.axes(0)
    axis = axes[scope.node.attributes.get_int("axis", 1)] if len(axes) > 1 else axes[0]
    _join_each(scope, axis, (1, 2))
    scope.emit(axes)


@operator("DynamicQuantizeLinear")
def _cast_by_range(scope: NodeAxes) -> None:
    """The range is that of all numbers: what vanishes was 0, which is in every range."""
    scope.emit(scope.axes(0), (), ())


def _rewrite_rows(removal: Removal) -> Iterator[Edit]:
    rows = removal.output_axes()[-1]
    if removal.changed(rows):
        yield SetAttribute(removal.name, "N", removal.extent(rows))


@operator("com.microsoft.MatMulNBits", rewrite=_rewrite_rows)
def _blocks(scope: NodeAxes) -> None:
    """Weight (N, blocks, bytes); scales and zero points (N, blocks), or as one vector; order of columns; bias (N,)."""
    if not all(scope.is_constant(index) for index in range(1, len(scope.node.inputs)) if scope.has(index)):
        raise UndeclaredError("its weight is computed while the model runs")
    *outer, columns = scope.axes(0)
    rows, *packed = scope.axes(1)
    scope.freeze((columns, *packed), _STAYS)
    for index in (2, 3):
        if scope.has(index):
            _join_blocks(scope, rows, scope.axes(index))
    if scope.has(4):
        scope.freeze(scope.axes(4), _STAYS)
    _join_each(scope, rows, (5,))
    _finish(scope, outer, columns, rows)


def _join_blocks(scope: NodeAxes, rows: Axis, axes: Sequence[Axis]) -> None:
    """Of numbers for each block of each row."""
    if len(axes) > 1:
        scope.join(axes[0], rows)
        scope.freeze(axes[1:], "")
    elif len(axes[0]) % len(rows):
        raise UndeclaredError("its scales are not as many for each row")
    else:
        scope.split(axes[0], (rows, scope.fixed(len(axes[0]) // len(rows))))


@operator("MatMulInteger")
def _integer_product(scope: NodeAxes) -> None:
    _product(scope, 1, of_rows=(3,))


@operator("com.microsoft.MatMulIntegerToFloat")
def _scaled_product(scope: NodeAxes) -> None:
    _product(scope, 1, of_rows=(3, 5, 6))


@operator("com.microsoft.DynamicQuantizeMatMul")
def _ranged_product(scope: NodeAxes) -> None:
    _product(scope, 1, of_rows=(2, 3, 4))


@operator("QLinearMatMul")
def _quantized_product(scope: NodeAxes) -> None:
    _product(scope, 3, of_rows=(4, 5))


@operator("com.microsoft.QAttention")
def _quantized_attention(scope: NodeAxes) -> None:
    """Queries, keys and values by one weight (inputs, 3 · width), which all stay."""
    batch, length, columns = scope.axes(0)
    stay = [axis for index in range(1, len(scope.node.inputs)) if scope.has(index) for axis in scope.axes(index)]
    scope.freeze((length, columns, *stay), _STAYS)
    outputs = [[batch, length, scope.fixed(scope.output_shape()[2])]]
    if len(scope.node.outputs) > 1 and scope.node.outputs[1].name:
        raise UndeclaredError("it keeps keys and values of earlier runs")
    scope.emit(*outputs)


def _product(scope: NodeAxes, weight: int, of_rows: Sequence[int]) -> None:
    """Of what enters, (…, inputs), and a constant (inputs, rows), with numbers for each row or one for all."""
    if not scope.is_constant(weight) or len(scope.axes(weight)) != 2:
        raise UndeclaredError("its weight is not a constant matrix")
    *outer, columns = scope.axes(0)
    inner, rows = scope.axes(weight)
    scope.freeze((columns, inner), _STAYS)
    _join_each(scope, rows, of_rows)
    _finish(scope, outer, columns, rows)


def _join_each(scope: NodeAxes, rows: Axis, indices: Sequence[int]) -> None:
    """Let numbers of each row vanish with it; one for all stays."""
    for index in indices:
        if scope.has(index) and math.prod(scope.shape(index)) > 1:
            *single, last = scope.axes(index)
            if math.prod(map(len, single)) > 1:
                raise UndeclaredError(f"its input {index} is packed in a way that is not followed")
            scope.join(last, rows)


def _finish(scope: NodeAxes, outer: Sequence[Axis], columns: Axis, rows: Axis) -> None:
    output = [*outer, rows]
    scope.emit(output)
    scope.work(math.prod(map(len, output)) * len(columns), *outer, columns, rows)
