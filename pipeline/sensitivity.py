"""How much an error in one layer matters at the model's outputs, measured in ONNX Runtime."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import scipy.special

from netsurgeon.passes._find_layers import find_layers
from netsurgeon.pipeline.runtime import Feed, Runtime, Session

Array = npt.NDArray[np.float64]
FEWEST_ROWS = 16
"""Below this many samples one mean and one scale are fitted for an output, not one an element."""
CONSTANT = 1e-12
"""An output whose variance is no more than this share of its mean square is the same for every sample."""


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

    One session serves all: the layers' weights are overridable initializers of it. All layers count alike where the
    model has no float output, or its outputs are the same for every sample.
    """
    probe = model.clone()
    weights = {}
    for layer in find_layers(probe.graph)[0]:
        if layer.name in trials:
            weights[layer.name] = layer.weight.name or ""
            if layer.weight not in probe.graph.inputs:
                probe.graph.inputs.append(layer.weight)
    session = runtime.session(probe)
    outputs = float_outputs(session, feeds[0])
    if not outputs:
        return dict.fromkeys(trials, 1.0)
    dense = [session.run(feed, outputs) for feed in feeds]
    result = {}
    for name, trial in trials.items():
        changed = [session.run({**feed, weights[name]: trial.weight}, outputs) for feed in feeds]
        result[name] = max(output_error(dense, changed), 0.0) / max(trial.error, 1e-12)
    return result if any(result.values()) else dict.fromkeys(trials, 1.0)


def float_outputs(session: Session, feed: Feed) -> list[str]:
    """Names of the outputs that hold floats."""
    values = session.run(feed)
    return [name for name, value in values.items() if isinstance(value, np.ndarray) and value.dtype.kind == "f"]


def output_error(dense: Sequence[dict[str, Any]], changed: Sequence[dict[str, Any]]) -> float:
    """Share of the outputs' variance over the samples that is lost, averaged over the outputs.

    Means and scales of each element are fitted first: layers behind the changed one are corrected and take them up.
    """
    errors = []
    for name in dense[0]:
        if any(d[name].shape != c[name].shape for d, c in zip(dense, changed, strict=True)):
            continue
        expected, found = (_centred([batch[name] for batch in side]) for side in (dense, changed))
        energy = np.sum(expected**2)
        if energy > CONSTANT * sum(float(np.sum(np.square(batch[name], dtype=np.float64))) for batch in dense):
            shared = np.sum(expected * found, axis=0) ** 2 / np.maximum(np.sum(found**2, axis=0), np.finfo(float).tiny)
            errors.append(1.0 - float(np.sum(shared) / energy))
    return float(np.mean(errors)) if errors else 0.0


def output_divergence(dense: Sequence[dict[str, Any]], changed: Sequence[dict[str, Any]]) -> float:
    """Kullback-Leibler divergence of the class probabilities where an output holds class scores, else `output_error`.

    Unlike the mean square it weighs what decides the answer: the scores of the likely classes.
    """
    results = []
    for name, first in dense[0].items():
        if first.ndim == 2 and first.shape[1] >= 2:
            pairs = [
                (_log_probabilities(d[name]), _log_probabilities(c[name])) for d, c in zip(dense, changed, strict=True)
            ]
            each = np.concatenate([np.sum(np.exp(p) * (p - q), axis=1) for p, q in pairs])
            results.append(float(np.mean(each)))
        else:
            results.append(output_error([{name: d[name]} for d in dense], [{name: c[name]} for c in changed]))
    return float(np.mean(results)) if results else 0.0


def _log_probabilities(scores: npt.NDArray[np.floating]) -> Array:
    """Of logits, or of what is a distribution already."""
    wide = scores.astype(np.float64)
    if (wide >= 0.0).all() and np.allclose(wide.sum(axis=1), 1.0, atol=1e-3):
        return np.asarray(np.log(np.maximum(wide, 1e-12)))
    return np.asarray(scipy.special.log_softmax(wide, axis=1))


def _centred(batches: Sequence[npt.NDArray[np.floating]]) -> Array:
    """Batches of an output as centred rows (samples, elements); one column where samples are few or differ in size."""
    rows = [batch.reshape(len(batch), -1) if batch.ndim > 1 else batch.reshape(1, -1) for batch in batches]
    if len({row.shape[1] for row in rows}) > 1 or sum(map(len, rows)) < FEWEST_ROWS:
        rows = [row.reshape(-1, 1) for row in rows]
    joined = np.concatenate(rows).astype(np.float64)
    return np.asarray(joined - joined.mean(axis=0))
