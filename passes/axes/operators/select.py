"""Axes through operators that select, join and pad: Concat, Split, Slice, Gather, Pad, Tile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from netsurgeon.passes.axes.declare import NodeAxes, Removal, UndeclaredError, operator
from netsurgeon.passes.axes.labels import Axis
from netsurgeon.passes.graph import Edit, GatherBefore, SetAttribute, SetConstant

_END = np.iinfo(np.int64).max


@operator("Concat", zero="carried")
def _concat(scope: NodeAxes) -> None:
    inputs = [scope.axes(index) for index in range(len(scope.node.inputs))]
    at = scope.node.attributes.get_int("axis", 0) % len(inputs[0])
    result = list(inputs[0])
    for place in range(len(result)):
        for other in inputs[1:] if place != at else ():
            scope.join(result[place], other[place])
    result[at] = np.concatenate([axes[at] for axes in inputs])
    scope.emit(result)


# ------------------------------------------------------------------------------------------------ Split
def _rewrite_split(removal: Removal) -> Iterator[Edit]:
    """Sizes are given one by one from now on: equal parts need not stay equal."""
    at = removal.node.attributes.get_int("axis", 0)
    parts = [removal.output_axes(k)[at] for k in range(len(removal.node.outputs))]
    if not any(removal.changed(part) for part in parts):
        return
    sizes = tuple(removal.extent(part) for part in parts)
    if removal.opset < 13:
        yield SetAttribute(removal.name, "split", sizes)
    else:
        yield SetConstant(removal.name, 1, np.array(sizes, np.int64))
        yield SetAttribute(removal.name, "num_outputs", None)


@operator("Split", rewrite=_rewrite_split, zero="first")
def _split(scope: NodeAxes) -> None:
    if not scope.is_static(1):
        raise UndeclaredError("its sizes are computed while the model runs")
    axes = scope.axes(0)
    at = scope.node.attributes.get_int("axis", 0) % len(axes)
    outputs, start = [], 0
    for index in range(len(scope.node.outputs)):
        extent = scope.output_shape(index)[at]
        outputs.append([*axes[:at], axes[at][start : start + extent], *axes[at + 1 :]])
        start += extent
    scope.emit(*outputs)


# ------------------------------------------------------------------------------------------------ Slice
def _bounds(source: NodeAxes | Removal, extents: tuple[int, ...]) -> Mapping[int, tuple[int, int, int, int]]:
    """By axis: place in the lists of bounds, start, end and step as given."""
    starts, ends, axes, steps = _bound_lists(source)
    if starts is None or ends is None:
        raise UndeclaredError("its bounds are computed while the model runs")
    axes = axes or tuple(range(len(starts)))
    steps = steps or (1,) * len(starts)
    rank = len(extents)
    return {a % rank: (k, starts[k], ends[k], steps[k]) for k, a in enumerate(axes)}


def _bound_lists(source: NodeAxes | Removal) -> list[tuple[int, ...] | None]:
    lists: list[tuple[int, ...] | None] = []
    for index, name in ((1, "starts"), (2, "ends"), (3, "axes"), (4, "steps")):
        if isinstance(source, NodeAxes):
            lists.append(source.numbers(index, name))
            continue
        attribute, constant = source.node.attributes.get(name), source.constant(index)
        if attribute is not None:
            lists.append(tuple(attribute.as_ints()))
        else:
            lists.append(None if constant is None else tuple(int(number) for number in constant.ravel()))
    return lists


def _selected(extent: int, start: int, end: int, step: int) -> npt.NDArray[np.int64]:
    """Indices that a slice takes, as numpy takes them; ONNX's huge negative end of a backward slice means the start."""
    stop = None if step < 0 and end < -extent else end
    return np.arange(extent)[slice(start, stop, step)]


def _rewrite_slice(removal: Removal) -> Iterator[Edit]:
    """New bounds, or a Gather before the slice where what is taken is no longer a range."""
    axes, output = removal.axes(0), removal.output_axes()
    if not any(removal.changed(axis) for axis in axes):
        return
    bounds = _bounds(removal, tuple(len(axis) for axis in axes))
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    steps: dict[int, int] = {}
    for at, (place, start, end, step) in bounds.items():
        taken = _selected(len(axes[at]), start, end, step)
        if not removal.changed(axes[at]) or (len(taken) == len(axes[at]) and step == 1 and start == 0):
            continue
        keep = removal.keep(axes[at])
        # Positions among the indices that are kept, of those that the slice took and that are kept.
        new = (np.cumsum(keep) - 1)[taken[keep[taken]]]
        assert len(new) == removal.extent(output[at])
        if step == 1:
            starts[place], ends[place] = int(new[0]), int(new[-1]) + 1
        else:
            yield GatherBefore(removal.name, 0, at, new)
            starts[place], ends[place], steps[place] = 0, _END, 1
    for index, name, changes in ((1, "starts", starts), (2, "ends", ends), (4, "steps", steps)):
        yield from _write(removal, index, name, changes)


def _write(removal: Removal, index: int, name: str, changes: Mapping[int, int]) -> Iterator[Edit]:
    attribute = removal.node.attributes.get(name)
    if changes and attribute is not None:
        sizes = attribute.as_ints()
        yield SetAttribute(removal.name, name, tuple(changes.get(k, n) for k, n in enumerate(sizes)))
    elif changes and removal.constant(index) is not None:
        yield from removal.entries(index, changes)


