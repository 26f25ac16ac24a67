"""How far a model's outputs are from the dense model's, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.runtime import Runtime

Outputs = dict[str, Any]


def outputs_of_models(models: Sequence[ir.Model], samples: Samples, runtime: Runtime) -> list[list[Outputs]]:
    """What models give for inputs, feed by feed; 0 at positions that a mask excludes."""
    sessions = [runtime.session(model) for model in models]
    mask = samples.mask
    of_feeds = []
    for feed in samples.batches():
        outputs = [dict(session.run(feed)) for session in sessions]
        of_feeds.append(outputs if mask is None else [mask.counted(of_model, feed) for of_model in outputs])
    return [list(of_model) for of_model in zip(*of_feeds, strict=True)]


def relative_error(dense: Sequence[Outputs], other: Sequence[Outputs]) -> float:
    """Squared error of outputs that are floats as a share of the dense ones' variance, the mean over the outputs."""
    errors = []
    for name, first in dense[0].items():
        if not isinstance(first, np.ndarray) or first.dtype.kind != "f" or not first.ndim:
            continue
        dense_values, values = ([np.asarray(feed[name], np.float64) for feed in side] for side in (dense, other))
        joined = np.concatenate(dense_values) if len({value.shape[1:] for value in dense_values}) == 1 else None
        flat_dense, flat = (np.concatenate([value.ravel() for value in side]) for side in (dense_values, values))
        variance = float((flat_dense if joined is None else joined).var(axis=0).mean())
        errors.append(float(np.mean(np.square(flat - flat_dense))) / (variance or 1.0))
    return float(np.mean(errors)) if errors else 0.0
