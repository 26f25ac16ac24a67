"""Operators that compute each value from those in its place, as differentiable functions of PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from netsurgeon.models.onnx_module.registry import Attributes, Inputs, number, operator, some, together


def _unary(name: str, function: Callable[[Any], Tensor]) -> None:
    operator(name)(lambda inputs, attributes: function(inputs[0]))


for _name, _function in {
    "Abs": torch.abs,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Dropout": lambda x: x,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": functional.hardswish,
    "Identity": lambda x: x,
    "Log": torch.log,
    "Mish": functional.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Sin": torch.sin,
    "Softplus": functional.softplus,
    "Sqrt": torch.sqrt,
    "Tanh": torch.tanh,
}.items():
    _unary(_name, _function)


def _binary(name: str, function: Callable[[Any, Any], Tensor]) -> None:
    def fold(inputs: Inputs, attributes: Attributes) -> Any:
        del attributes
        result, *others = together(inputs)
        for other in others:
            result = function(result, other)
        return result

    operator(name)(fold)


_FOLDED: dict[str, Callable[[Any, Any], Tensor]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "Div": lambda a, b: torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc"),
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Max": torch.maximum,
    "Min": torch.minimum,
    "Mul": torch.mul,
    "Pow": torch.pow,
    "PRelu": lambda x, slope: torch.where(x >= 0, x, slope * x),
    "Sub": torch.sub,
    "Sum": torch.add,
}
for _name, _two in _FOLDED.items():
    _binary(_name, _two)


@operator("Clip")
def _clip(inputs: Inputs, attributes: Attributes) -> Any:
    low, high = number(inputs, attributes, 1, "min"), number(inputs, attributes, 2, "max")
    return inputs[0] if low is None and high is None else torch.clamp(some(inputs[0]), low, high)


@operator("Elu")
def _elu(inputs: Inputs, attributes: Attributes) -> Any:
    return functional.elu(some(inputs[0]), attributes.get("alpha", 1.0))


@operator("LeakyRelu")
def _leaky_relu(inputs: Inputs, attributes: Attributes) -> Any:
    return functional.leaky_relu(some(inputs[0]), attributes.get("alpha", 0.01))


@operator("HardSigmoid")
def _hard_sigmoid(inputs: Inputs, attributes: Attributes) -> Any:
    return torch.clamp(attributes.get("alpha", 0.2) * some(inputs[0]) + attributes.get("beta", 0.5), 0.0, 1.0)


@operator("Gelu")
def _gelu(inputs: Inputs, attributes: Attributes) -> Any:
    return functional.gelu(some(inputs[0]), approximate=attributes.get("approximate", "none"))


@operator("Where")
def _where(inputs: Inputs, attributes: Attributes) -> Any:
    del attributes
    condition, one, other = together(inputs)
    return torch.where(condition, one, other)


@operator("Cast")
def _cast(inputs: Inputs, attributes: Attributes) -> Any:
    return some(inputs[0]).to(attributes["to"])
