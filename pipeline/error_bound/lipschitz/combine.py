"""Operators that combine several operands elementwise, and the activations that are a product of x and its gate."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from netsurgeon.pipeline.error_bound.lipschitz.step import Extents, NoConstantError, Rule, Step, constant_of
from netsurgeon.pipeline.error_bound.lipschitz.unary import MISH_SLOPE, SILU_SLOPE, largest


def _sum(step: Step) -> float:
    return sum(step.broadcast_error(index) for index in range(len(step.errors)))


def _mean(step: Step) -> float:
    return _sum(step) / len(step.errors)


def _extreme(step: Step) -> float:
    """|max(a, b) − max(ã, b̃)|² ≤ |a − ã|² + |b − b̃|²."""
    return math.hypot(*(step.broadcast_error(index) for index in range(len(step.errors))))


def _concat(step: Step) -> float:
    return math.hypot(*step.errors)


def _select(step: Step) -> float:
    """Every result is taken from one of two operands, chosen by what is equal in both models."""
    chooser = 0 if step.node.op_type == "Where" else 1
    if step.errors[chooser]:
        raise NoConstantError("what it selects depends on compressed layers")
    if step.text("reduction", "none") != "none":
        raise NoConstantError("it combines updates")
    if chooser:
        return math.hypot(step.errors[0], step.errors[2])
    return math.hypot(step.broadcast_error(1), step.broadcast_error(2))


def _multiply(step: Step) -> float:
    wrong = step.perturbed_inputs()
    if len(wrong) == 2:
        return _gated(step)
    factor = step.constant(1 - wrong[0])
    if factor is None:
        raise NoConstantError("its factor is computed while the model runs")
    return largest(factor) * step.broadcast_error(wrong[0])


def _divide(step: Step) -> float:
    if 1 in step.perturbed_inputs():
        raise NoConstantError("its divisor depends on compressed layers")
    divisor = step.needed(1)
    if not divisor.all():
        raise NoConstantError("it divides by 0")
    return largest(1 / divisor) * step.broadcast_error(0)


def _gated(step: Step) -> float:
    """Error of x · gate(x), where that is a known activation of x; any other product of activations has no constant."""
    for data, gate in ((0, 1), (1, 0)):
        slope = _gate_slope(step.operand(data), step.operand(gate).producer())
        # A gate whose own constants were compressed carries more error than x through its slope: not this pattern.
        if slope is not None and step.errors[gate] <= step.errors[data]:
            return slope * step.errors[data]
    raise NoConstantError("it is a product of two activations")


def _gate_slope(data: ir.Value, gate: ir.Node | None) -> float | None:
    if gate is None:
        return None
    inner = gate.inputs[0].producer() if gate.inputs[0] is not None else None
    if gate.op_type == "Sigmoid" and gate.inputs[0] is data:
        return SILU_SLOPE
    if gate.op_type == "Tanh" and inner is not None and inner.op_type == "Softplus" and inner.inputs[0] is data:
        return MISH_SLOPE
    if gate.op_type == "HardSigmoid" and gate.inputs[0] is data:
        view = Step(gate, (), Extents({}))
        offset = view.number("beta", 0.5)
        return max(1.0, abs(offset), abs(2.0 - offset))
    if gate.op_type == "Clip" and inner is not None and inner.op_type == "Add":
        return _shifted_clip_slope(data, inner, Step(gate, (), Extents({})))
    return None


def _shifted_clip_slope(data: ir.Value, shift: ir.Node, clip: Step) -> float | None:
    """Slope of x · clip(x + c, low, high): low, then 2x + c, then high."""
    others = [value for value in shift.inputs if value is not data]
    offset = constant_of(others[0]) if len(others) == 1 else None
    low, high = clip.constant(1), clip.constant(2)
    if clip.opset < 11:
        low, high = np.array(clip.number("min", -math.inf)), np.array(clip.number("max", math.inf))
    if offset is None or offset.size != 1 or low is None or high is None:
        return None
    middle, bottom, top = float(offset.item()), float(low), float(high)
    slope = max(abs(bottom), abs(top), abs(2 * bottom - middle), abs(2 * top - middle))
    return slope if math.isfinite(slope) else None


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Add", "Sub", "Sum"), _sum),
    "Mean": _mean,
    **dict.fromkeys(("Max", "Min"), _extreme),
    "Concat": _concat,
    **dict.fromkeys(("Where", "ScatterND", "ScatterElements", "Scatter"), _select),
    "Mul": _multiply,
    "Div": _divide,
}
