"""Padding, gathering and resampling: an input counts as often as it is copied."""

from __future__ import annotations

import math

import numpy as np

from netsurgeon.pipeline.error_bound.lipschitz.step import Array, Extent, NoConstantError, Rule, Step

SAME_PLACE = 1e-4
"""Resampled positions this close to a boundary between two sources may fall to either."""


def _pad(step: Step) -> float:
    mode = step.text("mode", "constant")
    error = step.error_of_single_input()
    if mode == "constant":
        return error
    attribute = step.integers("pads", step.integers("paddings", ()))
    pads = np.array(attribute) if attribute else step.needed(1)
    before, after = np.maximum(pads.reshape(2, -1), 0)
    if mode == "reflect":
        copies = 1.0 + (before > 0) + (after > 0)
    elif mode == "edge":
        copies = 1.0 + before + after
    else:
        raise NoConstantError(f"padding mode {mode!r} has none")
    return math.sqrt(float(np.prod(copies))) * error


def _gather(step: Step) -> float:
    error = step.error_of_single_input()
    indices = step.constant(1)
    if indices is None:
        sizes = (math.prod(shape) for (shape,) in step.extents.cases(step.operand(1)))
        return math.sqrt(max(sizes, default=0)) * error
    shape, axis = step.extents.inferred(step.operand(0)), step.integer("axis", 0)
    extent = shape[axis] if shape is not None else None
    if isinstance(extent, int):
        return math.sqrt(_most_frequent(indices % extent)) * error
    # From the front and from the back: without the extent they may meet.
    return math.sqrt(_most_frequent(indices[indices >= 0]) + _most_frequent(indices[indices < 0])) * error


def _most_frequent(values: Array) -> int:
    return int(np.unique(values, return_counts=True)[1].max(initial=0))


def _resize(step: Step) -> float:
    mode = step.text("mode", "nearest")
    if mode not in ("nearest", "linear", "bilinear") or step.integer("antialias", 0):
        raise NoConstantError(f"its mode {mode!r} has none")
    if step.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise NoConstantError("its keep_aspect_ratio_policy is not analysed")
    error, worst = step.error_of_single_input(), 0.0
    for inner, outer in step.extents.cases(step.operand(0), step.output):
        scales = _scales(step, inner, outer)
        axes = zip(inner, outer, scales, strict=True)
        worst = max(worst, math.prod(_column_sum(step, *axis) for axis in axes))
    return math.sqrt(worst) * error


def _scales(step: Step, inner: Extent, outer: Extent) -> list[float]:
    ratios = [o / max(i, 1) for i, o in zip(inner, outer, strict=True)]
    attribute = step.node.attributes.get("scales")
    place = 2 if step.node.op_type == "Resize" and step.opset >= 11 else 1
    value = step.node.inputs[place] if place < len(step.node.inputs) else None
    if attribute is not None:
        scales = [float(scale) for scale in attribute.as_floats()]
    elif value is None:
        return ratios
    else:
        scales = [float(scale) for scale in step.needed(place).ravel()]
    if not scales:
        return ratios
    for axis, scale in zip(step.integers("axes", tuple(range(len(ratios)))), scales, strict=True):
        ratios[axis] = scale
    return ratios


def _column_sum(step: Step, inner: int, outer: int, scale: float) -> float:
    """Most copies of one input along an axis, or for linear interpolation its largest total weight."""
    if inner == outer and scale == 1.0:
        return 1.0
    places = _sources(step, inner, outer, scale)
    if step.text("mode", "nearest") == "nearest":
        return _most_copies(step, places, inner, scale)
    places = np.clip(places, 0, inner - 1)
    low = np.floor(places).astype(np.int64)
    high, share = np.minimum(low + 1, inner - 1), places - low
    sums = np.bincount(low, 1 - share, minlength=inner) + np.bincount(high, share, minlength=inner)
    return max(float(sums.max(initial=0.0)), 0.0)


def _sources(step: Step, inner: int, outer: int, scale: float) -> Array:
    """Where in the input each output of an axis is taken from."""
    modern = step.node.op_type == "Resize" and step.opset >= 11
    transform = step.text("coordinate_transformation_mode", "half_pixel") if modern else "asymmetric"
    index = np.arange(outer, dtype=np.float64)
    if transform == "asymmetric":
        return index / scale
    if transform == "align_corners":
        return index * ((inner - 1) / (outer - 1)) if outer > 1 else index * 0
    if transform == "half_pixel" or (transform == "pytorch_half_pixel" and outer > 1):
        return (index + 0.5) / scale - 0.5
    if transform == "pytorch_half_pixel":
        return index * 0
    raise NoConstantError(f"its coordinates {transform!r} are not analysed")


def _most_copies(step: Step, places: Array, inner: int, scale: float) -> float:
    modern = step.node.op_type == "Resize" and step.opset >= 11
    rounding = step.text("nearest_mode", "round_prefer_floor") if modern else "ceil" if scale < 1 else "floor"
    shift, take = {
        "floor": (0.0, np.floor),
        "ceil": (0.0, np.ceil),
        "round_prefer_floor": (-0.5, np.ceil),
        "round_prefer_ceil": (0.5, np.floor),
    }[rounding]
    # Whole scales divide exactly; other quotients may round to either side of a boundary.
    slack = 0.0 if scale.is_integer() else SAME_PLACE
    ends = [np.clip(take(places + shift + side), 0, inner - 1) for side in (-slack, slack)]
    low, high = (end.astype(np.int64) for end in ends)
    counts = np.bincount(low, minlength=inner) + np.bincount(high[high != low], minlength=inner)
    return float(counts.max(initial=0))


RULES: dict[str, Rule] = {"Pad": _pad, "Gather": _gather, "Resize": _resize, "Upsample": _resize}
