"""QuantizeLinear and DequantizeLinear as differentiable functions: gradients pass straight through the rounding.

By the chain rule a scale gets the gradient of LSQ (arXiv 1902.08153, eq. 3) then: from numbers inside the range what
rounding did to them, from clipped ones the integer at which they are clipped.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from netsurgeon.models.onnx_module.registry import Attributes, Inputs, operator, some

LARGEST = 255.0
"""Integers of an activation are from 0, or 128 less, to as many more."""


class _Straight(torch.autograd.Function):
    """One number in the place of another, whose gradient it takes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, becomes: Tensor) -> Tensor:
        del ctx, x
        return becomes.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        del ctx
        return gradients[0], None


class _Slowed(torch.autograd.Function):
    """The same number, with a smaller gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0] * ctx.factor, None


def straight(x: Tensor, becomes: Tensor) -> Tensor:
    """`becomes` exactly, as if it were x for the gradient: straight-through estimation."""
    result: Tensor = _Straight.apply(x, becomes)  # type: ignore[no-untyped-call]
    return result


def slowed(scale: Tensor, counts: float, most: float) -> Tensor:
    """A scale whose gradient is divided by √(n q), so that it is of the size of a weight's (LSQ, section 2.2).

    Args:
        scale: any shape.
        counts: n, the numbers that it is for.
        most: q, the largest integer.
    """
    result: Tensor = _Slowed.apply(scale, (max(counts, 1.0) * most) ** -0.5)  # type: ignore[no-untyped-call]
    return result


def along(scale: Tensor, x: Tensor, axis: int) -> Tensor:
    """A scale or zero point in the shape in which it meets x: one for all, or one an index of the axis."""
    if scale.ndim == 0 or scale.numel() == 1:
        return scale.reshape(())
    return scale.reshape([-1 if at == axis % x.ndim else 1 for at in range(x.ndim)])


def _parameters(inputs: Inputs, attributes: Attributes, x: Tensor) -> tuple[Tensor, Tensor | None]:
    if attributes.get("block_size"):
        raise NotImplementedError("scales of blocks")
    axis, scale = attributes.get("axis", 1), some(inputs[1])
    zero = inputs[2] if len(inputs) > 2 else None
    per_scale = x.numel() / (scale.numel() if scale.numel() > 1 else max(len(x), 1) if x.ndim else 1)
    return along(slowed(scale, per_scale, LARGEST), x, axis), None if zero is None else along(zero, x, axis)


@operator("QuantizeLinear")
def _quantize(inputs: Inputs, attributes: Attributes) -> Any:
    """The integers, as floats."""
    x = some(inputs[0]).float()
    scale, zero = _parameters(inputs, attributes, x)
    limits = torch.iinfo(torch.uint8 if zero is None else zero.dtype)
    ratio = x / scale
    integers = straight(ratio, ratio.round())
    return (integers if zero is None else integers + zero).clamp(limits.min, limits.max)


@operator("DequantizeLinear")
def _dequantize(inputs: Inputs, attributes: Attributes) -> Any:
    x = some(inputs[0]).float()
    scale, zero = _parameters(inputs, attributes, x)
    return (x if zero is None else x - zero) * scale
