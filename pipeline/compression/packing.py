"""Pack a model's weights, raising the opset where packing needs it, and prove that nothing changed."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from netsurgeon.passes.graph import NativeError, convert_version
from netsurgeon.passes.packing import Packing, PackWeights, plan_packing
from netsurgeon.pipeline.messages import Message, cause_of
from netsurgeon.pipeline.runtime import Feed, Runtime, first_line, same_bits, verify_same

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
        upgraded = _upgraded(model, feed, runtime)
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


def _upgraded(model: ir.Model, feed: Feed, runtime: Runtime) -> ir.Model | str:
    """The model at the opset packing needs, verified on `feed`; a reason where that does not hold."""
    try:
        upgraded = convert_version(model, PACKING_OPSET)
    except NativeError as error:
        return first_line(error)
    problem = changed_interface(model, upgraded) or verify_same(model, upgraded, feed, runtime)
    return problem or upgraded


def changed_interface(before: ir.Model, after: ir.Model) -> str | None:
    """None when inputs without default and outputs keep names, types and shapes, else one sentence."""
    for kind, old, new in (
        ("inputs", before.graph.inputs, after.graph.inputs),
        ("outputs", before.graph.outputs, after.graph.outputs),
    ):
        was, now = (
            [(v.name, str(v.type), str(v.shape)) for v in side if not v.is_initializer()] for side in (old, new)
        )
        if was != now:
            return f"the model's {kind} changed from {was} to {now}"
    return None
