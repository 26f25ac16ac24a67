"""Which layer costs what: what the model's outputs would lose if one layer were pruned and the others left alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Unpack

import numpy as np

from netsurgeon.passes.solvers import FactorizationError
from netsurgeon.pipeline.calibration import Calibration, examine_values, select, unobserved_layers
from netsurgeon.pipeline.data import DataSource
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files import ModelLike, open_model, verified, with_float_weights
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.options import (
    DataOptions,
    Options,
    OptionValues,
    PruneOptions,
    RuntimeOptions,
    takes_options,
)
from netsurgeon.pipeline.progress import Progress, ProgressLike, following
from netsurgeon.pipeline.pruning import Cost, measure_costs
from netsurgeon.pipeline.result import Overview, Result
from netsurgeon.pipeline.runtime import attribute_to_inputs
from netsurgeon.pipeline.verification import open_by_options

SPARSITIES = (0.5, 0.7, 0.9)
"""At which the loss is told."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerSensitivity:
    """One layer, pruned on its own.

    Attributes:
        name: its node.
        operator: its operator type.
        weights: how many.
        sensitivity: share of the information in the outputs that is lost per share of the layer's output energy lost.
        errors: share of the energy of the layer's own output lost at each of `SPARSITIES`, after correction.
        losses: share of the information in the outputs that is lost there: errors times sensitivity, all of it at most.
    """

    name: str
    operator: str
    weights: int
    sensitivity: float
    errors: tuple[float, ...]
    losses: tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class SensitivityInspection(Result):
    """What each layer costs.

    Attributes:
        name: file name of the model; empty where it came from memory.
        samples: inputs it was measured on.
        sparsities: at which errors and losses are told.
        layers: in the order of the graph.
        notes: what was done to the graph, and how the inputs are run.
        warnings: what the user should know of the inputs.
    """

    name: str
    samples: int
    sparsities: tuple[float, ...]
    layers: tuple[LayerSensitivity, ...]
    notes: tuple[Message, ...] = ()
    warnings: tuple[Message, ...] = ()

    def overview(self) -> Overview:
        """What is lost where each layer alone is pruned, the layer that costs most first."""
        ranked = sorted(self.layers, key=lambda layer: -layer.losses[0])
        rows = (
            (
                *(layer.name, layer.operator, f"{layer.weights:,}", f"{layer.sensitivity:.3g}"),
                *(f"{100.0 * loss:.2g}%" for loss in layer.losses),
            )
            for layer in ranked
        )
        most = f"; {ranked[0].name} costs most" if ranked else ""
        measured = f"{counted(len(ranked), 'layer')} pruned one at a time, {counted(self.samples, 'input')}{most}"
        return Overview(
            headline=f"{self.name or 'The model'}: {measured}",
            sentences=(
                *(f"note: {note}" for note in self.notes),
                *(f"warning: {warning}" for warning in self.warnings),
                "Share of the information in the outputs that is lost, where one layer alone is pruned and corrected:",
            ),
            titles=("layer", "operator", "weights", "sensitivity", *(f"at {share:.0%}" for share in self.sparsities)),
            rows=tuple(rows),
        )


@takes_options(DataOptions, RuntimeOptions, PruneOptions)
def inspect_sensitivity(
    model: ModelLike, data: DataSource, progress: ProgressLike = None, **options: Unpack[OptionValues]
) -> SensitivityInspection:
    """Measure what pruning each layer costs, as `compress` does before it spreads its budget; nothing is changed.

    Args:
        model: the model.
        data: calibration inputs.
        progress: True = shown as suits the terminal, the notebook or the log it runs in; or a function that is called
            with stage, steps done and steps in all.
        **options: fields of `Options`; those that say how data becomes inputs, and `exclude`.

    Raises:
        InputError: the model or the data cannot be used, or no layer can be pruned.
        CheckFailedError: the model cannot run on the data.
    """
    settings = Options(**options)
    with following(progress) as followed:
        return _inspect_sensitivity(model, data, settings, followed)


def _inspect_sensitivity(
    model: ModelLike, data: DataSource, settings: Options, progress: Progress
) -> SensitivityInspection:
    progress("opening", 0, 1)
    runtime = settings.runtime()
    source = open_model(model, runtime)
    samples = open_by_options(source, data, settings, settings.limit)
    with attribute_to_inputs(source.original, runtime, samples):
        source = verified(source, next(samples.batches()), runtime)
        values = examine_values(source.original, samples, None, runtime)
        source = with_float_weights(source, next(samples.batches()), runtime.on_floats())
        runtime = runtime.on_floats() if source.integers.grids else runtime
        unobserved = unobserved_layers(source.model, samples, runtime)
        selection = select(source.model, settings, unobserved, source.integers)
        calibration = Calibration(samples, runtime, settings.seed)
        try:
            costs = measure_costs(source.model, selection, calibration, progress, 1.0 - SPARSITIES[0])
        except FactorizationError as error:
            raise CheckFailedError(str(error)) from error
    layers = tuple(
        _entry(layer.name, layer.operator, costs[layer.name]) for layer in selection.layers if layer.name in costs
    )
    return SensitivityInspection(
        name=source.path.name if source.path else "",
        samples=samples.count,
        sparsities=SPARSITIES,
        layers=layers,
        notes=(*source.notes, *samples.notes),
        warnings=(*samples.warnings, *values),
    )


def draw_sensitivity(inspection: SensitivityInspection) -> str:
    """The losses as a picture (SVG), the layer that costs most first."""
    from netsurgeon.pipeline.report import draw_sensitivities

    ranked = sorted(inspection.layers, key=lambda layer: -layer.losses[0])
    return draw_sensitivities(
        [layer.name for layer in ranked], [layer.losses for layer in ranked], inspection.sparsities
    )


def check_picture_path(picture: Path | None) -> None:
    """Refuse a picture that cannot be drawn, before anything is measured.

    Raises:
        InputError: it is no .svg.
    """
    if picture is not None and picture.suffix.lower() != ".svg":
        raise InputError(f"the picture {picture} is drawn as SVG: give it a name that ends in .svg")


def _entry(name: str, operator: str, cost: Cost) -> LayerSensitivity:
    kept = [1.0 - sparsity for sparsity in SPARSITIES]
    errors = np.interp(kept, cost.curve.kept[::-1], cost.curve.errors[::-1])
    losses = np.minimum(cost.sensitivity * errors, 1.0)
    return LayerSensitivity(
        name=name,
        operator=operator,
        weights=cost.size,
        sensitivity=cost.sensitivity,
        errors=tuple(map(float, errors)),
        losses=tuple(map(float, losses)),
    )
