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
    """Bytes a weight at each of DENSITIES; which weights are 0, and what the others are, does not matter to them."""
    rng = np.random.default_rng(0)
    order = rng.permutation(SAMPLE)
    values = rng.normal(size=SAMPLE).astype(np.float32)
    if most is not None:
        values = (rng.integers(1, most, SAMPLE, endpoint=True) * rng.choice((-1, 1), SAMPLE)).astype(np.int8)
    return tuple(_packed_bytes(np.where(order < density * SAMPLE, values, 0)) / SAMPLE for density in DENSITIES)


def _packed_bytes(values: np.ndarray) -> int:
    weight = ir.Value(name="weight", const_value=ir.tensor(values, name="weight"))
    node = ir.node("Identity", [weight])
    graph = ir.Graph([], node.outputs, nodes=[node], initializers=[weight], opset_imports={"": OPSET})
    packings = plan_packing(ir.Model(graph, ir_version=8))
    return packings[0].bytes_after if packings else values.nbytes
