"""What trimming has to know of a model that only a run shows: the shape of every value, and small computed integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.axes import Observation
from netsurgeon.pipeline.runtime.session import Runtime

MOST_INTEGERS = 64
"""Larger integer values are data, not sizes."""

VALUES_AT_ONCE = 200
"""Outputs of the first run: all values of a deep graph at once could fill the memory."""

SMALL_RUN = 64_000_000
"""Bytes of outputs up to which the next run has four times as many: with equal runs, time grows with the square."""


def observe(model: ir.Model, feed: Mapping[str, Any], runtime: Runtime) -> Observation:
    """Run a model once, a part of its values at a time, and note their shapes.

    Args:
        model: what is to be trimmed; it is not changed.
        feed: inputs by name; two samples, where the batch is dynamic, keep the batch apart from axes of size 1.
        runtime: how sessions are made.

    Raises:
        CheckFailedError: the model cannot run on the feed.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    integers: dict[str, np.typing.NDArray[np.int64]] = {}
    names = [value.name for node in model.graph for value in node.outputs if value.name]
    for name, array in feed.items():
        shapes[name] = tuple(np.shape(array))
    start, at_once = 0, VALUES_AT_ONCE
    while start < len(names):
        size = 0
        for name, value in _run(model, names[start : start + at_once], feed, runtime).items():
            if isinstance(value, np.ndarray):
                shapes[name] = value.shape
                size += value.nbytes
                if value.dtype.kind in "iu" and value.size <= MOST_INTEGERS:
                    integers[name] = value.astype(np.int64)
        start += at_once
        at_once = 4 * at_once if size <= SMALL_RUN else VALUES_AT_ONCE
    return Observation(shapes, integers)


def _run(model: ir.Model, names: list[str], feed: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    return runtime.session(tapped(model, names), optimise=False).run(feed, names)


def tapped(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A clone with inner values as further outputs."""
    clone = model.clone()
    values = {value.name: value for node in clone.graph for value in node.outputs}
    output_names = {value.name for value in clone.graph.outputs}
    clone.graph.outputs.extend(values[name] for name in names if name in values and name not in output_names)
    for name in names:
        if name in values:
            values[name].shape = None  # as noted by the exporter, it may be wrong
    return clone
