"""Axes through operators with weights: convolutions, matrix products, normalisation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from netsurgeon.passes.axes.declare import NodeAxes, Removal, UndeclaredError, operator
from netsurgeon.passes.axes.labels import Axis
from netsurgeon.passes.axes.operators.elementwise import broadcast
from netsurgeon.passes.axes.tracks import Axes
from netsurgeon.passes.graph import Edit, SetAttribute


def _rewrite_group(removal: Removal) -> Iterator[Edit]:
    """Groups left: those that have channels."""
    groups = removal.node.attributes.get_int("group", 1)
    if groups == 1:
        return
    channels = removal.keep(removal.axes(0)[1]).reshape(groups, -1)
    outputs = removal.keep(removal.output_axes()[1]).reshape(groups, -1)
    left = int((channels.any(axis=1) & outputs.any(axis=1)).sum())
    if left != groups:
        yield SetAttribute(removal.name, "group", left)


def _convolved(scope: NodeAxes) -> tuple[Axis, Axis, Axes, int]:
    """Batch and channels of the input, the axes of the weight, and the number of groups; space and kernel stay."""
    if not scope.is_constant(1):
        raise UndeclaredError("its weight is computed while the model runs")
    batch, channels, *space = scope.axes(0)
    weight = scope.axes(1)
    scope.freeze((*space, *weight[2:]), "")
    return batch, channels, weight, scope.node.attributes.get_int("group", 1)


@operator("Conv", rewrite=_rewrite_group, zero="own")
def _conv(scope: NodeAxes) -> None:
    batch, channels, weight, groups = _convolved(scope)
    if groups == 1:
        scope.join(channels, weight[1])
        scope.contract(1, 1)
    else:
        _group_channels(scope, channels, weight[0], groups)
    positions = scope.output_shape()[2:]
    _finish(scope, [batch, weight[0], *(scope.fixed(extent) for extent in positions)])
    amount = math.prod(scope.shape(1)) * scope.output_shape()[0] * math.prod(positions)
    scope.work(amount, weight[0], channels, groups=groups)


def _group_channels(scope: NodeAxes, channels: Axis, rows: Axis, groups: int) -> None:
    """Whole groups may vanish, or equally many channels of each group, on either side."""
    group = scope.fresh(groups)
    inner, outer = (scope.fresh(len(axis) // groups) for axis in (channels, rows))
    scope.group(channels, group, inner)
    scope.group(rows, group, outer)
    scope.contract_grouped(1, 1, channels, groups, np.tile(inner, groups))


@operator("ConvTranspose", rewrite=_rewrite_group, zero="own")
def _conv_transpose(scope: NodeAxes) -> None:
    batch, channels, weight, groups = _convolved(scope)
    scope.join(channels, weight[0])
    out = weight[1]
    if groups == 1:
        scope.contract(1, 0)
    else:
        extent = len(weight[0]) // groups
        group, inner = scope.fresh(groups), scope.fresh(extent)
        out = scope.fresh(len(weight[1]) * groups)
        scope.group(weight[0], group, inner)
        scope.split(out, (group, weight[1]))
        scope.contract(1, 0, np.tile(inner, groups))
    _finish(scope, [batch, out, *(scope.fixed(extent) for extent in scope.output_shape()[2:])])
    scope.work(math.prod(scope.shape(1)) * math.prod(scope.shape(0)[2:]) * scope.shape(0)[0], channels, weight[1])


def _finish(scope: NodeAxes, output: Sequence[Axis]) -> None:
    """Join the bias, if any, and emit."""
    if scope.has(2):
        scope.join(scope.axes(2)[0], output[1])
    scope.emit(output)


@operator("Gemm", zero="own")
def _gemm(scope: NodeAxes) -> None:
    left, right = scope.axes(0), scope.axes(1)
    flipped = [bool(scope.node.attributes.get_int(name, 0)) for name in ("transA", "transB")]
    rows, inner = left[::-1] if flipped[0] else left
    other, columns = right[::-1] if flipped[1] else right
    _contract(scope, inner, other, int(not flipped[0]), int(flipped[1]))
    output = [rows, columns]
    if scope.has(2):
        output = broadcast(scope, [(rows, columns), scope.axes(2)])
    scope.emit(output)
    scope.work(len(rows) * len(inner) * len(columns), rows, inner, columns)


@operator("MatMul", zero="own")
def _matmul(scope: NodeAxes) -> None:
    left, right = scope.axes(0), scope.axes(1)
    at = len(right) - 2 if len(right) > 1 else 0
    _contract(scope, left[-1], right[at], len(left) - 1, at)
    output = broadcast(scope, [left[:-2], right[:-2]]) if len(left) > 2 or len(right) > 2 else []
    output += [*left[-2:-1], *(right[-1:] if len(right) > 1 else ())]
    scope.emit(output)
    scope.work(math.prod(scope.output_shape()) * len(left[-1]), left[-1], *output)


def _contract(scope: NodeAxes, one: Axis, other: Axis, left_axis: int, right_axis: int) -> None:
    """The axis a matrix product sums over, of a weight or of two activations."""
    scope.join(one, other)
    if scope.is_constant(0):
        scope.contract(0, left_axis)
    if scope.is_constant(1):
        scope.contract(1, right_axis)
    if not scope.is_constant(0) and not scope.is_constant(1):
        scope.multiply(one)


@operator("BatchNormalization", zero="own")
def _batch_normalization(scope: NodeAxes) -> None:
    axes = scope.axes(0)
    for index in range(1, 5):
        scope.join(scope.axes(index)[0], axes[1])
    scope.emit(axes)


@operator("InstanceNormalization")
def _instance_normalization(scope: NodeAxes) -> None:
    axes = scope.axes(0)
    scope.freeze(axes[2:], "it normalises over the axis")
    for index in (1, 2):
        scope.join(scope.axes(index)[0], axes[1])
    scope.emit(axes)


@operator("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def _layer_normalization(scope: NodeAxes) -> None:
    axes = scope.axes(0)
    normalised = axes[scope.node.attributes.get_int("axis", -1) :]
    parameters = [axis for index in (1, 2) if scope.has(index) for axis in scope.axes(index)]
    scope.freeze((*normalised, *parameters), "it normalises over the axis")
    scope.emit(axes)


@operator("com.microsoft.SkipLayerNormalization", "com.microsoft.SkipSimplifiedLayerNormalization")
def _skip_layer_normalization(scope: NodeAxes) -> None:
    """The sum of two values, normalised; the last output is the sum."""
    axes = broadcast(scope, [scope.axes(0), scope.axes(1)])
    parameters = [axis for index in range(2, len(scope.node.inputs)) if scope.has(index) for axis in scope.axes(index)]
    scope.freeze((axes[-1], *parameters), "it normalises over the axis")
    statistics = [*axes[:-1], scope.fixed(1)]
    scope.emit(axes, statistics, statistics, axes)
