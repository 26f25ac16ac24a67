"""Models in PyTorch: the same as in ONNX Runtime, or they are not tuned."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.graph import label
from netsurgeon.passes.quantization import find_integer_weights
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.repair.patterns import Pattern
from netsurgeon.pipeline.runtime import TOLERANCE, Runtime, relative_difference

ROUNDING_SHARE = 0.5
"""Most by which PyTorch and ONNX Runtime may differ where activations become integers, as a share of what integers
change: a sum that differs in its last digit now and then becomes the integer next to it, and so does what follows. On
MobileNet with weights of 4 bits that is 2 % of the outputs in the end, ONNX Runtime's own kernels make it 3 %, and
integers change 8 %."""


def torch_modules(
    dense: ir.Model, model: ir.Model, left_alone: Collection[str], patterns: Mapping[str, Pattern]
) -> tuple[Any, Any]:
    """The dense model and the other one in PyTorch.

    Raises:
        ValueError: an operator is not known there.
    """
    from netsurgeon.models.onnx_module import OnnxModule

    return OnnxModule(ir.to_proto(dense)), OnnxModule(ir.to_proto(model), patterns, frozen_weights(model, left_alone))


def frozen_weights(model: ir.Model, left_alone: Collection[str]) -> set[str]:
    """Names of the weights and biases of nodes with these labels."""
    stay = [node for node in model.graph if label(node) in left_alone]
    biases = [use.node for node in stay for value in node.outputs for use in value.uses() if use.node.op_type == "Add"]
    names = {value.name for node in (*stay, *biases) for value in node.inputs if value is not None and value.name}
    return {name for name in names if name in model.graph.initializers}


def check_same(
    model: ir.Model,
    module: Any,
    feed: Mapping[str, npt.NDArray[Any]],
    runtime: Runtime,
    dense_outputs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Check that PyTorch gives ONNX Runtime's outputs, which are returned.

    Args:
        model: as ONNX Runtime runs it.
        module: the same in PyTorch.
        feed: what both get.
        runtime: of the session.
        dense_outputs: for the same feed; where the model is on integers, what these change is the measure.

    Raises:
        CheckFailedError: it does not.
    """
    from netsurgeon.models.repair import outputs_of

    on_integers = dense_outputs is not None and bool(find_integer_weights(model.graph))
    expected = dict((runtime.on_floats() if on_integers else runtime).session(model).run(feed))
    outputs = outputs_of(module, feed)
    for name, value in expected.items():
        difference, allowed = relative_difference(value, outputs[name]), TOLERANCE
        if on_integers and dense_outputs is not None:
            rounding = _distance(value, dense_outputs[name])
            difference, allowed = _distance(value, outputs[name]), max(ROUNDING_SHARE * rounding, TOLERANCE)
        if not difference <= allowed:
            raise CheckFailedError(
                f"PyTorch and ONNX Runtime differ by {difference:.2g} of an output's scale, allowed {allowed:.2g}"
            )
    return expected


def _distance(expected: Any, actual: Any) -> float:
    """Root mean square difference, relative to that of what is expected; infinite for what cannot be compared."""
    if not isinstance(expected, np.ndarray) or expected.dtype.kind != "f":
        return relative_difference(expected, actual)
    if expected.shape != actual.shape:
        return np.inf
    gap, size = (float(np.sqrt(np.mean(np.square(x, dtype=np.float64)))) for x in (actual - expected, expected))
    return gap / size if size else gap


def write_weights(model: ir.Model, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Give a model the tuned weights."""
    for name, array in arrays.items():
        model.graph.initializers[name].const_value = ir.Tensor(array, name=name)
