"""What the report says of integers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from netsurgeon.pipeline.profiling import Timed


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntegerLayerFacts:
    """A layer that could run on integers, or a table that could be stored as such.

    Attributes:
        name: of its node.
        operator: its type.
        bits: of a weight; None where it stays on floats.
        kernel: what ONNX Runtime runs it as, by its optimised graph, or the provider of sparse kernels that runs it;
            None where it stays on floats.
        error: what its output loses by its weight's integers, relative to its energy; of a recurrent cell
            what its weights lose, relative to theirs; None where it stays on floats.
        floats_ms: milliseconds of its kernel on floats, with what is fused into it; None where ONNX Runtime shows none.
        integers_ms: likewise on integers.
        sparse_ms: likewise on the sparse kernel that runs it as it is delivered; None where none does.
        reason: why it stays on floats; None where it does not.
    """

    name: str
    operator: str
    bits: int | None
    kernel: str | None
    error: float | None
    floats_ms: float | None
    integers_ms: float | None
    reason: str | None
    sparse_ms: float | None = None

    @property
    def runs_on_integers(self) -> bool:
        """Whether ONNX Runtime multiplies its integers, rather than floats that it makes of them."""
        return self.bits is not None and self.kernel not in (None, "DequantizeLinear")


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntegerFacts:
    """What runs on integers, and what that brings.

    Attributes:
        layers: tables whose rows are looked up, and all with a weight, in graph order.
        nodes: other nodes that run on integers.
        values: activations that are integers; none where only weights are.
        kernel_difference: of the outputs of ONNX Runtime's integer kernels from the model in float arithmetic,
            relative to the outputs' size: rounding of another kind, such as that of what enters a MatMulNBits.
        timed: the dense model and the delivered one, in turn; None where that was not timed.
    """

    json_properties: ClassVar[tuple[str, ...]] = ("on_integers",)

    layers: tuple[IntegerLayerFacts, ...]
    nodes: int
    values: int
    kernel_difference: float
    timed: Timed | None = None

    def with_sparse_kernels(self, taken: Mapping[str, float], name: str) -> IntegerFacts:
        """The same where a provider of sparse kernels, of this name, runs some layers, in so many milliseconds."""
        layers = tuple(
            dataclasses.replace(layer, kernel=name, sparse_ms=taken[layer.name]) if layer.name in taken else layer
            for layer in self.layers
        )
        return dataclasses.replace(self, layers=layers)

    @property
    def on_integers(self) -> int:
        """Layers whose weights are integers; `kernel` tells what each of them runs as."""
        return sum(layer.bits is not None for layer in self.layers)
