"""What a model is made of: its layers, what can be pruned, and what cannot and why."""

from __future__ import annotations

import dataclasses

from netsurgeon.passes._find_layers import Declined, find_layers
from netsurgeon.pipeline.runtime import Runtime
from netsurgeon.pipeline.source import ModelLike, open_model


@dataclasses.dataclass(frozen=True)
class LayerEntry:
    """A layer that can be pruned; shape is (groups, rows, columns) of its weight matrix."""

    name: str
    operator: str
    shape: tuple[int, int, int]
    weights: int
    zeros: int
    dtype: str


@dataclasses.dataclass(frozen=True)
class Inspection:
    """The layers of a model.

    Attributes:
        name: file name; empty where the model came from memory.
        bytes: on disk, external data included.
        opset: version of the default operator set.
        inputs: name, type and shape of each input.
        outputs: the same of each output.
        layers: what can be pruned.
        declined: every other node with weights, and why it is left alone.
        notes: what normal form did.
    """

    name: str
    bytes: int
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: tuple[LayerEntry, ...]
    declined: tuple[Declined, ...]
    notes: tuple[str, ...]


def inspect_model(model: ModelLike, custom_ops: tuple[str, ...] = ()) -> Inspection:
    """Look at a model without changing it.

    Raises:
        InputError: it cannot be opened.
    """
    source = open_model(model, Runtime(custom_ops))
    layers, declined = find_layers(source.model.graph)
    entries = []
    for layer in layers:
        matrix = layer.matrix()
        dtype = layer.weight.const_value.dtype.name if layer.weight.const_value is not None else ""
        shape = (layer.groups, layer.rows, layer.columns)
        entries.append(LayerEntry(layer.name, layer.operator, shape, layer.size, int((matrix == 0).sum()), dtype))
    graph = source.original.graph
    return Inspection(
        source.path.name if source.path else "",
        source.bytes,
        source.opset,
        tuple(f"{v.name}: {v.dtype} {v.shape}" for v in graph.inputs if not v.is_initializer()),
        tuple(f"{v.name}: {v.dtype} {v.shape}" for v in graph.outputs),
        tuple(entries),
        tuple(declined),
        source.notes,
    )
