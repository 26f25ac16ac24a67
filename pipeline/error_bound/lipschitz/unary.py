"""Operators on one operand that carries an error, elementwise or not, each with a constant of its own."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from netsurgeon.pipeline.error_bound.lipschitz.step import Array, NoConstantError, Rule, Step

SILU_SLOPE = 1.1
MISH_SLOPE = 1.09
ERF_SLOPE = 2 / math.sqrt(math.pi)
_STEEPEST = {
    1.0: ("Relu", "Clip", "Tanh", "Softmax", "Abs", "Neg", "Sin", "Cos", "Atan", "Asinh", "Softplus", "Softsign"),
    SILU_SLOPE: ("Swish", "com.microsoft.QuickGelu"),
    MISH_SLOPE: ("Mish",),
    1.13: ("Gelu", "com.microsoft.Gelu", "com.microsoft.FastGelu"),
    1.5: ("HardSwish",),
    0.25: ("Sigmoid",),
    ERF_SLOPE: ("Erf",),
}
_MOVES = (
    *("Identity", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "DepthToSpace", "SpaceToDepth"),
    *("Slice", "Split", "Compress", "ReverseSequence", "Trilu"),
)
"""Operators that put every element in at most one place."""
_SHRINKS = ("GlobalMaxPool", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceLogSumExp", "TopK")
"""Each result changes by at most the norm of the change of the elements it was taken from (for TopK, of all)."""


def largest(array: Array) -> float:
    """The largest magnitude, 0 for an empty array."""
    return float(np.abs(array).max(initial=0.0))


def _at_most(slope: float) -> Rule:
    return lambda step: slope * step.error_of_single_input()


def _times(slope: Callable[[Step], float]) -> Rule:
    return lambda step: slope(step) * step.error_of_single_input()


def _root_copies(step: Step) -> float:
    """The root of how often each element is copied, or for a mean of n elements of 1 / n."""
    return math.sqrt(step.extents.ratio(step.output, step.operand(0)))


def _root_terms(step: Step) -> float:
    """The root of how many elements are summed into one."""
    return math.sqrt(step.extents.ratio(step.operand(0), step.output))


def _selu(step: Step) -> float:
    alpha, gamma = step.number("alpha", 1.6732632), step.number("gamma", 1.0507010)
    return abs(gamma) * max(1.0, abs(alpha)) * step.error_of_single_input()


def _log_softmax(step: Step) -> float:
    """The Jacobian is I − 1pᵀ, an oblique projection of norm √n ‖p‖ at most."""
    merged = step.opset < 13
    axis = step.integer("axis", 1 if merged else -1)
    shapes = [shape for (shape,) in step.extents.cases(step.operand(0))]
    sizes = (math.prod(shape[axis:]) if merged else shape[axis] for shape in shapes)
    return math.sqrt(max(sizes, default=0)) * step.error_of_single_input()


def _cast(step: Step) -> float:
    target = ir.DataType(step.integer("to", int(ir.DataType.FLOAT)))
    kind = step.output.dtype if step.node.op_type == "CastLike" else target
    if kind is None or not kind.is_floating_point() or kind.bitwidth < 16:
        raise NoConstantError("its result is discrete")
    return step.error_of_single_input()


def _dropout(step: Step) -> float:
    training = step.constant(2)
    if len(step.node.inputs) > 2 and step.node.inputs[2] is not None and (training is None or bool(training)):
        raise NoConstantError("it drops at random")
    return step.error_of_single_input()


def _batch_normalization(step: Step) -> float:
    if step.integer("training_mode", 0):
        raise NoConstantError("it normalises by the batch's own statistics")
    scale, variance = step.needed(1), step.needed(4)
    return largest(scale / np.sqrt(variance + step.number("epsilon", 1e-5))) * step.error_of_single_input()


RULES: dict[str, Rule] = {
    **{operator: _at_most(slope) for slope, operators in _STEEPEST.items() for operator in operators},
    **dict.fromkeys((*_MOVES, *_SHRINKS), _at_most(1.0)),
    "LeakyRelu": _times(lambda step: max(1.0, abs(step.number("alpha", 0.01)))),
    "Elu": _times(lambda step: max(1.0, abs(step.number("alpha", 1.0)))),
    "Celu": _at_most(1.0),
    "HardSigmoid": _times(lambda step: abs(step.number("alpha", 0.2))),
    "PRelu": _times(lambda step: max(1.0, largest(step.needed(1)))),
    **dict.fromkeys(("GlobalAveragePool", "ReduceMean", "Expand", "Tile"), _times(_root_copies)),
    **dict.fromkeys(("ReduceSum", "ReduceL1"), _times(_root_terms)),
    "Selu": _selu,
    "LogSoftmax": _log_softmax,
    "Cast": _cast,
    "CastLike": _cast,
    "Dropout": _dropout,
    "BatchNormalization": _batch_normalization,
}
