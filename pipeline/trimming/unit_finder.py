"""Find the units of a model that may go: what hangs together, and what of it is in layers that can be corrected."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.dependencies import Dependencies, analyse
from netsurgeon.passes.graph import label, names_read_once, optional_input
from netsurgeon.passes.layers import Layer, find_layers
from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.runtime import observe
from netsurgeon.pipeline.trimming.costs import Ints
from netsurgeon.pipeline.trimming.trim_plan import TrimPlan


def give_biases(layers: Sequence[Layer]) -> None:
    """Give every layer that can have one a bias, so that corrections of it are known to be parts of units."""
    with contextlib.ExitStack() as stack:
        for graph in {id(layer.node.graph): layer.node.graph for layer in layers}.values():
            if isinstance(graph, ir.Graph):
                stack.enter_context(names_read_once(graph))
        for layer in layers:
            slot = layer.bias_slot()
            if slot is not None and optional_input(*slot) is None:
                layer.shift_bias(np.zeros(layer.groups * layer.rows))


def find_units(model: ir.Model, calibration: Calibration, blocked: Sequence[int] = ()) -> Dependencies:
    """What hangs together in the model; one run of two samples shows the shapes.

    Args:
        model: the model.
        calibration: inputs.
        blocked: winners of contests that leave their units to others.
    """
    feed = calibration.samples.few(2, np.random.default_rng(calibration.seed))
    return analyse(model, observe(model, feed, calibration.runtime), blocked)


def no_units(
    model: ir.Model, layers: Sequence[Layer], calibration: Calibration, blocked: Sequence[int] = ()
) -> TrimPlan:
    """A plan by which no unit goes."""
    dependencies = find_units(model, calibration, blocked)
    removed = np.zeros(len(dependencies.units), bool)
    return TrimPlan(
        dependencies=dependencies,
        layers=tuple(layers),
        candidates=_candidates(model, dependencies, layers),
        removed=removed,
        blocked=tuple(blocked),
    )


def _candidates(model: ir.Model, dependencies: Dependencies, layers: Sequence[Layer]) -> Ints:
    """Numbers of the units none of whose weights is in a layer that must be left as it is."""
    left = {label(layer.node) for layer in find_layers(model.graph)[0]} - {label(layer.node) for layer in layers}
    return np.array(
        [unit.number for unit in dependencies.units if not any(p.node in left for p in (*unit.parts, *unit.consumers))],
        np.int64,
    )
