"""Pack a model's weights, raising the opset where packing needs it, and prove that nothing changed."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from netsurgeon.passes.packing import Packing, PackWeights, plan_packing
from netsurgeon.pipeline.messages import Message, cause_of
from netsurgeon.pipeline.model_files import raised_opset
from netsurgeon.pipeline.runtime import Feed, Runtime, same_bits

PACKING_OPSET = 11
"""CumSum and ScatterElements exist from here on."""


@dataclasses.dataclass(frozen=True)
class Packed:
    """A model ready to be written.

    Attributes:
        model: packed, or as it was where packing was not possible.
        packings: the representation of each weight, by name.
        notes: what was raised or undone, and why.
    """

    model: ir.Model = dataclasses.field(repr=False)
    packings: tuple[Packing, ...]
    notes: tuple[Message, ...]


def pack(model: ir.Model, feed: Feed, runtime: Runtime) -> Packed:
    """A packed copy of the model, equal to it to the last bit on `feed`; else the model itself with a note."""
    source, notes = model, []
    opset = model.graph.opset_imports.get("", 0)
    if opset < PACKING_OPSET:
        upgraded = raised_opset(model, PACKING_OPSET, feed, runtime)
        if isinstance(upgraded, str):
            reason = f"opset {opset} cannot be raised to {PACKING_OPSET}: {upgraded}"
            note = Message(f"stored unpacked: {reason}", "stored-unpacked", cause_of(upgraded), reason=reason)
            return Packed(model, (), (note,))
        source = upgraded
        text = f"opset raised from {opset} to {PACKING_OPSET}, which packed weights need; outputs verified"
        notes.append(Message(text, "opset-raised", before=opset, after=PACKING_OPSET))
    packed = source.clone()
    packings = plan_packing(packed)
    PackWeights(packings)(packed)
    problem = same_bits(source, packed, feed, runtime)
    if problem:
        note = Message(f"stored unpacked: {problem}", "stored-unpacked", cause_of(problem), reason=str(problem))
        return Packed(model, (), (note,))
    return Packed(packed, tuple(packings), tuple(notes))
