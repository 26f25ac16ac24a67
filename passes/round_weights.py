"""Round weights to numbers that take less space in the file."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from netsurgeon.passes._codebooks import (
    fit_codebook,
    relative_error,
    round_to_codebook,
    round_to_type,
    rounding_problem,
)
from netsurgeon.passes._nodes import FLOATS

Array = NDArray[Any]
Values: TypeAlias = Literal["float16", "float32", "codebook"]

FLOAT_TOLERANCE = 1e-3
"""Largest relative Frobenius error for which a shorter float is taken; a float16 without subnormals makes 3e-4."""


@dataclass(frozen=True)
class Rounding:
    """What became of one weight.

    Attributes:
        name: The initializer.
        values: ``float16``, ``float32`` or ``codebook``.
        error: Relative Frobenius error of the rounded weight; 0 where it was left.
        reason: Why the weight was left as it is; None where its values are now those asked for, or were before.
    """

    name: str
    values: Values
    error: float
    reason: str | None = None


@dataclass(frozen=True)
class RoundWeights(ir.passes.InPlacePass):
    """Round initializers so that ``PackWeights`` can store them in fewer bytes; their type stays as it is.

    * ``float16`` and ``float32``: the nearest such number that is not zero, unless one would overflow or the relative
      Frobenius error would exceed 1e-3. Then the weight is left.
    * ``codebook``: the nearest of at most ``size`` values from one-dimensional k-means of the nonzero elements,
      themselves rounded to float16 under the same conditions.

    Zeros stay exact zeros, and -0.0 becomes 0.0. To learn what was rounded, call :func:`round_weights` instead.

    Attributes:
        names: Initializers of the main graph to round. A shared one is rounded for all who use it.
        values: What to round to.
        size: Largest number of values in a codebook. With 255, the zero that a sparse layout may need is the 256th.

    Raises:
        ValueError: If a name is not that of an initializer.
    """

    names: tuple[str, ...]
    values: Values = "float16"
    size: int = 255

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Round the named weights."""
        before = {name: value.const_value for name, value in model.graph.initializers.items()}
        round_weights(model, self.names, self.values, self.size)
        modified = any(model.graph.initializers[name].const_value is not tensor for name, tensor in before.items())
        return ir.passes.PassResult(model, modified)


def round_weights(model: ir.Model, names: Iterable[str], values: Values = "float16", size: int = 255) -> list[Rounding]:
    """Round the named initializers in place and say what became of each (see :class:`RoundWeights`).

    Raises:
        ValueError: If a name is not that of an initializer of the main graph; then nothing has been changed.
    """
    names = list(names)
    missing = [name for name in names if name not in model.graph.initializers]
    if missing:
        raise ValueError(f"not initializers of the model: {', '.join(missing)}")
    return [_round(model.graph.initializers[name], values, size) for name in names]


def _round(value: ir.Value, values: Values, size: int) -> Rounding:
    name, tensor = str(value.name), value.const_value
    if tensor is None or tensor.dtype not in FLOATS:
        return Rounding(name, values, 0.0, "it holds no floats that are rounded")
    weight = tensor.numpy()
    if values != "codebook" and weight.dtype.itemsize <= np.dtype(values).itemsize:
        return Rounding(name, values, 0.0)
    rounded = _to_codebook(weight, size) if values == "codebook" else _to_float(weight, values)
    if isinstance(rounded, str):
        return Rounding(name, values, 0.0, rounded)
    value.const_value = ir.tensor(rounded, name=name)
    return Rounding(name, values, relative_error(weight, rounded))


def _to_float(weight: Array, dtype: str) -> Array | str:
    """The rounded weight (any shape), or why it is left."""
    rounded = round_to_type(weight, dtype)
    return rounding_problem(weight, rounded, FLOAT_TOLERANCE) or rounded


def _to_codebook(weight: Array, size: int) -> Array | str:
    """The weight (any shape) on its own codebook, or why it is left."""
    nonzero = weight[weight != 0]
    if not nonzero.size:
        return "it has no nonzero element"
    if not np.isfinite(nonzero).all():
        return "it holds values that are not finite"
    codebook = fit_codebook(nonzero, size).astype(weight.dtype)
    shorter = round_to_type(codebook, "float16")
    safe = rounding_problem(codebook, shorter, FLOAT_TOLERANCE) is None
    return round_to_codebook(weight, shorter if safe else codebook)
