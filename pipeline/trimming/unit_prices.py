"""What units cost: what their consumers lose after correction, how idle they are, or how large."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes import solvers
from netsurgeon.passes.axes import Slot
from netsurgeon.passes.dependencies import Dependencies, Part
from netsurgeon.passes.graph import FLOATS, is_constant, label, optional_input, tensor
from netsurgeon.passes.layers import Layer
from netsurgeon.passes.trimming import FixedImportance, Importance, ObsImportance, idle
from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.data import counted_entries
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.progress import Progress, Ticks, no_ticks, ticking
from netsurgeon.pipeline.runtime import tapped
from netsurgeon.pipeline.trimming.trim_plan import TrimPlan
from netsurgeon.pipeline.trimming.unit_energies import uncorrected
from netsurgeon.pipeline.trimming.unit_owners import STAYS, Owners, along, owners_of

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
DAMPING = 1e-2
"""λ of the prices, relative to the mean diagonal of H; corrections choose their own."""


def price_units(
    model: ir.Model, plan: TrimPlan, calibration: Calibration, options: Options, progress: Progress
) -> tuple[Importance, Ints]:
    """Prices of a plan's candidates, and which of them are left."""
    dependencies, candidates = plan.dependencies, plan.candidates
    if options.importance == "magnitude":
        return FixedImportance(_magnitudes(model, dependencies)[candidates]), candidates
    if options.importance == "apoz":
        apoz = count_zeros(model, dependencies, calibration, ticks=functools.partial(progress, "counting zeros"))
        of = np.array([unit.group for unit in dependencies.units], np.int64)
        idle_candidates = candidates[idle(apoz, of)[candidates]]
        return FixedImportance(1.0 - apoz[idle_candidates]), idle_candidates
    number = np.full(len(dependencies.units) + 1, STAYS)
    number[candidates] = np.arange(len(candidates))
    consumers = _consumers(model, plan.layers, dependencies, number=number, calibration=calibration, progress=progress)
    ticks = functools.partial(progress, "pricing units")
    sums, unknown = uncorrected(model, dependencies, number, calibration, ticks)
    extra = _shares_of(model, dependencies, unknown)[candidates]
    return ObsImportance([*consumers, *sums], len(candidates), extra), candidates


def _consumers(
    model: ir.Model,
    layers: Sequence[Layer],
    dependencies: Dependencies,
    number: Ints,
    calibration: Calibration,
    progress: Progress,
) -> list[solvers.Consumer]:
    """The layers that read candidates; prices are shares of their outputs' energy."""
    owners = {layer.name: Owners.of(layer, dependencies) for layer in layers}
    reading = [layer.name for layer in layers if (number[owners[layer.name].columns] != STAYS).any()]
    consumers = []
    for layer, moments in calibration.dense(model, reading, functools.partial(progress, "pricing units")):
        plain = dataclasses.replace(moments, ridge=None)  # DAMPING is the identity's
        statistics = plain.statistics(centred=layer.bias_slot() is not None and moments.varies)
        weight, owner = layer.matrix(), owners[layer.name]
        problem = solvers.Problem.of(weight, statistics, DAMPING)
        scale = 1.0 / solvers.energy(weight, statistics)
        consumers.append(solvers.Consumer.of(problem, number[owner.columns], number[owner.rows], scale=scale))
    return consumers


def _shares_of(model: ir.Model, dependencies: Dependencies, slots: Sequence[Slot]) -> Array:
    """Share of the squares of weights, of which nothing else is known, along the axes that units own, (units,)."""
    share = _Shares(model)
    places = {(slot.node, slot.index, slot.axis) for slot in slots}
    return np.array(
        [
            sum(share(part) for part in unit.consumers if (part.node, part.index, part.axis) in places)
            for unit in dependencies.units
        ],
        np.float64,
    )


def _magnitudes(model: ir.Model, dependencies: Dependencies) -> Array:
    """Share of the squares of the weights that make it which each unit owns, (units,)."""
    share = _Shares(model)
    return np.array([sum(share(part) for part in unit.parts) for unit in dependencies.units], np.float64)


class _Shares:
    """Share of a weight's squares that lies in some indices of one of its axes; 0 for biases and other vectors."""

    def __init__(self, model: ir.Model):
        self._nodes = {label(node): node for node in model.graph}
        self._sums: dict[tuple[str, int, int, int], Array | None] = {}

    def __call__(self, part: Part) -> float:
        key = (part.node, part.index, part.axis, part.groups)
        if key not in self._sums:
            self._sums[key] = self._measure(*key)
        sums = self._sums[key]
        return 0.0 if sums is None else float(sums[part.indices].sum())

    def _measure(self, node: str, index: int, axis: int, groups: int) -> Array | None:
        value = optional_input(self._nodes[node], index)
        if value is None or not is_constant(value) or tensor(value).dtype not in FLOATS:
            return None
        array = tensor(value).numpy().astype(np.float64)
        if np.count_nonzero(np.array(array.shape) > 1) < 2:
            return None
        sums = np.square(along(array, axis, groups)).sum(axis=1)
        return np.asarray(sums / max(float(sums.sum()), np.finfo(float).tiny))


def count_zeros(
    model: ir.Model,
    dependencies: Dependencies,
    calibration: Calibration,
    epsilon: float = 0.0,
    ticks: Ticks = no_ticks,
) -> Array:
    """APoZ of each unit where its consumers read it, (units,); 0 where no activation shows it.

    Args:
        model: the dense model.
        dependencies: of the model.
        calibration: inputs.
        epsilon: what counts as 0, as a share of the root mean square of the values of all units.
        ticks: called for every batch.
    """
    nodes = {label(node): node for node in model.graph}
    read = {consumer.node for unit in dependencies.units for consumer in unit.consumers}
    values = [v.name or "" for name in read for v in nodes[name].inputs if v is not None and not is_constant(v)]
    shown = sorted({name for name in values if name in dependencies.tracks.axes})
    session = calibration.runtime.session(tapped(model, shown))
    count, total = np.zeros(len(dependencies.units)), np.zeros(len(dependencies.units))
    for feed in ticking(calibration.samples.batches(), ticks, calibration.samples.batch_count):
        for name, value in session.run(feed, shown).items():
            counts = counted_entries(calibration.samples.mask, name, value.shape, feed)
            mean_square = np.mean(np.square(value, dtype=np.float64), where=counts)
            zeros = counts & (np.abs(value) <= epsilon * np.sqrt(mean_square))
            for axis, labels in enumerate(dependencies.tracks.axes[name]):
                owners = owners_of(labels, dependencies)
                # One axis may carry units of several groups, and indices that no unit owns.
                owned_rows = owners != STAYS
                if owned_rows.any():
                    rest = tuple(other for other in range(value.ndim) if other != axis)
                    np.add.at(count, owners[owned_rows], np.count_nonzero(zeros, axis=rest)[owned_rows])
                    np.add.at(total, owners[owned_rows], np.count_nonzero(counts, axis=rest)[owned_rows])
    return np.asarray(count / np.maximum(total, 1.0))
