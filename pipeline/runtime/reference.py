"""ONNX's own reference evaluator, for models that ONNX Runtime does not run any more."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from netsurgeon.pipeline.errors import RunError
from netsurgeon.pipeline.runtime.large_models import Feed
from netsurgeon.pipeline.runtime.session import first_line


def reference_outputs(model: ir.Model, feed: Feed) -> dict[str, object]:
    """Outputs by name, in NumPy; slow.

    Raises:
        RunError: it does not know an operator of the model in that version, or fails on this feed.
    """
    from onnx.reference import ReferenceEvaluator

    try:
        in_memory = ir.external_data.load_to_model(model.clone())
        evaluator = ReferenceEvaluator(ir.to_proto(in_memory))
        with np.errstate(all="ignore"):
            values = evaluator.run(None, dict(feed))
    except Exception as error:
        raise RunError(f"ONNX's reference evaluator cannot run the model: {first_line(error)}") from error
    return dict(zip(evaluator.output_names, values, strict=True))
