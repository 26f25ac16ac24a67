"""Shortcuts that subsample and pad with zero channels, as the convolutions that they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common

from netsurgeon.passes.graph import (
    infer_shapes,
    is_constant,
    label,
    optional_input,
    set_initializer,
    tensor,
    unused_name,
)

Ints = npt.NDArray[np.int64]
_JOINS = ("Add", "Sum")
_NO_END = 2**31 - 1
"""An end of a slice from here on means the whole axis."""


@dataclasses.dataclass(frozen=True)
class ConvolveShortcuts(ir.passes.InPlacePass):
    """Turn ``Pad(Slice(x))`` beside a convolution into a 1 x 1 convolution with a stride, whose weights are 0 and 1.

    That is the shortcut without parameters of residual networks (option A of arXiv 1512.03385, section 4.2). The values
    are the same. ONNX Runtime's convolutions on the CPU keep channels in blocks and add a shortcut on the way; Slice
    and Pad do neither, so that from there on every residual block pays for changes of layout and an Add of its own.

    Rewritten is a Pad by zeros, of channels only, of a float32 value whose number of channels is known, where all that
    reads it are additions to the output of a convolution. Slices before it that take every s-th place of a spatial axis
    become the stride.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite in place; nodes that nothing reads any more are removed."""
        matches = [(node, shortcut) for node in model.graph if (shortcut := _shortcut(node)) is not None]
        channels = _channels(model, [shortcut.source for _, shortcut in matches]) if matches else {}
        rewritten = [(node, shortcut) for node, shortcut in matches if shortcut.source.name in channels]
        for node, shortcut in rewritten:
            _rewrite(model.graph, node, shortcut, channels[shortcut.source.name])
        if rewritten:
            common.RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, bool(rewritten))


def hands_channels_on(weight: npt.NDArray[np.generic]) -> bool:
    """Whether a weight (outputs, inputs, 1, …) is that of such a shortcut: each input goes to one output, times 1.

    Of integers any number may stand for 1.
    """
    if weight.ndim < 3 or weight.size != weight.shape[0] * weight.shape[1] or weight.shape[1] < 2:
        return False
    matrix = weight.reshape(weight.shape[:2])
    places = matrix != 0
    numbers = np.unique(matrix[places])
    is_one = len(numbers) == 1 and (weight.dtype.kind in "iu" or numbers[0] == 1)
    return bool(is_one and (places.sum(axis=0) == 1).all() and (places.sum(axis=1) <= 1).all())


@dataclasses.dataclass(frozen=True)
class _Shortcut:
    """What a Pad does: `strides` of the spatial axes of `source`, and so many zero channels around its own."""

    source: ir.Value
    strides: list[int]
    before: int
    after: int


def _shortcut(node: ir.Node) -> _Shortcut | None:
    if node.op_type != "Pad" or not _beside_convolution(node):
        return None
    pads, value = _integers(optional_input(node, 1)), optional_input(node, 0)
    if value is None or pads is None or optional_input(node, 3) is not None or not _pads_with_zeros(node):
        return None
    rank = len(pads) // 2
    begin, end = pads[:rank], pads[rank:]
    others = np.arange(rank) != 1
    # Only zeros on the channel axis: a 1x1 convolution with rows of zeros gives them, padding in space it does not.
    if rank < 3 or begin[others].any() or end[others].any() or min(begin[1], end[1]) < 0:
        return None
    strides = np.ones(rank, np.int64)
    while (producer := value.producer()) is not None and producer.op_type == "Slice":
        steps = _steps(producer, rank)
        if steps is None or producer.inputs[0] is None:
            break
        strides *= steps
        value = producer.inputs[0]
    return _Shortcut(value, strides[2:].tolist(), int(begin[1]), int(end[1]))


def _channels(model: ir.Model, values: Sequence[ir.Value]) -> dict[str | None, int]:
    """Channels of those values that are known to be float32 and to have so many, by name."""
    names, result = {value.name for value in values}, {}
    inferred = infer_shapes(model.clone())
    produced = (value for node in inferred.graph for value in node.outputs)
    for value in (*inferred.graph.inputs, *produced):
        if value.name in names and value.dtype == ir.DataType.FLOAT and value.shape is not None:
            channels = value.shape[1]
            if isinstance(channels, int):
                result[value.name] = channels
    return result


def _beside_convolution(node: ir.Node) -> bool:
    """Whether all that reads the node's output are additions to what a convolution gives."""
    padded = node.outputs[0]
    if not padded.uses() or padded.is_graph_output():
        return False
    return all(
        use.node.op_type in _JOINS
        and any(value is not None and _made_by(value, "Conv") for value in use.node.inputs if value is not padded)
        for use in padded.uses()
    )


def _made_by(value: ir.Value, operator: str) -> bool:
    producer = value.producer()
    return producer is not None and producer.op_type == operator


def _pads_with_zeros(node: ir.Node) -> bool:
    mode, filler = node.attributes.get("mode"), optional_input(node, 2)
    if mode is not None and mode.as_string() != "constant":
        return False
    return filler is None or (is_constant(filler) and not tensor(filler).numpy().any())


def _steps(node: ir.Node, rank: int) -> Ints | None:
    """Step of a Slice on each axis, (rank,); None where it does more than subsample spatial axes from 0 on."""
    starts, ends, axes, steps = (_integers(optional_input(node, index)) for index in (1, 2, 3, 4))
    if starts is None or ends is None or axes is None or steps is None:
        return None
    if starts.any() or (ends < _NO_END).any() or (steps < 1).any() or (axes % rank < 2).any():
        return None
    result = np.ones(rank, np.int64)
    result[axes % rank] = steps
    return result


def _integers(value: ir.Value | None) -> Ints | None:
    return tensor(value).numpy().astype(np.int64).ravel() if value is not None and is_constant(value) else None


def _rewrite(graph: ir.Graph, node: ir.Node, shortcut: _Shortcut, channels: int) -> None:
    ones = [1] * len(shortcut.strides)
    weight = np.zeros((shortcut.before + channels + shortcut.after, channels, *ones), np.float32)
    weight[shortcut.before + np.arange(channels), np.arange(channels)] = 1.0
    old, name = node.outputs[0], f"{label(node)}_convolution"
    output = ir.Value(name=unused_name(graph, name), shape=old.shape, type=old.type)
    attributes = {"kernel_shape": ones, "strides": shortcut.strides}
    convolution = ir.node("Conv", [shortcut.source], attributes, outputs=[output], name=name)
    graph.insert_before(node, convolution)
    set_initializer(convolution, 1, weight, f"{name}_weight")
    old.replace_all_uses_with(output)
