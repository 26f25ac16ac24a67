"""Axes through attention in one operator, and the rotation of positions in front of it: heads, and width inside heads.

Queries, keys and values come as (batch, length, heads x width) or (batch, heads, length, width). Whole heads can go, of
grouped queries those of a key and value with it or as many of each; or width, the same in all heads.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from netsurgeon.passes.axes.declare import NodeAxes, Removal, UndeclaredError, operator
from netsurgeon.passes.axes.labels import Axis
from netsurgeon.passes.graph import Edit, SetAttribute

_SUMS = "it normalises over the axis"


@dataclasses.dataclass(frozen=True, eq=False)
class _Heads:
    """One operand, apart: the axes of its heads."""

    batch: Axis
    heads: Axis
    length: Axis
    width: Axis

    @property
    def axes(self) -> tuple[Axis, Axis, Axis, Axis]:
        """In the order that operands of four axes have."""
        return self.batch, self.heads, self.length, self.width


def _apart(scope: NodeAxes, index: int, heads: int) -> _Heads:
    """Axes of an operand that has its heads in an axis of their own, or in the last one."""
    axes = scope.axes(index)
    if len(axes) == 4:
        return _Heads(*axes)
    if len(axes) != 3 or heads < 1 or len(axes[2]) % heads:
        raise UndeclaredError(f"its input {index} is packed in a way that is not followed")
    batch, length, flat = axes
    apart = _Heads(batch, scope.fresh(heads), length, scope.fresh(len(flat) // heads))
    scope.split(flat, (apart.heads, apart.width))
    return apart


def _together(scope: NodeAxes, result: _Heads, rank: int) -> tuple[Axis, ...]:
    """Axes of a result that has its heads in an axis of their own, or in the last one."""
    if rank == 4:
        return result.axes
    flat = scope.fresh(len(result.heads) * len(result.width))
    scope.split(flat, (result.heads, result.width))
    return result.batch, result.length, flat


def _attend(scope: NodeAxes, query: _Heads, key: _Heads, value: _Heads) -> _Heads:
    """What softmax(Q Kᵀ) V has for axes; queries of one group, which lie beside each other, share a key and a value."""
    shared, count = len(key.heads), len(query.heads)
    if count % shared:
        raise UndeclaredError(f"its {count} heads do not fall into {shared} groups")
    if count == shared:
        scope.join(query.heads, key.heads)
    else:
        scope.split(query.heads, (key.heads, scope.fresh(count // shared)))
    scope.join(key.heads, value.heads)
    for one, other in ((query.batch, key.batch), (key.batch, value.batch), (query.width, key.width)):
        scope.join(one, other)
    scope.freeze((query.length, key.length, value.length), _SUMS)
    scope.multiply(query.width, heads=(count, shared))
    scores = math.prod(len(axis) for axis in (query.batch, query.heads, query.length, key.length))
    for width in (query.width, value.width):
        axes = query.batch, query.heads, query.length, key.length, width
        scope.work(scores * len(width), *axes, samples=len(query.batch))
    return dataclasses.replace(query, width=value.width)


def _add_scores(scope: NodeAxes, index: int, query: _Heads) -> None:
    """Join a mask or bias of the scores, (batch, heads, queries, keys) or broadcast to it."""
    if not scope.has(index):
        return
    axes = scope.axes(index)
    targets = (query.batch, query.heads)[max(4 - len(axes), 0) :] if len(axes) <= 4 else ()
    for axis, target in zip(axes, targets, strict=False):
        if len(axis) == len(target) > 1:
            scope.join(axis, target)
    scope.freeze(axes[len(targets) :], "")


def _remember(scope: NodeAxes, index: int, operand: _Heads) -> None:
    """Join keys or values of before, (batch, heads, length, width)."""
    if scope.has(index):
        past = _Heads(*scope.axes(index))
        for one, other in ((past.batch, operand.batch), (past.heads, operand.heads), (past.width, operand.width)):
            scope.join(one, other)
        scope.freeze([past.length], "")


def _present(scope: NodeAxes, index: int, operand: _Heads) -> tuple[Axis, ...]:
    """Axes of the keys or values that an output hands on, if there is one."""
    outputs = scope.node.outputs
    if index >= len(outputs) or not outputs[index].name:
        return ()
    return operand.batch, operand.heads, scope.fixed(scope.output_shape(index)[2]), operand.width


def _rewrite_attention(removal: Removal) -> Iterator[Edit]:
    """Numbers of heads; and the scale, which is the root of the width unless it is given."""
    attributes = removal.node.attributes
    for name, index in (("num_heads", 0), ("q_num_heads", 0), ("kv_num_heads", 1)):
        if attributes.get_int(name, 0):
            yield from _rewrite_count(removal, name, index)
    axes = removal.axes(0)
    count = len(axes[1]) if len(axes) == 4 else attributes.get_int("q_num_heads", attributes.get_int("num_heads", 1))
    flat = axes[3] if len(axes) == 4 else axes[2]
    width = len(flat) if len(axes) == 4 else len(flat) // count
    changed = removal.changed(flat) if len(axes) == 4 else _widths_kept(removal, flat, count).sum() < width
    if changed and not attributes.get_float("scale", 0.0):
        yield SetAttribute(removal.name, "scale", 1.0 / math.sqrt(width))


def _rewrite_count(removal: Removal, name: str, index: int) -> Iterator[Edit]:
    """An attribute that counts the heads of an input."""
    axes, count = removal.axes(index), removal.node.attributes.get_int(name, 0)
    left = removal.extent(axes[1]) if len(axes) == 4 else int(_apart_kept(removal, axes[2], count).any(axis=1).sum())
    if left != count:
        yield SetAttribute(removal.name, name, left)


def _apart_kept(removal: Removal, flat: Axis, heads: int) -> np.typing.NDArray[np.bool_]:
    """Which indices stay, (heads, width)."""
    return np.asarray(removal.keep(flat)).reshape(heads, -1)


def _widths_kept(removal: Removal, flat: Axis, heads: int) -> np.typing.NDArray[np.bool_]:
    """Which indices stay in the heads that stay, (width,)."""
    return np.asarray(_apart_kept(removal, flat, heads).any(axis=0))


@operator("Attention", rewrite=_rewrite_attention)
def _attention(scope: NodeAxes) -> None:
    count = scope.node.attributes.get_int("q_num_heads", 0)
    shared = scope.node.attributes.get_int("kv_num_heads", 0)
    query, key, value = (_apart(scope, index, n) for index, n in enumerate((count, shared, shared)))
    result = _attend(scope, query, key, value)
    _add_scores(scope, 3, query)
    _remember(scope, 4, key)
    _remember(scope, 5, value)
    outputs = [_together(scope, result, len(scope.output_shape())), _present(scope, 1, key), _present(scope, 2, value)]
    if len(scope.node.outputs) > 3 and scope.node.outputs[3].name:
        outputs.append((*result.axes[:3], scope.fixed(scope.output_shape(3)[3])))
    scope.emit(*outputs)


@operator("com.microsoft.MultiHeadAttention", rewrite=_rewrite_attention)
def _multi_head_attention(scope: NodeAxes) -> None:
    count = scope.node.attributes.get_int("num_heads", 0)
    if scope.has(3):
        raise UndeclaredError("it adds its bias itself")
    query, key, value = (_apart(scope, index, count) for index in range(3))
    result = _attend(scope, query, key, value)
    _add_scores(scope, 5, query)
    _remember(scope, 6, key)
    _remember(scope, 7, value)
    scope.emit(_together(scope, result, 3), _present(scope, 1, key), _present(scope, 2, value))


@operator("com.microsoft.GroupQueryAttention", rewrite=_rewrite_attention)
def _group_query_attention(scope: NodeAxes) -> None:
    count = scope.node.attributes.get_int("num_heads", 0)
    shared = scope.node.attributes.get_int("kv_num_heads", 0)
    query, key, value = (_apart(scope, index, n) for index, n in enumerate((count, shared, shared)))
    # ONNX Runtime's kernel takes multiples of 8 only, and of 16 where it rotates.
    scope.freeze((query.width, key.width, value.width), "it takes heads of a few widths only")
    result = _attend(scope, query, key, value)
    _remember(scope, 3, key)
    _remember(scope, 4, value)
    for index in (7, 8):
        if scope.has(index):
            scope.freeze(scope.axes(index), "")
    _add_scores(scope, 10, query)
    if scope.has(11):
        scope.join(scope.axes(11)[0], query.heads)
    scope.emit(_together(scope, result, 3), _present(scope, 1, key), _present(scope, 2, value))


# ------------------------------------------------------------------------------------------------ rotation
def _rewrite_rotary(removal: Removal) -> Iterator[Edit]:
    """The number of heads, and how much of their width is rotated, where that is told."""
    axes, attributes = removal.axes(0), removal.node.attributes
    count = len(axes[1]) if len(axes) == 4 else attributes.get_int("num_heads", 0)
    if attributes.get_int("num_heads", 0):
        yield from _rewrite_count(removal, "num_heads", 0)
    rotated = attributes.get_int("rotary_embedding_dim", 0)
    if rotated and count:
        keep = removal.keep(axes[3]) if len(axes) == 4 else _widths_kept(removal, axes[2], count)
        yield SetAttribute(removal.name, "rotary_embedding_dim", int(keep[:rotated].sum()))


@operator("RotaryEmbedding", "com.microsoft.RotaryEmbedding", rewrite=_rewrite_rotary, zero="first")
def _rotary_embedding(scope: NodeAxes) -> None:
    """Two numbers of a head's width turn together, by one column of the tables of cosines and sines."""
    cosines, sines, positions = (2, 3, 1) if scope.node.domain else (1, 2, 3)
    tables = scope.axes(cosines), scope.axes(sines)
    half = len(tables[0][-1])
    axes, count = scope.axes(0), scope.node.attributes.get_int("num_heads", 0)
    if len(axes) == 3 and not count:
        count = len(axes[2]) // (2 * half)
    operand = _apart(scope, 0, count)
    width = operand.width[: 2 * half]
    interleaved = scope.node.attributes.get_int("interleaved", 0)
    pairs = (width[::2], width[1::2]) if interleaved else (width[:half], width[half:])
    scope.join(*pairs)
    for table in tables:
        scope.join(pairs[0], table[-1])
        scope.freeze(table[:-1], "")
    if scope.has(positions):
        scope.freeze(scope.axes(positions), "")
    scope.emit(axes)