@operator("Slice", rewrite=_rewrite_slice, zero="first")
def _slice(scope: NodeAxes) -> None:
    axes, output = list(scope.axes(0)), scope.output_shape()
    try:
        bounds = _bounds(scope, scope.shape(0))
    except UndeclaredError:
        bounds = None
    fixed_bounds = bounds is not None and all(scope.is_static(k) for k in (1, 2, 3, 4))
    for at, extent in enumerate(output):
        if bounds is not None and at not in bounds:
            continue
        if not fixed_bounds or bounds is None:
            scope.freeze([axes[at]], "its bounds are computed while the model runs")
            axes[at] = scope.fixed(extent)
        else:
            axes[at] = axes[at][_selected(len(axes[at]), *bounds[at][1:])]
    scope.emit(axes)


# ------------------------------------------------------------------------------------------------ Gather
def _rewrite_gather(removal: Removal) -> Iterator[Edit]:
    at, indices = removal.node.attributes.get_int("axis", 0), removal.constant(1)
    axis = removal.axes(0)[at]
    if indices is None or not removal.changed(axis):
        return
    keep = removal.keep(axis)
    taken = indices.astype(np.int64) % len(axis)
    if taken.ndim == 1:
        taken = taken[keep[taken]]
    new = (np.cumsum(keep) - 1)[taken]
    yield SetConstant(removal.name, 1, new.astype(indices.dtype))


@operator("Gather", rewrite=_rewrite_gather, zero="first")
def _gather(scope: NodeAxes) -> None:
    axes, indices = scope.axes(0), scope.shape(1)
    at = scope.node.attributes.get_int("axis", 0) % len(axes)
    picked = scope.numbers(1) if scope.is_constant(1) else None
    middle: list[Axis]
    taken = axes[at] if picked is None else axes[at][np.array(picked, np.int64) % len(axes[at])]
    if picked is not None and len(indices) == 1 and len(picked) > 1:
        middle = [taken]
    else:
        scope.freeze([taken], "it picks from the axis")
        middle = list(scope.axes(1)) if picked is None else [scope.fixed(n) for n in indices]
    scope.emit([*axes[:at], *middle, *axes[at + 1 :]])


# ------------------------------------------------------------------------------------------------ Pad, Tile
def _pads(numbers: tuple[int, ...], axes: tuple[int, ...], rank: int) -> dict[int, tuple[int, int, int]]:
    """By axis: place in the list, and indices added before and after."""
    listed_axes = [a % rank for a in axes] or list(range(rank))
    return {a: (k, numbers[k], numbers[k + len(listed_axes)]) for k, a in enumerate(listed_axes)}


def _rewrite_pad(removal: Removal) -> Iterator[Edit]:
    output = removal.output_axes()
    attribute, constant = removal.node.attributes.get("pads"), removal.constant(1)
    numbers = attribute.as_ints() if attribute is not None else () if constant is None else constant.ravel().tolist()
    axes_input = removal.constant(3)
    axes = () if axes_input is None else tuple(int(axis) for axis in axes_input.ravel())
    new: dict[int, int] = {}
    for at, (place, before, after) in _pads(tuple(numbers), axes, len(output)).items() if numbers else ():
        keep = removal.keep(output[at])
        new[place] = int(keep[: max(before, 0)].sum()) if before > 0 else before
        new[place + len(numbers) // 2] = int(keep[len(keep) - after :].sum()) if after > 0 else after
    changed = {place: value for place, value in new.items() if numbers[place] != value}
    if attribute is not None and changed:
        yield SetAttribute(removal.name, "pads", tuple(new[place] for place in range(len(numbers))))
    elif changed:
        yield from removal.entries(1, changed)


@operator("Pad", rewrite=_rewrite_pad)
def _pad(scope: NodeAxes) -> None:
    axes, output = list(scope.axes(0)), scope.output_shape()
    constant_mode = scope.node.attributes.get_string("mode", "constant") == "constant"
    static = "pads" in scope.node.attributes or scope.is_static(1)
    numbers = scope.numbers(1, "pads") if static else None
    pads = _pads(numbers, scope.numbers(3) or (), len(axes)) if numbers is not None else {}
    for at, extent in enumerate(output):
        _, before, after = pads.get(at, (0, 0, 0))
        if numbers is not None and not before and not after:
            continue
        if numbers is None or not constant_mode or before < 0 or after < 0:
            scope.freeze([axes[at]], "it pads the axis in a way that is not followed")
            axes[at] = scope.fixed(extent)
        else:
            axes[at] = np.concatenate([scope.labels.fresh(before), axes[at], scope.labels.fresh(after)])
    scope.emit(axes)


@operator("Tile", zero="first")
def _tile(scope: NodeAxes) -> None:
    axes, repeats = scope.axes(0), scope.numbers(1) or ()
    scope.freeze((axis for axis, times in zip(axes, repeats, strict=True) if times != 1), "it repeats the axis")
    scope.emit([a if n == 1 else scope.fixed(len(a) * n) for a, n in zip(axes, repeats, strict=True)])
