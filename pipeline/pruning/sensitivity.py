"""How much an error in one layer matters at the model's outputs, measured in ONNX Runtime."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.layers import find_layers
from netsurgeon.pipeline.data import PositionMask
from netsurgeon.pipeline.progress import Ticks, no_ticks, ticking
from netsurgeon.pipeline.runtime import Feed, Runtime, counted
from netsurgeon.pipeline.verification import float_outputs, output_loss


@dataclasses.dataclass(frozen=True)
class Trial:
    """A layer pruned on its own.

    Attributes:
        weight: its pruned weight, in the initializer's shape and type.
        error: its δE relative to the energy of its output.
    """

    weight: npt.NDArray[np.generic] = dataclasses.field(repr=False)
    error: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """A model whose layers are replaced in turn.

    Attributes:
        model: the dense one; not changed.
        trials: layers to replace, by name, and with what.
        feeds: inputs that show what that costs.
        runtime: where the model runs.
        mask: which positions of the feeds count; None = all.
        ticks: called with the layers that are done, and how many there are.
    """

    model: ir.Model
    trials: Mapping[str, Trial]
    feeds: Sequence[Feed]
    runtime: Runtime
    mask: PositionMask | None = None
    ticks: Ticks = no_ticks


def measure_sensitivity(probe: Probe) -> dict[str, float]:
    """`output_loss` per relative error of each layer, one layer replaced at a time.

    One session serves all: the layers' weights are overridable initializers of it. All layers count alike where the
    model has no float output, or its outputs are the same for every sample.
    """
    model, trials, feeds = probe.model.clone(), probe.trials, probe.feeds
    weights = {}
    for layer in find_layers(model.graph)[0]:
        if layer.name in trials:
            weights[layer.name] = layer.weight.name or ""
            if layer.weight not in model.graph.inputs:
                model.graph.inputs.append(layer.weight)
    session = counted(probe.runtime.session(model), probe.mask)
    outputs = float_outputs(session.run(feeds[0]))
    if not outputs:
        return dict.fromkeys(trials, 1.0)
    dense = [session.run(feed, outputs) for feed in feeds]
    result = {}
    for name, trial in ticking(trials.items(), probe.ticks, len(trials)):
        changed = [session.run({**feed, weights[name]: trial.weight}, outputs) for feed in feeds]
        result[name] = max(output_loss(dense, changed), 0.0) / max(trial.error, 1e-12)
    return result if any(result.values()) else dict.fromkeys(trials, 1.0)
