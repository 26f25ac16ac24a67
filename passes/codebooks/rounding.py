"""Round weights to numbers that take less space in the file."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.codebooks.codebooks import relative_error, round_to_type, rounding_problem
from netsurgeon.passes.graph import FLOATS

Values: TypeAlias = Literal["float16", "float32"]

FLOAT_TOLERANCE = 1e-3
"""Largest relative Frobenius error for which a shorter float is taken; a float16 without subnormals makes 3e-4."""


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """What became of one weight.

    Attributes:
        name: The initializer.
        values: ``float16`` or ``float32``.
        error: Relative Frobenius error of the rounded weight; 0 where it was left.
        reason: Why the weight was left as it is; None where its values are now those asked for, or were before.
    """

    name: str
    values: Values
    error: float
    reason: str | None = None


def round_weights(model: ir.Model, names: Iterable[str], values: Values = "float16") -> list[Rounding]:
    """Round the named initializers in place, so that ``PackWeights`` can store them in fewer bytes.

    Each element becomes the nearest such number that is not zero, unless one would overflow or the relative Frobenius
    error would exceed 1e-3: then the weight is left. Its type stays as it is; zeros stay exact zeros, and -0.0 becomes
    0.0. An initializer that is shared is rounded for all who use it.

    Args:
        model: whose initializers are changed in place.
        names: of the initializers.
        values: the type whose numbers they become.

    Raises:
        ValueError: a name is not that of an initializer of the main graph; then nothing has been changed.
    """
    names = list(names)
    missing = [name for name in names if name not in model.graph.initializers]
    if missing:
        raise ValueError(f"not initializers of the model: {', '.join(missing)}")
    return [_round(model.graph.initializers[name], values) for name in names]


def _round(value: ir.Value, values: Values) -> Rounding:
    name, tensor = str(value.name), value.const_value
    if tensor is None or tensor.dtype not in FLOATS:
        return Rounding(name=name, values=values, error=0.0, reason="it holds no floats that are rounded")
    weight = tensor.numpy()
    if weight.dtype.itemsize <= np.dtype(values).itemsize:
        return Rounding(name=name, values=values, error=0.0)
    rounded = round_to_type(weight, values)
    problem = rounding_problem(weight, rounded, FLOAT_TOLERANCE)
    if problem is not None:
        return Rounding(name=name, values=values, error=0.0, reason=problem)
    value.const_value = ir.tensor(rounded, name=name)
    return Rounding(name=name, values=values, error=relative_error(weight, rounded))
