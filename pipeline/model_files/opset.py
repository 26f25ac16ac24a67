"""Raise a model's operator set where something needs it, and prove that nothing changed."""

from __future__ import annotations

import onnx_ir as ir

from netsurgeon.passes.graph import NativeError, convert_version
from netsurgeon.pipeline.runtime import Feed, Runtime, first_line, verify_same


def raised_opset(model: ir.Model, opset: int, feed: Feed, runtime: Runtime) -> ir.Model | str:
    """The model at another operator set, verified on `feed`; a reason where that does not hold.

    Args:
        model: not changed.
        opset: number of the operator set that is wanted.
        feed: an input of the model.
        runtime: how sessions are made.

    Raises:
        CheckFailedError: the model as it is cannot run on `feed`.
    """
    try:
        upgraded = convert_version(model, opset)
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
