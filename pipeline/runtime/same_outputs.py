"""Whether two models give the same outputs: within a tolerance, or to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.runtime.large_models import Feed
from netsurgeon.pipeline.runtime.session import Runtime

TOLERANCE = 1e-4
"""Largest difference, relative to the output's scale, between the model as given and its normal form."""


def same_bits(expected: ir.Model, actual: ir.Model, feed: Feed, runtime: Runtime) -> Message | None:
    """None when both models give the same bytes on `feed`; else outputs-differ, or model-fails where `actual` does.

    Args:
        expected: the model whose outputs count.
        actual: the other one, with inputs and outputs of the same names.
        feed: an input of both.
        runtime: how sessions are made.

    Raises:
        CheckFailedError: `expected` cannot run on `feed`.
    """

    def complaint(name: str, value: object, other: object) -> Message | None:
        if _equal_bytes(value, other):
            return None
        text = f"output {name!r} of the packed model is not equal to the unpacked one to the last bit"
        return Message(text, "outputs-differ", output=name, difference=relative_difference(value, other), tolerance=0.0)

    return _first_complaint(runtime.session(expected).run(feed), actual, feed, runtime, complaint)


def verify_same(
    expected: ir.Model, actual: ir.Model, feed: Feed, runtime: Runtime, tolerance: float = TOLERANCE
) -> Message | None:
    """None when both models give the same outputs on `feed`; else outputs-differ, or model-fails where `actual` does.

    Args:
        expected: the model whose outputs count.
        actual: the other one, with inputs and outputs of the same names.
        feed: an input of both.
        runtime: how sessions are made.
        tolerance: largest difference allowed, as a share of an output's scale.

    Raises:
        CheckFailedError: `expected` cannot run on `feed`.
    """
    return verify_outputs(runtime.session(expected).run(feed), actual, feed, runtime, tolerance)


def verify_outputs(
    expected: Mapping[str, object], actual: ir.Model, feed: Feed, runtime: Runtime, tolerance: float = TOLERANCE
) -> Message | None:
    """None when a model gives the expected outputs on `feed`; else outputs-differ, or model-fails."""

    def complaint(name: str, value: object, other: object) -> Message | None:
        difference = relative_difference(value, other)
        if difference <= tolerance:
            return None
        text = _exact_difference(name, value, other)
        text = text or f"output {name!r} differs by {difference:.2g} of its scale, allowed {tolerance:.2g}"
        return Message(text, "outputs-differ", output=name, difference=difference, tolerance=tolerance)

    return _first_complaint(expected, actual, feed, runtime, complaint)


def _first_complaint(
    expected: Mapping[str, object],
    actual: ir.Model,
    feed: Feed,
    runtime: Runtime,
    complaint: Callable[[str, object, object], Message | None],
) -> Message | None:
    """Run a model and compare output by output; a model that cannot run is the complaint."""
    try:
        others = runtime.session(actual).run(feed)
    except CheckFailedError as error:
        return Message(str(error), "model-fails")
    problems = (complaint(name, value, others[name]) for name, value in expected.items())
    return next((problem for problem in problems if problem is not None), None)


def _exact_difference(name: str, expected: object, actual: object) -> str | None:
    """How many entries differ, of outputs that have no scale: texts, integers, truth values; None for others."""
    if not isinstance(expected, np.ndarray) or not isinstance(actual, np.ndarray) or expected.dtype.kind in "fc":
        return None
    if expected.dtype != actual.dtype or expected.shape != actual.shape:
        return None
    return f"output {name!r} differs in {np.count_nonzero(expected != actual)} of {expected.size} entries"


def _equal_bytes(expected: object, actual: object) -> bool:
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(_equal_bytes, expected, actual))
    if isinstance(expected, dict) and isinstance(actual, dict):
        return expected.keys() == actual.keys() and all(_equal_bytes(expected[key], actual[key]) for key in expected)
    if not isinstance(expected, np.ndarray) or not isinstance(actual, np.ndarray):
        return type(expected) is type(actual) and repr(expected) == repr(actual)
    if expected.dtype != actual.dtype or expected.shape != actual.shape:
        return False
    if expected.dtype.hasobject:  # texts, whose bytes here are addresses
        return np.array_equal(expected, actual)
    return expected.tobytes() == actual.tobytes()


def relative_difference(expected: object, actual: object) -> float:
    """Largest absolute difference over the largest magnitude expected; infinite for other shapes or types."""
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        return max((relative_difference(a, b) for a, b in zip(expected, actual, strict=True)), default=0.0)
    if isinstance(expected, dict) and isinstance(actual, dict) and expected.keys() == actual.keys():
        return relative_difference(np.array(list(expected.values())), np.array([actual[key] for key in expected]))
    if not isinstance(expected, np.ndarray) or not isinstance(actual, np.ndarray):
        return 0.0 if type(expected) is type(actual) and expected == actual else np.inf
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        return np.inf
    if expected.dtype.kind not in "fc" or expected.size == 0:
        return 0.0 if np.array_equal(expected, actual) else np.inf
    # float64, so that the difference of two huge float32 numbers neither overflows nor rounds to nothing.
    wide, other = (array.astype(np.result_type(array, np.float64)) for array in (expected, actual))
    # Equal infinities and NaN at the same place agree: such a model is broken in the same way before and after.
    same = (wide == other) | (np.isnan(wide) & np.isnan(other))
    finite = np.isfinite(wide)
    if not np.all(same | (finite & np.isfinite(other))):
        return np.inf
    scale = float(np.max(np.abs(wide[finite]), initial=0.0))
    gap = float(np.max(np.abs(np.where(same, 0.0, np.where(finite, wide, 0.0) - np.where(finite, other, 0.0)))))
    return gap / scale if scale else (0.0 if gap == 0.0 else np.inf)
