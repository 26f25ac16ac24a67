"""Axes through elementwise operators, reductions, softmax and pooling."""

from __future__ import annotations

from netsurgeon.passes.axes.declare import NodeAxes, UndeclaredError, operator
from netsurgeon.passes.axes.labels import Axis


def broadcast(scope: NodeAxes, inputs: list[tuple[Axis, ...]]) -> list[Axis]:
    """Join the axes of operands as broadcasting pairs them; axes of size 1 do not join."""
    rank = max(len(axes) for axes in inputs)
    result: list[Axis] = []
    for at in range(rank):
        lined_up = [axes[at - rank + len(axes)] for axes in inputs if at - rank + len(axes) >= 0]
        wide = [axis for axis in lined_up if len(axis) > 1]
        for other in wide[1:]:
            scope.join(wide[0], other)
        result.append(wide[0] if wide else lined_up[0])
    return result


@operator(
    *("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "HardSwish", "Gelu", "Mish", "Swish", "Tanh"),
    *("Softsign", "Erf", "Sin", "Sinh", "Asinh", "Tan", "Atan", "Asin", "Atanh", "Neg", "Abs", "Sqrt", "Sign", "Floor"),
    *("Ceil", "Round", "Identity", "Cast", "Dropout", "Shrink", "com.microsoft.Gelu", "com.microsoft.QuickGelu"),
    zero="first",
)
def _zero_keeping(scope: NodeAxes) -> None:
    axes = scope.axes(0)
    scope.emit(axes, axes)


@operator(
    *("Sigmoid", "HardSigmoid", "Softplus", "Exp", "Log", "Cos", "Cosh", "Acos", "Acosh", "Reciprocal", "Not"),
    *("IsNaN", "IsInf", "Clip", "BitwiseNot", "CastLike"),
)
def _unary(scope: NodeAxes) -> None:
    scope.emit(scope.axes(0))


@operator(
    *("Add", "Sub", "Sum", "Max", "Min", "Mean", "com.microsoft.BiasGelu", "com.microsoft.FastGelu"),
    zero="all",
)
def _sums(scope: NodeAxes) -> None:
    _elementwise(scope)


@operator("Mul", "And", zero="any")
def _product(scope: NodeAxes) -> None:
    _elementwise(scope)


@operator("Div", "PRelu", "Mod", zero="first")
def _first_counts(scope: NodeAxes) -> None:
    _elementwise(scope)


@operator(
    *("Pow", "Where", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Or", "Xor"),
    *("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift"),
)
def _others(scope: NodeAxes) -> None:
    _elementwise(scope)


def _elementwise(scope: NodeAxes) -> None:
    scope.emit(broadcast(scope, [scope.axes(index) for index in range(len(scope.node.inputs))]))


# ------------------------------------------------------------------------------------------------ reductions
def _places(scope: NodeAxes, axes: tuple[int, ...] | None) -> set[int]:
    """Axes as numbers from 0; None and nothing stand for all of them."""
    rank = len(scope.shape(0))
    return {axis % rank for axis in axes} if axes else set(range(rank))


@operator(*(f"Reduce{kind}" for kind in ("Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp")))
def _reduce(scope: NodeAxes) -> None:
    axes_input = scope.numbers(1, "axes")
    if not axes_input and scope.node.attributes.get_int("noop_with_empty_axes", 0) == 1:
        scope.emit(scope.axes(0))
        return
    _collapse(scope, _places(scope, axes_input))


@operator("ReduceSumSquare")
def _reduce_square(scope: NodeAxes) -> None:
    _collapse(scope, _places(scope, scope.numbers(1, "axes")))


@operator("ArgMax", "ArgMin")
def _arg(scope: NodeAxes) -> None:
    _collapse(scope, _places(scope, (scope.node.attributes.get_int("axis", 0),)))


def _collapse(scope: NodeAxes, reduced: set[int]) -> None:
    axes = scope.axes(0)
    scope.freeze((axes[at] for at in reduced), "it reduces over the axis")
    if scope.node.attributes.get_int("keepdims", 1):
        scope.emit([scope.fixed(1) if at in reduced else axis for at, axis in enumerate(axes)])
    else:
        scope.emit([axis for at, axis in enumerate(axes) if at not in reduced])


@operator("TopK")
def _top_k(scope: NodeAxes) -> None:
    axes = list(scope.axes(0))
    at = scope.node.attributes.get_int("axis", -1) % len(axes)
    scope.freeze([axes[at]], "it ranks along the axis")
    axes[at] = scope.fixed(scope.output_shape(0)[at])
    scope.emit(axes, axes)


# ------------------------------------------------------------------------------------------------ along an axis
@operator("Softmax", "LogSoftmax", "Hardmax")
def _softmax(scope: NodeAxes) -> None:
    axes = scope.axes(0)
    if scope.opset >= 13:
        normalised = [axes[scope.node.attributes.get_int("axis", -1)]]
    else:
        normalised = list(axes[scope.node.attributes.get_int("axis", 1) % max(len(axes), 1) :])
    scope.freeze(normalised, "it normalises over the axis")
    scope.emit(axes)


@operator("LpNormalization")
def _lp_normalization(scope: NodeAxes) -> None:
    _freeze_one(scope, scope.node.attributes.get_int("axis", -1), "it normalises over the axis")


@operator("CumSum")
def _cumulative(scope: NodeAxes) -> None:
    (at,) = scope.numbers(1) or (0,)
    _freeze_one(scope, at, "it sums up along the axis")


@operator("LRN")
def _local_response(scope: NodeAxes) -> None:
    _freeze_one(scope, 1, "it normalises over neighbouring channels")


def _freeze_one(scope: NodeAxes, at: int, text: str) -> None:
    axes = scope.axes(0)
    scope.freeze([axes[at]], text)
    scope.emit(axes)


@operator("MeanVarianceNormalization")
def _mean_variance(scope: NodeAxes) -> None:
    axes = scope.axes(0)
    scope.freeze((axes[at] for at in _places(scope, scope.numbers(1, "axes") or (0, 2, 3))), "it normalises over it")
    scope.emit(axes)


# ------------------------------------------------------------------------------------------------ over space
@operator(*(f"{window}{kind}Pool" for window in ("", "Global") for kind in ("Max", "Average", "Lp")), zero="first")
def _pool(scope: NodeAxes) -> None:
    if any(value.uses() or value.is_graph_output() for value in scope.node.outputs[1:]):
        raise UndeclaredError("its indices run over channels too")
    axes = scope.axes(0)
    scope.freeze(axes[2:], "")
    result = [*axes[:2], *(scope.fixed(extent) for extent in scope.output_shape()[2:])]
    scope.emit(*[result] * len(scope.node.outputs))
