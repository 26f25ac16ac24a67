"""What the report says of integers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import ClassVar

import onnx_ir as ir

from netsurgeon.passes.graph import label
from netsurgeon.passes.layers import Cell, Layer, find_cells, find_layers
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.profiling import Timed
from netsurgeon.pipeline.quantization.choose import IntegerChoice
from netsurgeon.pipeline.quantization.integer_model import IntegerModel, IntegerPlan
from netsurgeon.pipeline.quantization.kernels import integer_kernels
from netsurgeon.pipeline.quantization.targets import bits_of
from netsurgeon.pipeline.runtime import Runtime

IN_A_BODY = "it lies inside a body of an If or Loop"
ONLY_DYNAMIC = "recurrent cells have integers with --quantize dynamic alone"


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


def integer_facts(
    model: ir.Model,
    plan: IntegerPlan,
    choice: IntegerChoice,
    integers: IntegerModel,
    difference: float,
    runtime: Runtime,
) -> IntegerFacts:
    """What the report says of a model on integers: of all layers of the float model, kernels by the optimised graph."""
    kernels, placement = integer_kernels(integers.model, runtime), integers.placement
    layers = []
    floats = {cell.name: ONLY_DYNAMIC for cell in find_cells(model.graph)} | dict(placement.floats)
    order = {label(node): at for at, node in enumerate(model.graph.all_nodes())}
    both: list[Layer | Cell] = [*find_layers(model.graph)[0], *find_cells(model.graph)]
    for layer in sorted(both, key=lambda layer: order.get(layer.name, len(order))):
        outcome, times = integers.outcomes.get(layer.name), choice.times.get(layer.name)
        layers.append(
            IntegerLayerFacts(
                name=layer.name,
                operator=layer.operator,
                bits=bits_of(plan.most[layer.name]) if outcome else None,
                kernel=kernels.get(layer.name) if outcome else None,
                error=outcome.error if outcome else None,
                floats_ms=times.floats if times else None,
                integers_ms=times.integers if times else None,
                reason=None if outcome else floats.get(layer.name, IN_A_BODY),
            )
        )
    return IntegerFacts(
        layers=tuple(layers),
        nodes=len(placement.nodes),
        values=len(placement.values),
        kernel_difference=difference,
    )


def unfused_note(facts: IntegerFacts) -> Iterator[Message]:
    """What ONNX Runtime does not run as the plan, made for the model before units were removed, would have it."""
    names = [layer.name for layer in facts.layers if layer.bits is not None and not layer.runs_on_integers]
    if names:
        text = f"ONNX Runtime makes floats of the integers of {', '.join(names[:3])} while the model runs"
        yield Message(text, "integers-unfused", layers=names)
