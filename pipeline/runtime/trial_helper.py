"""The process behind `trial`: loads a model in ONNX Runtime, and runs it; may die of it."""

from __future__ import annotations

import contextlib
import pickle

import onnx

from netsurgeon.passes.graph import serve
from netsurgeon.pipeline.runtime.session import Runtime


def answer(request: bytes) -> bytes:
    """Nothing: what counts is that there is an answer. Errors will come again in the process that asks."""
    source, settings, feed = pickle.loads(request)  # what the process that has started this one sends
    with contextlib.suppress(Exception):
        model = onnx.ModelProto.FromString(source) if isinstance(source, bytes) else source
        optimise = settings.pop("optimise")
        session = Runtime(**settings).session(model, optimise=optimise, is_tried=True)
        if feed is not None:
            session.run(feed)
    return b""


if __name__ == "__main__":
    serve(answer)
