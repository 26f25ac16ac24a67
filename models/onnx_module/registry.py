"""The register of ONNX operators that can be trained, and what the functions in it have in common.

A function takes the node's inputs (None for one left out) and attributes and gives its output, or a tuple of them.
Constants that moved from attributes to inputs from one version to the next are looked for in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

Attributes = Mapping[str, Any]
Inputs = Sequence[Tensor | None]
Operator = Callable[[Inputs, Attributes], Any]

OPERATORS: dict[str, Operator] = {}


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Register a function for these operators, each once; another domain stands in front ("com.microsoft.Gelu")."""

    def register(function: Operator) -> Operator:
        for name in names:
            if name in OPERATORS:
                raise KeyError(f"{name} is registered twice")
            OPERATORS[name] = function
        return function

    return register


def some(x: Tensor | None) -> Tensor:
    """An input that every node of the operator has."""
    assert x is not None
    return x


def given(inputs: Inputs, attributes: Attributes, place: int, name: str) -> Any:
    """A constant as Python numbers, from an input or an attribute; None where neither is there."""
    value = inputs[place] if len(inputs) > place else None
    return attributes.get(name) if value is None else value.tolist()


def number(inputs: Inputs, attributes: Attributes, place: int, name: str) -> Any:
    """The same for one number, which some exporters write as an array of one."""
    value = given(inputs, attributes, place, name)
    return value[0] if isinstance(value, list) else value


def together(inputs: Inputs) -> list[Any]:
    """The inputs on one device: constants that are no floats, and what follows from them, wait on the CPU.

    There they are read where they say a shape; here they meet values.
    """
    device = next((x.device for x in inputs if x is not None and x.device.type != "cpu"), None)
    return [x if x is None or device is None else x.to(device) for x in inputs]
