"""Windows that slide over an input, and the pools that look through them."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from netsurgeon.pipeline.error_bound.lipschitz.step import Extent, Rule, Step


def windows(step: Step, kernel: Extent, grid: ir.Value) -> list[int]:
    """The most windows one input lies in, an axis each: ⌈k / s⌉, and no more than the grid has positions.

    With dilation d the offsets 0, d, 2d … share a residue modulo the stride s more often: s becomes s / gcd(s, d).
    """
    rank = len(kernel)
    strides, dilations = step.integers("strides", (1,) * rank), step.integers("dilations", (1,) * rank)
    most = [-(-k // (s // math.gcd(s, d))) for k, s, d in zip(kernel, strides, dilations, strict=True)]
    shape = step.extents.inferred(grid)
    if shape is None or len(shape) != rank + 2:
        return most
    return [min(m, extent) if isinstance(extent, int) else m for m, extent in zip(most, shape[2:], strict=True)]


def _max_pool(step: Step) -> float:
    return (
        math.sqrt(math.prod(windows(step, step.integers("kernel_shape", ()), step.output)))
        * step.error_of_single_input()
    )


def _average_pool(step: Step) -> float:
    """Its rows sum to at most 1, so its norm is at most the root of its largest column sum."""
    kernel = step.integers("kernel_shape", ())
    pads = step.integers("pads", (0,) * (2 * len(kernel)))
    plain = step.text("auto_pad", "NOTSET") in ("NOTSET", "VALID") and not step.integer("ceil_mode", 0)
    if plain and (not any(pads) or step.integer("count_include_pad", 0)):
        sums = [m / k for m, k in zip(windows(step, kernel, step.output), kernel, strict=True)]
        return math.sqrt(math.prod(sums)) * step.error_of_single_input()
    cases = step.extents.cases(step.operand(0), step.output)
    largest = (math.prod(_average_sums(step, kernel, inner, outer)) for inner, outer in cases)
    return math.sqrt(max(largest, default=0.0)) * step.error_of_single_input()


def _average_sums(step: Step, kernel: Extent, inner: Extent, outer: Extent) -> list[float]:
    """Largest column sum an axis where windows at the border divide by the inputs they really hold (never fewer)."""
    rank = len(kernel)
    strides, dilations = step.integers("strides", (1,) * rank), step.integers("dilations", (1,) * rank)
    pads, auto = step.integers("pads", (0,) * (2 * rank)), step.text("auto_pad", "NOTSET")
    result = []
    for axis, (size, grid) in enumerate(zip(inner[2:], outer[2:], strict=True)):
        k, s, d = kernel[axis], strides[axis], dilations[axis]
        first = pads[axis]
        if auto.startswith("SAME"):
            total = max((grid - 1) * s + (k - 1) * d + 1 - size, 0)
            first = total // 2 if auto == "SAME_UPPER" else total - total // 2
        places = np.arange(grid)[:, None] * s - first + np.arange(k)[None, :] * d
        inside = (places >= 0) & (places < size)
        shares = np.broadcast_to(1 / np.maximum(inside.sum(axis=1, keepdims=True), 1), inside.shape)
        result.append(float(np.bincount(places[inside], weights=shares[inside], minlength=1).max()))
    return result


RULES: dict[str, Rule] = {"MaxPool": _max_pool, "AveragePool": _average_pool}
