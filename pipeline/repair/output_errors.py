"""How far a model's outputs are from the dense model's, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from netsurgeon.pipeline.data import Samples
from netsurgeon.pipeline.runtime import Runtime
from netsurgeon.pipeline.verification import float_outputs, score_divergence

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


def compared_outputs(dense: Sequence[Outputs]) -> list[str]:
    """Names of the outputs that are compared: floats that are finite in the dense model for all inputs."""
    return [
        name
        for name in float_outputs(dense[0])
        if dense[0][name].ndim and all(np.isfinite(feed[name]).all() for feed in dense)
    ]


def relative_error(dense: Sequence[Outputs], other: Sequence[Outputs]) -> float:
    """Squared error of outputs as a share of the dense ones' variance, the mean over those that are compared."""
    errors = []
    for name in compared_outputs(dense):
        dense_values, values = ([np.asarray(feed[name], np.float64) for feed in side] for side in (dense, other))
        joined = np.concatenate(dense_values) if len({value.shape[1:] for value in dense_values}) == 1 else None
        flat_dense, flat = (np.concatenate([value.ravel() for value in side]) for side in (dense_values, values))
        variance = float((flat_dense if joined is None else joined).var(axis=0).mean())
        errors.append(float(np.mean(np.square(flat - flat_dense))) / (variance or 1.0))
    return float(np.mean(errors)) if errors else 0.0


def output_losses(dense: Sequence[Outputs], other: Sequence[Outputs]) -> dict[str, float]:
    """How far outputs are from the dense ones, by the name of each measure: infinitely where they are not finite.

    The divergence is that of class scores, 0 where there are none: a share of variance, for which a mean and a scale
    are fitted, calls outputs near that are not.
    """
    names = compared_outputs(dense)
    dense, other = ([{name: feed[name] for name in names} for feed in side] for side in (dense, other))
    if not all(np.isfinite(feed[name]).all() for feed in other for name in names):
        return {"relative error": np.inf, "divergence": np.inf}
    return {"relative error": relative_error(dense, other), "divergence": score_divergence(dense, other)}


def worse_measure(before: Mapping[str, float], after: Mapping[str, float]) -> str | None:
    """The measure by which outputs come no nearer to the dense ones; None = they do. The divergence may stay."""
    for measure, loss in after.items():
        if not (loss < before[measure] or (loss == before[measure] and measure == "divergence")):
            return measure
    return None


class OutputJudge:
    """Undoes changes that bring a model's outputs on inputs held out no nearer to the dense model's.

    Attributes:
        first: losses when it was made.
        losses: of the model as it is now.
    """

    def __init__(self, dense: ir.Model, model: ir.Model, held_out: Samples, runtime: Runtime):
        self._model, self._held_out, self._runtime = model, held_out, runtime.on_integers()
        self._dense, outputs = outputs_of_models([dense, model], held_out, self._runtime)
        self.first = self.losses = output_losses(self._dense, outputs)
        self._constants = self._current()

    @property
    def has_gained(self) -> bool:
        """Whether a change has stayed."""
        return self.losses is not self.first

    def undone(self) -> str | None:
        """Why constants that changed since the last call are again what they were; None where they stay changed."""
        (outputs,) = outputs_of_models([self._model], self._held_out, self._runtime)
        losses = output_losses(self._dense, outputs)
        measure = worse_measure(self.losses, losses)
        if measure is None:
            self.losses, self._constants = losses, self._current()
            return None
        for name, array in self._constants.items():
            self._model.graph.initializers[name].const_value = array
        return f"the outputs' {measure} would become {losses[measure]:.3g}, and is {self.losses[measure]:.3g}"

    def _current(self) -> dict[str, ir.TensorProtocol | None]:
        return {name: value.const_value for name, value in self._model.graph.initializers.items()}
