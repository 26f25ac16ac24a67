"""How much an error in one layer matters at the model's outputs, measured in ONNX Runtime."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes._layers import find_layers
from netsurgeon.pipeline.runtime import Feed, Runtime, Session

Array = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Trial:
    """A layer pruned on its own.

    Attributes:
        weight: its pruned weight, in the initializer's shape and type.
        error: its δE relative to the energy of its output.
    """

    weight: npt.NDArray[np.generic] = dataclasses.field(repr=False)
    error: float


def measure_sensitivity(
    model: ir.Model, trials: Mapping[str, Trial], feeds: Sequence[Feed], runtime: Runtime
) -> dict[str, float]:
    """Relative error of the outputs per relative error of each layer, one layer replaced at a time.

    One session serves all: the layers' weights are overridable initializers of it.
    """
    probe = model.clone()
    weights = {}
    for layer in find_layers(probe.graph)[0]:
        if layer.name in trials:
            weights[layer.name] = layer.weight.name or ""
            if layer.weight not in probe.graph.inputs:
                probe.graph.inputs.append(layer.weight)
    session = runtime.session(probe)
    outputs = _float_outputs(session, feeds[0])
    dense = [session.run(feed, outputs) for feed in feeds]
    result = {}
    for name, trial in trials.items():
        changed = [session.run({**feed, weights[name]: trial.weight}, outputs) for feed in feeds]
        result[name] = output_error(dense, changed) / max(trial.error, 1e-12)
    return result


def _float_outputs(session: Session, feed: Feed) -> list[str]:
    values = session.run(feed)
    return [name for name, value in values.items() if isinstance(value, np.ndarray) and value.dtype.kind == "f"]


def output_error(dense: Sequence[dict[str, Any]], changed: Sequence[dict[str, Any]]) -> float:
    """Squared error over squared deviation from the mean, averaged over the outputs."""
    errors = []
    for name in dense[0]:
        expected = np.concatenate([np.ravel(batch[name]) for batch in dense]).astype(np.float64)
        found = np.concatenate([np.ravel(batch[name]) for batch in changed]).astype(np.float64)
        if found.shape != expected.shape:
            continue
        spread = max(float(np.var(expected)), np.finfo(float).tiny)
        errors.append(float(np.mean((found - expected) ** 2)) / spread)
    return float(np.mean(errors)) if errors else 0.0
