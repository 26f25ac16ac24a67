"""Resize and Upsample as differentiable functions of PyTorch: along one axis after the other, by ONNX's coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from netsurgeon.models.onnx_module.registry import Attributes, Inputs, given, operator, some

ROUNDED: dict[str, Callable[[Tensor], Tensor]] = {
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round_prefer_floor": lambda places: torch.ceil(places - 0.5),
    "round_prefer_ceil": lambda places: torch.floor(places + 0.5),
}


def _places(transformation: str, old: int, new: int, scale: float) -> Tensor:
    """Where in the input each place of the output lies, along one axis."""
    places = torch.arange(new, dtype=torch.float64)
    if transformation == "asymmetric":
        return places / scale
    if transformation == "align_corners":
        return places * ((old - 1) / max(new - 1, 1))
    if transformation == "half_pixel" or (transformation == "pytorch_half_pixel" and new > 1):
        return (places + 0.5) / scale - 0.5
    if transformation == "pytorch_half_pixel":
        return torch.zeros(new, dtype=torch.float64)
    raise NotImplementedError(f"Resize by coordinates of {transformation}")


def _interpolated(x: Tensor, axis: int, places: Tensor, mode: str, nearest: str) -> Tensor:
    last = x.shape[axis] - 1
    if mode == "nearest":
        return x.index_select(axis, ROUNDED[nearest](places).clamp(0, last).long().to(x.device))
    if mode != "linear":
        raise NotImplementedError(f"Resize by {mode}")
    places = places.clamp(0, last)
    low = places.floor()
    share = (places - low).to(x.dtype).view([-1 if at == axis else 1 for at in range(x.ndim)]).to(x.device)
    below, above = (x.index_select(axis, at.clamp(max=last).long().to(x.device)) for at in (low, low + 1))
    return below + (above - below) * share


def _resized(x: Tensor, scales: list[float], sizes: list[int], attributes: Attributes) -> Tensor:
    transformation = attributes.get("coordinate_transformation_mode", "half_pixel")
    mode, nearest = attributes.get("mode", "nearest"), attributes.get("nearest_mode", "round_prefer_floor")
    for axis, (scale, new) in enumerate(zip(scales, sizes, strict=True)):
        if new != x.shape[axis] or scale != 1.0:
            x = _interpolated(x, axis, _places(transformation, x.shape[axis], new, scale), mode, nearest)
    return x


@operator("Resize", "Upsample")
def _resize(inputs: Inputs, attributes: Attributes) -> Any:
    if attributes.get("antialias") or attributes.get("axes") or "keep_aspect_ratio_policy" in attributes:
        raise NotImplementedError("Resize with antialias, axes or keep_aspect_ratio_policy")
    x = some(inputs[0])
    has_all_inputs = attributes["opset"] >= 11  # before it, scales come second, and there is one transformation
    if not has_all_inputs:
        attributes = {**attributes, "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    sizes = given(inputs, {}, 3, "sizes") if has_all_inputs else None
    if sizes:
        return _resized(x, [new / old for new, old in zip(sizes, x.shape, strict=True)], sizes, attributes)
    scales = given(inputs, attributes, 2 if has_all_inputs else 1, "scales")
    return _resized(
        x, scales, [math.floor(old * scale) for old, scale in zip(x.shape, scales, strict=True)], attributes
    )
