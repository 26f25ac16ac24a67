"""Axes through operators that change the shape and keep every element: Reshape, Transpose, Resize and the like."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from netsurgeon.passes.axes.declare import NodeAxes, Removal, UndeclaredError, operator
from netsurgeon.passes.axes.labels import Axis
from netsurgeon.passes.graph import Edit


@operator("Transpose", zero="first")
def _transpose(scope: NodeAxes) -> None:
    axes = scope.axes(0)
    order = scope.node.attributes.get_ints("perm", tuple(reversed(range(len(axes)))))
    scope.emit([axes[at] for at in order])


@operator("Squeeze", zero="first")
def _squeeze(scope: NodeAxes) -> None:
    axes = scope.axes(0)
    listed_axes = scope.numbers(1, "axes")
    squeezed = (
        {at % len(axes) for at in listed_axes}
        if listed_axes
        else {at for at, axis in enumerate(axes) if len(axis) == 1}
    )
    scope.emit([axis for at, axis in enumerate(axes) if at not in squeezed])


@operator("Unsqueeze", zero="first")
def _unsqueeze(scope: NodeAxes) -> None:
    axes, listed_axes = scope.axes(0), scope.numbers(1, "axes") or ()
    rank = len(axes) + len(listed_axes)
    new, remaining = {at % rank for at in listed_axes}, iter(axes)
    scope.emit([scope.fixed(1) if at in new else next(remaining) for at in range(rank)])


# ------------------------------------------------------------------------------------------------ Reshape
def _rewrite_reshape(removal: Removal) -> Iterator[Edit]:
    """Entries of the target that are numbers; 0 and -1 follow by themselves."""
    target = removal.constant(1)
    new = {}
    for at, axis in enumerate(removal.output_axes()):
        if removal.changed(axis) and (target is None or target.ravel()[at] > 0):
            new[at] = removal.extent(axis)
    yield from removal.entries(1, new)


@operator("Reshape", rewrite=_rewrite_reshape, zero="first")
def _reshape(scope: NodeAxes) -> None:
    inputs, output = scope.axes(0), scope.output_shape()
    axes = _regroup(scope, inputs, output)
    scope.sizes(1, axes)
    target = scope.numbers(1) or ()
    zero_copies = not scope.node.attributes.get_int("allowzero", 0)
    for at, entry in enumerate(target):
        if entry == 0 and zero_copies and len(axes[at]) == len(inputs[at]):
            scope.join(inputs[at], axes[at])
    scope.emit(axes)


@operator("Flatten", zero="first")
def _flatten(scope: NodeAxes) -> None:
    scope.emit(_regroup(scope, scope.axes(0), scope.output_shape()))


def _regroup(scope: NodeAxes, inputs: Sequence[Axis], output: tuple[int, ...]) -> list[Axis]:
    """Axes of the output: both sides are runs of the same factors, wherever their products meet."""
    before = tuple(len(axis) for axis in inputs)
    if math.prod(before) != math.prod(output) or 0 in before:
        raise UndeclaredError(f"{before} and {output} hold different numbers of elements")
    result: list[Axis] = [scope.fixed(1) for _ in output]
    for left, right in _runs(before, output):
        sizes = _factors([before[at] for at in left], [output[at] for at in right])
        if sizes is None:
            scope.freeze((inputs[at] for at in left), "its sizes before and after have no common factors")
            for at in right:
                result[at] = scope.fixed(output[at], "its sizes before and after have no common factors")
            continue
        factors = _input_factors(scope, [inputs[at] for at in left], sizes)
        for at, taken in zip(right, _spans([output[at] for at in right], sizes), strict=True):
            result[at] = _merged(scope, [factors[i] for i in taken], output[at])
    return result


def _runs(before: tuple[int, ...], after: tuple[int, ...]) -> Iterator[tuple[list[int], list[int]]]:
    """Shortest runs of axes (of size above 1) with equal products, before and after."""
    left = [at for at, extent in enumerate(before) if extent > 1]
    right = [at for at, extent in enumerate(after) if extent > 1]
    i = j = 0
    while i < len(left):
        start = i, j
        one, other = before[left[i]], after[right[j]]
        i, j = i + 1, j + 1
        while one != other:
            if one < other:
                one, i = one * before[left[i]], i + 1
            else:
                other, j = other * after[right[j]], j + 1
        yield left[start[0] : i], right[start[1] : j]


def _factors(left: list[int], right: list[int]) -> list[int] | None:
    """The finest common factors of two lists of extents with one product, in order; None where there are none."""
    cuts = sorted({int(product) for side in (left, right) for product in np.cumprod(side[::-1])})
    steps = [1, *cuts]
    if any(high % low for low, high in itertools.pairwise(steps)):
        return None
    return [high // low for low, high in itertools.pairwise(steps)][::-1]


def _spans(extents: list[int], sizes: list[int]) -> Iterator[list[int]]:
    """Which factors make up each extent."""
    at = 0
    for extent in extents:
        taken, product = [], 1
        while product < extent:
            product *= sizes[at]
            taken.append(at)
            at += 1
        yield taken


def _input_factors(scope: NodeAxes, axes: list[Axis], sizes: list[int]) -> list[Axis]:
    """A label axis for each factor; an input axis that is one factor stands for it."""
    factors: list[Axis] = []
    for axis, taken in zip(axes, _spans([len(axis) for axis in axes], sizes), strict=True):
        new_axes = [axis] if len(taken) == 1 else [scope.fresh(sizes[i]) for i in taken]
        if len(taken) > 1:
            scope.split(axis, new_axes)
        factors.extend(new_axes)
    return factors


def _merged(scope: NodeAxes, factors: list[Axis], extent: int) -> Axis:
    if len(factors) == 1:
        return factors[0]
    flat = scope.fresh(extent)
    scope.split(flat, factors)
    return flat


@operator("DepthToSpace", zero="first")
def _depth_to_space(scope: NodeAxes) -> None:
    batch, channels, *space = scope.axes(0)
    block = scope.node.attributes.get_int("blocksize", 1)
    inner, side = scope.fresh(len(channels) // block**2), scope.fixed(block**2)
    first = scope.node.attributes.get_string("mode", "DCR") == "DCR"
    scope.split(channels, (side, inner) if first else (inner, side))
    scope.freeze(space, "")
    scope.emit([batch, inner, *(scope.fixed(extent) for extent in scope.output_shape()[2:])])


@operator("SpaceToDepth", zero="first")
def _space_to_depth(scope: NodeAxes) -> None:
    batch, channels, *space = scope.axes(0)
    block = scope.node.attributes.get_int("blocksize", 1)
    flat = scope.fresh(len(channels) * block**2)
    scope.split(flat, (scope.fixed(block**2), channels))
    scope.freeze(space, "")
    scope.emit([batch, flat, *(scope.fixed(extent) for extent in scope.output_shape()[2:])])


# ------------------------------------------------------------------------------------------------ sizes
def _rewrite_expand(removal: Removal) -> Iterator[Edit]:
    target, output = removal.constant(1), removal.output_axes()
    count = len(removal.computed(1)) if target is None else target.size
    offset = len(output) - count
    new = {}
    for at in range(count):
        axis = output[offset + at]
        if removal.changed(axis) and (target is None or target.ravel()[at] > 1):
            new[at] = removal.extent(axis)
    yield from removal.entries(1, new)


@operator("Expand", rewrite=_rewrite_expand, zero="first")
def _expand(scope: NodeAxes) -> None:
    axes, output = scope.axes(0), scope.output_shape()
    padded = [scope.fixed(1)] * (len(output) - len(axes)) + list(axes)
    result = [axis if len(axis) == extent else scope.fresh(extent) for axis, extent in zip(padded, output, strict=True)]
    scope.sizes(1, result[len(output) - scope.shape(1)[0] :])
    scope.emit(result)


def _rewrite_constant_of_shape(removal: Removal) -> Iterator[Edit]:
    yield from removal.entries(0, {k: removal.extent(a) for k, a in enumerate(removal.output_axes())})


@operator("ConstantOfShape", rewrite=_rewrite_constant_of_shape)
def _constant_of_shape(scope: NodeAxes) -> None:
    axes = [scope.fresh(extent) for extent in scope.output_shape()]
    scope.sizes(0, axes)
    scope.emit(axes)


def _rewrite_resize(removal: Removal) -> Iterator[Edit]:
    """Sizes of axes that are not resized; their scale is 1 whatever they are."""
    if len(removal.node.inputs) > 3 and removal.node.inputs[3] is not None:
        listed_axes = removal.node.attributes.get_ints("axes", tuple(range(len(removal.axes(0)))))
        axes = removal.output_axes()
        new = {k: removal.extent(axes[at]) for k, at in enumerate(listed_axes) if removal.changed(axes[at])}
        yield from removal.entries(3, new)


@operator("Resize", "Upsample", rewrite=_rewrite_resize, zero="first")
def _resize(scope: NodeAxes) -> None:
    axes, output = scope.axes(0), scope.output_shape()
    result = []
    for at, (axis, extent) in enumerate(zip(axes, output, strict=True)):
        passes = at < 2 and len(axis) == extent
        if not passes:
            scope.freeze([axis], "" if at > 1 else "it is resized")
        result.append(axis if passes else scope.fixed(extent))
    if scope.has(3):
        listed_axes = scope.node.attributes.get_ints("axes", tuple(range(len(axes))))
        scope.sizes(3, [result[at] for at in listed_axes])
    scope.emit(result)
