"""What a weight takes in the file: asked of packing itself, which chooses between gaps, bitmaps and plain integers."""

from __future__ import annotations

import functools

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.packing import plan_packing
from netsurgeon.passes.solvers import Array

SAMPLE = 1 << 15
"""Weights that are packed to see what one takes; beside so many, what unpacks them hardly counts."""
DENSITIES = np.concatenate([np.geomspace(0.003, 0.25, 12), np.linspace(0.3, 1.0, 15)])
"""Shares of weights that are not 0 of which the price is asked."""
END = 0.99
"""Share of the weights kept that are not clipped."""
OPSET = 13


def bytes_a_weight(density: Array, most: int | None) -> Array:
    """Bytes that a weight takes, zeros included, in a layer of which such a share is not 0, (points,).

    Args:
        density: shares of weights that are not 0, (points,).
        most: largest integer; None = weights are float32.
    """
    return np.interp(density, (0.0, *DENSITIES), (0.0, *_sampled(most)))


@functools.cache
def _sampled(most: int | None) -> tuple[float, ...]:
    """Bytes a weight at each of DENSITIES, of normal weights: the largest stay, and the grid ends at END of them."""
    weights = np.random.default_rng(0).normal(size=SAMPLE).astype(np.float32)
    prices = []
    for density in DENSITIES:
        kept = np.abs(weights) >= np.quantile(np.abs(weights), 1.0 - density)
        values = weights
        if most is not None:
            sizes = np.abs(weights) / np.quantile(np.abs(weights[kept]), END)
            values = (np.sign(weights) * np.clip(np.rint(most * sizes), 1, most)).astype(np.int8)
        prices.append(_packed_bytes(np.where(kept, values, 0).astype(values.dtype)) / SAMPLE)
    return tuple(prices)


def _packed_bytes(values: np.ndarray) -> int:
    weight = ir.Value(name="weight", const_value=ir.tensor(values, name="weight"))
    node = ir.node("Identity", [weight])
    graph = ir.Graph([], node.outputs, nodes=[node], initializers=[weight], opset_imports={"": OPSET})
    packings = plan_packing(ir.Model(graph, ir_version=8))
    return packings[0].bytes_after if packings else values.nbytes
