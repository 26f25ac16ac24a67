"""Operators that move, choose, repeat or make values, as differentiable functions of PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from netsurgeon.models.onnx_module.registry import Attributes, Inputs, given, number, operator, some, together


@operator("Shape")
def _shape(inputs: Inputs, attributes: Attributes) -> Any:
    del attributes
    return torch.tensor(some(inputs[0]).shape, dtype=torch.int64)


@operator("Reshape")
def _reshape(inputs: Inputs, attributes: Attributes) -> Any:
    x, shape = some(inputs[0]), given(inputs, attributes, 1, "shape")
    if not attributes.get("allowzero"):
        shape = [x.shape[axis] if side == 0 else side for axis, side in enumerate(shape)]
    return x.reshape(shape)


@operator("Flatten")
def _flatten(inputs: Inputs, attributes: Attributes) -> Any:
    x, axis = some(inputs[0]), attributes.get("axis", 1)
    if axis == 0:
        return x.reshape(1, -1)
    return x.reshape(int(torch.tensor(x.shape[:axis]).prod()), -1)


@operator("Transpose")
def _transpose(inputs: Inputs, attributes: Attributes) -> Any:
    x = some(inputs[0])
    return x.permute(attributes.get("perm", list(reversed(range(x.ndim)))))


@operator("Squeeze")
def _squeeze(inputs: Inputs, attributes: Attributes) -> Any:
    axes = given(inputs, attributes, 1, "axes")
    return some(inputs[0]).squeeze() if axes is None else some(inputs[0]).squeeze(tuple(axes))


@operator("Unsqueeze")
def _unsqueeze(inputs: Inputs, attributes: Attributes) -> Any:
    x, axes = some(inputs[0]), given(inputs, attributes, 1, "axes")
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Concat")
def _concat(inputs: Inputs, attributes: Attributes) -> Any:
    return torch.cat(together(inputs), attributes["axis"])


@operator("Split")
def _split(inputs: Inputs, attributes: Attributes) -> Any:
    x, axis, sizes = some(inputs[0]), attributes.get("axis", 0), given(inputs, attributes, 1, "split")
    if sizes is None:
        sizes = -(-x.shape[axis] // attributes["outputs"])
    return torch.split(x, sizes, axis)


@operator("Slice")
def _slice(inputs: Inputs, attributes: Attributes) -> Any:
    x = some(inputs[0])
    starts, ends = (given(inputs, attributes, place, name) for place, name in ((1, "starts"), (2, "ends")))
    axes = given(inputs, attributes, 3, "axes") or list(range(len(starts)))
    steps = given(inputs, attributes, 4, "steps") or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        places = range(x.shape[axis])[slice(start, end if step > 0 or end >= -x.shape[axis] else None, step)]
        x = x.index_select(axis, torch.tensor(places, dtype=torch.int64, device=x.device))
    return x


@operator("Gather")
def _gather(inputs: Inputs, attributes: Attributes) -> Any:
    x, indices, axis = some(inputs[0]), some(inputs[1]), attributes.get("axis", 0)
    axis %= x.ndim
    places = indices.to(x.device).long() % x.shape[axis]
    gathered = x.index_select(axis, places.flatten())
    return gathered.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


@operator("Pad")
def _pad(inputs: Inputs, attributes: Attributes) -> Any:
    x, pads = some(inputs[0]), given(inputs, attributes, 1, "pads")
    axes = given(inputs, attributes, 3, "axes") or list(range(x.ndim))
    sides = {axis % x.ndim: (pads[at], pads[len(axes) + at]) for at, axis in enumerate(axes)}
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}[attributes.get("mode", "constant")]
    if mode != "constant":
        first = next((axis for axis in range(x.ndim) if any(sides.get(axis, (0, 0)))), x.ndim)
        if first == x.ndim:
            return x
        if x.ndim - first > 3:
            raise NotImplementedError(f"Pad by {mode} on more than three axes")
        flat = [side for axis in reversed(range(first, x.ndim)) for side in sides.get(axis, (0, 0))]
        padded = functional.pad(x.reshape(1, -1, *x.shape[first:]), flat, mode=mode)  # axes in front are its channels
        return padded.reshape(*x.shape[:first], *padded.shape[2:])
    value = number(inputs, attributes, 2, "value")
    flat = [side for axis in reversed(range(x.ndim)) for side in sides.get(axis, (0, 0))]
    return functional.pad(x, flat, value=0.0 if value is None else value)


@operator("Expand")
def _expand(inputs: Inputs, attributes: Attributes) -> Any:
    del attributes
    x, shape = some(inputs[0]), some(inputs[1]).tolist()
    return x.expand(torch.broadcast_shapes(x.shape, tuple(shape)))


@operator("DepthToSpace")
def _depth_to_space(inputs: Inputs, attributes: Attributes) -> Any:
    x, size = some(inputs[0]), attributes["blocksize"]
    batch, channels, height, width = x.shape
    if attributes.get("mode", "DCR") == "CRD":
        return functional.pixel_shuffle(x, size)
    x = x.reshape((batch, size, size, channels // size**2, height, width)).permute((0, 3, 4, 1, 5, 2))
    return x.reshape(batch, channels // size**2, height * size, width * size)


@operator("Constant")
def _constant(inputs: Inputs, attributes: Attributes) -> Any:
    del inputs
    return attributes["value"]


@operator("ConstantOfShape")
def _constant_of_shape(inputs: Inputs, attributes: Attributes) -> Any:
    value = attributes.get("value", torch.zeros(1))
    return torch.full(some(inputs[0]).tolist(), value.item(), dtype=value.dtype)


@operator("Range")
def _range(inputs: Inputs, attributes: Attributes) -> Any:
    del attributes
    start, limit, step = (some(value).item() for value in inputs)
    return torch.arange(start, limit, step, dtype=some(inputs[0]).dtype)


@operator("Trilu")
def _trilu(inputs: Inputs, attributes: Attributes) -> Any:
    diagonal = int(number(inputs, {}, 1, "k") or 0)
    return (torch.triu if attributes.get("upper", 1) else torch.tril)(some(inputs[0]), diagonal)


@operator("GatherElements")
def _gather_elements(inputs: Inputs, attributes: Attributes) -> Any:
    x, places = together(inputs)
    axis = attributes.get("axis", 0) % x.ndim
    return x.gather(axis, places.long() % x.shape[axis])


@operator("GatherND")
def _gather_nd(inputs: Inputs, attributes: Attributes) -> Any:
    if attributes.get("batch_dims", 0):
        raise NotImplementedError("GatherND with batch_dims")
    x, places = together(inputs)
    return x[tuple(places.long().movedim(-1, 0))]
