"""Prove that a trimmed model is the function of its masked model: on real inputs, in ONNX Runtime."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from netsurgeon.pipeline.observe import tapped
from netsurgeon.pipeline.runtime import Feed, Runtime

TOLERANCES = {"float16": 1e-2, "float32": 1e-4, "float64": 1e-4}
"""Largest difference relative to an output's scale."""
DISCRETE = ("ArgMax", "ArgMin", "TopK", "NonMaxSuppression")
"""A tiny difference of their inputs may swap what they answer: they are compared at their inputs."""


@dataclasses.dataclass(frozen=True)
class Proof:
    """Masked against trimmed model.

    Attributes:
        holds: whether they agree, with ONNX Runtime's graph optimisation off and on.
        reason: where they do not.
        error: largest difference of a value, relative to the value's scale.
        inputs: feeds they were run on.
        values: what was compared.
        constant: values that are the same for all inputs: their agreement proves little.
    """

    holds: bool
    reason: str
    error: float
    inputs: int
    values: tuple[str, ...]
    constant: tuple[str, ...]


def prove(masked: ir.Model, trimmed: ir.Model, feeds: Sequence[Feed], runtime: Runtime) -> Proof:
    """Run both models on the same inputs, with graph optimisation off and on.

    Raises:
        CheckFailedError: ONNX Runtime cannot load or run one of them.
    """
    names = compared(masked)
    error, reason, constant = 0.0, "", ()
    for optimise in (False, True):
        runs = []
        for model in (masked, trimmed):
            session = runtime.session(tapped(model, names), optimise=optimise)
            runs.append([session.run(feed, names) for feed in feeds])
        constant = tuple(name for name in names if not _varies([run[name] for run in runs[0]]))
        for name in names:
            found, tolerance = _distance([run[name] for run in runs[0]], [run[name] for run in runs[1]])
            error = max(error, found)
            if not found <= tolerance:
                state = "on" if optimise else "off"
                reason = reason or f"{name!r} differs by {found:.2g} of its scale with optimisation {state}"
    return Proof(not reason, reason, error, sum(map(_count, feeds)), tuple(names), constant)


def compared(model: ir.Model) -> list[str]:
    """Names of the values to compare: the outputs, and what goes into operators with discrete answers."""
    names = {}
    for value in model.graph.outputs:
        names[value.name or ""] = None
    for node in model.graph:
        if node.op_type in DISCRETE:
            for output in node.outputs:
                names.pop(output.name or "", None)
            for value in node.inputs[:2]:
                if value is not None and value.name and value.const_value is None:
                    names[value.name] = None
    return [name for name in names if name]


def _count(feed: Mapping[str, Any]) -> int:
    return max((len(array) for array in feed.values() if np.ndim(array)), default=1)


def _varies(values: Sequence[Any]) -> bool:
    arrays = [np.asarray(value) for value in values]
    rows = [row for array in arrays for row in (array if array.ndim else array[None])]
    return any(row.shape != rows[0].shape or not np.array_equal(row, rows[0], equal_nan=True) for row in rows[1:])


def _distance(expected: Sequence[Any], found: Sequence[Any]) -> tuple[float, float]:
    """Largest difference relative to the scale, and the largest that is allowed."""
    tolerance, worst = 0.0, 0.0
    arrays = [np.asarray(each) for each in expected]
    finite = [array[np.isfinite(array)] for array in arrays if array.dtype.kind == "f"]
    scale = max((float(np.abs(each).max(initial=0.0)) for each in finite), default=0.0) or 1.0
    for one, other in zip(arrays, map(np.asarray, found), strict=True):
        if one.shape != other.shape or one.dtype != other.dtype:
            return np.inf, 0.0
        if one.dtype.kind != "f":
            worst = max(worst, float(not np.array_equal(one, other)))
            continue
        tolerance = TOLERANCES.get(str(one.dtype), 1e-2)
        usable = np.isfinite(one)
        if not np.array_equal(usable, np.isfinite(other)):
            return np.inf, tolerance
        difference = np.abs(one[usable].astype(np.float64) - other[usable])
        worst = max(worst, float(difference.max(initial=0.0)) / scale)
    return worst, tolerance
