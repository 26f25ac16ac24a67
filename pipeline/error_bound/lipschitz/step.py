"""What a rule for an operator's error knows of one node: its operands' errors, shapes and constants."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Array = npt.NDArray[np.float64]
Extent = tuple[int, ...]


class NoConstantError(Exception):
    """The operator has no constant for these operands; the text says why."""


class Extents:
    """The shapes of values: as inferred where that is enough, else as recorded while the model ran.

    Until `record` is called a question that inference cannot answer is noted in `wanted` and answered by no case.
    """

    def __init__(self, inferred: Mapping[str, Sequence[int | str | None] | None]):
        self._inferred = dict(inferred)
        self._seen: dict[str, list[Extent]] | None = None
        self.wanted: dict[str, ir.Value] = {}

    def record(self, shapes: dict[str, list[Extent]]) -> None:
        """Take the shapes of the wanted values, one a batch, all in the order of the batches."""
        self._seen = shapes

    def inferred(self, value: ir.Value) -> Sequence[int | str | None] | None:
        """One entry an axis (a name or None where it varies), or None where not even the rank is known."""
        return self._inferred.get(value.name or "")

    def cases(self, *values: ir.Value) -> list[tuple[Extent, ...]]:
        """The shapes of the values side by side, once where they are fixed, else one case a batch.

        Raises:
            NoConstantError: they were not recorded.
        """
        fixed = [self._fixed(value) for value in values]
        if self._seen is None:
            self.wanted.update({v.name or "": v for v, f in zip(values, fixed, strict=True) if f is None})
        extents = [extent for extent in fixed if extent is not None]
        if len(extents) == len(values):
            return [tuple(extents)]
        if self._seen is None:
            return []
        recorded = [self._seen.get(v.name or "", []) for v, f in zip(values, fixed, strict=True) if f is None]
        length = min(len(column) for column in recorded)
        if not length:
            raise NoConstantError("the shapes of its operands are not known")
        columns = [
            [f] * length if f is not None else self._seen[v.name or ""] for v, f in zip(values, fixed, strict=True)
        ]
        return list(zip(*columns, strict=True))

    def ratio(self, top: ir.Value, bottom: ir.Value) -> float:
        """The largest number of elements of `top` an element of `bottom`."""
        upper, lower = _beside_batch(self.inferred(top)), _beside_batch(self.inferred(bottom))
        if upper is not None and lower is not None and upper[0] == lower[0]:
            return math.prod(upper[1]) / max(math.prod(lower[1]), 1)
        return max((math.prod(t) / max(math.prod(b), 1) for t, b in self.cases(top, bottom)), default=0.0)

    def _fixed(self, value: ir.Value) -> Extent | None:
        shape = self.inferred(value)
        if shape is None:
            return None
        numbers = tuple(extent for extent in shape if isinstance(extent, int))
        return numbers if len(numbers) == len(shape) else None


def _beside_batch(shape: Sequence[int | str | None] | None) -> tuple[str, Extent] | None:
    """The name of the first axis and the other axes; other names are not trusted, some exporters repeat one ("?")."""
    if not shape or not isinstance(shape[0], str) or not shape[0].isidentifier():
        return None
    rest = tuple(extent for extent in shape[1:] if isinstance(extent, int))
    return (shape[0], rest) if len(rest) + 1 == len(shape) else None


def constant_of(value: ir.Value | None) -> npt.NDArray[np.generic] | None:
    """The array behind an initializer or a Constant node; no feed of a session overrides it."""
    if value is None:
        return None
    try:
        tensor = ir.convenience.get_const_tensor(value)
    except (ValueError, TypeError):  # a Constant node with two values, say, which ONNX Runtime runs all the same
        return None
    return None if tensor is None or tensor.dtype == ir.DataType.STRING else tensor.numpy()


@dataclasses.dataclass(frozen=True)
class Step:
    """A node and the errors of its operands.

    Attributes:
        node: the node, with the compressed model's constants.
        errors: one entry an input, 0 where it is missing or equal in both models.
        extents: the shapes of its operands.
        norms: operator norms by output name, each computed once.
    """

    node: ir.Node
    errors: tuple[float, ...]
    extents: Extents
    norms: dict[str, float] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def output(self) -> ir.Value:
        """The first output."""
        return self.node.outputs[0]

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        graph = self.node.graph
        return self.node.version or (graph.opset_imports.get("", 1) if graph is not None else 1)

    def operand(self, index: int) -> ir.Value:
        """Input `index`, which must be there."""
        value = self.node.inputs[index] if index < len(self.node.inputs) else None
        if value is None:
            raise NoConstantError(f"its input {index} is missing")
        return value

    def perturbed_inputs(self) -> list[int]:
        """The inputs that carry an error."""
        return [index for index, error in enumerate(self.errors) if error]

    def error_of_single_input(self, index: int = 0) -> float:
        """The error of input `index`, the only one that may carry one."""
        others = [other for other in self.perturbed_inputs() if other != index]
        if others:
            raise NoConstantError(f"its input {others[0]} depends on compressed layers")
        return self.errors[index]

    def broadcast_error(self, index: int) -> float:
        """The error of input `index` after it is broadcast to the output's shape."""
        error = self.errors[index]
        return error * math.sqrt(self.extents.ratio(self.output, self.operand(index))) if error else 0.0

    def constant(self, index: int) -> Array | None:
        """Input `index` as float64, if it is a constant."""
        array = constant_of(self.node.inputs[index]) if index < len(self.node.inputs) else None
        return None if array is None else array.astype(np.float64)

    def needed(self, index: int) -> Array:
        """Input `index`, which must be a constant."""
        array = self.constant(index)
        if array is None:
            raise NoConstantError(f"its input {index} is computed while the model runs")
        return array

    def norm(self, compute: Callable[[], float]) -> float:
        """The node's operator norm, computed once."""
        key = self.output.name or ""
        if key not in self.norms:
            self.norms[key] = compute()
        return self.norms[key]

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        return self.node.attributes.get_int(name, default)

    def integers(self, name: str, default: Extent) -> Extent:
        """An attribute of several integers."""
        return tuple(self.node.attributes.get_ints(name, default))

    def number(self, name: str, default: float) -> float:
        """A floating-point attribute."""
        return self.node.attributes.get_float(name, default)

    def text(self, name: str, default: str) -> str:
        """A text attribute."""
        return self.node.attributes.get_string(name, default)


Rule = Callable[[Step], float]
"""From a step to the bound on the error of its result; raises `NoConstantError` where there is none."""
