"""Trim idle units, retrain what is left, and again, as long as the validation error allows."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.dependencies import Dependencies
from netsurgeon.passes.graph import label, present
from netsurgeon.passes.trimming import MaskUnits, idle
from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.data import InputSpec, open_samples
from netsurgeon.pipeline.runtime import Runtime
from netsurgeon.pipeline.training.torch_parity import torch_difference
from netsurgeon.pipeline.trimming import count_zeros, find_units, proof_feeds, remove_units

MOST_INPUTS = 2048
"""Validation inputs on which zeros are counted, at most."""
BATCH = 64
TOLERANCE = 1e-4
"""Largest difference between the trimmed network and the trimmed graph, relative to the output's scale."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Width:
    """One layer after one round: a row of the history.

    Attributes:
        round: its number; 0 is the network before the first trimming.
        layer: the first of those that the units lie in.
        units: neurons or channels.
        apoz: their mean APoZ.
        parameters: of the whole network.
        error: of the whole network on the validation split.
    """

    round: int
    layer: str
    units: int
    apoz: float
    parameters: int
    error: float


def trim_and_retrain(
    network: Any, plan: Any, validation: Any, train: Callable[[Any, int], float], process: Any
) -> tuple[Any, list[Width]]:
    """Trim and retrain a network, round after round.

    Args:
        network: with its first weights.
        plan: a `models.trimming.TrimmingPlan`.
        validation: examples on which zeros are counted.
        train: trains a network, in place, in a round, from 0; gives its validation error, the same in all processes.
        process: a `models.distributed.Process`; the one that leads looks for idle units.

    Returns:
        The network of the last round that was good enough, and the history of all rounds.
    """
    whole, limit = _size(network), math.inf
    best, number = network, 0
    history: list[Width] = []
    while True:
        error = train(network, number)
        reached = plan.ratio is not None and whole >= plan.ratio * _size(network)
        last = error > limit or reached or number == plan.rounds
        widths, narrower = process.broadcast_from_main(
            functools.partial(_surveyed, network, plan, validation, number=number, error=error, last=last)
        )
        history += widths
        if error > limit:
            return best, history
        if narrower is None:
            return network, history
        best, limit = network, limit if number else error + plan.tolerance
        network, number = narrower, number + 1


def _surveyed(
    network: Any, plan: Any, validation: Any, number: int, error: float, last: bool
) -> tuple[list[Width], Any | None]:
    """The history of a round, and the network without its idle units, on the CPU; None if it ends here."""
    survey = _Survey.of(network, validation, plan)
    trimmed = None if last else survey.trimmed(plan)
    return list(survey.widths(number, error)), None if trimmed is None else trimmed.cpu()


def _size(network: Any) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@dataclasses.dataclass(frozen=True)
class _Survey:
    """What hangs together in a network, and how idle it is.

    Attributes:
        network: it.
        model: its graph.
        dependencies: of the graph.
        calibration: inputs.
        apoz: of each unit, (units,).
    """

    network: Any
    model: ir.Model
    dependencies: Dependencies
    calibration: Calibration
    apoz: npt.NDArray[np.float64]

    @classmethod
    def of(cls, network: Any, validation: Any, plan: Any) -> _Survey:
        from netsurgeon.models.export import INPUT_NAME, export_layers

        inputs = validation.inputs(np.arange(min(MOST_INPUTS, validation.count)))
        spec = InputSpec(INPUT_NAME, np.dtype(np.float32), (None, *inputs.shape[1:]))
        calibration = Calibration(open_samples({INPUT_NAME: inputs}, (spec,), batch_size=BATCH), Runtime())
        model = export_layers(copy.deepcopy(network).cpu(), inputs[:2])
        dependencies = find_units(model, calibration)
        apoz = count_zeros(model, dependencies, calibration, plan.epsilon)
        return cls(network, model, dependencies, calibration, apoz)

    def widths(self, number: int, error: float) -> Iterator[Width]:
        """The rows of a round's history."""
        nodes = {label(node): node for node in self.model.graph}
        for group in self.dependencies.groups:
            part = self.dependencies.units[group.units[0]].parts[0]
            name = present(nodes[part.node].inputs[part.index]).name or part.node
            apoz = float(self.apoz[list(group.units)].mean())
            yield Width(
                round=number,
                layer=name.rpartition(".")[0],
                units=len(group.units),
                apoz=apoz,
                parameters=_size(self.network),
                error=error,
            )

    def trimmed(self, plan: Any) -> Any | None:
        """The network without its idle units; None if there are none that can go.

        What goes is tried as a whole, then group by group: in some networks the code, not the graph, fixes a width.
        """
        of = np.array([unit.group for unit in self.dependencies.units], np.int64)
        removed = idle(self.apoz, of, plan.deviations) & np.isin(of, self._idlest(of, plan.share))
        network = self._without(removed)
        if network is None:
            holding = [group for group in np.unique(of[removed]) if self._without(removed & (of == group)) is not None]
            network = self._without(removed & np.isin(of, holding))
        return network

    def _idlest(self, of: npt.NDArray[np.int64], share: float) -> npt.NDArray[np.int64]:
        """The groups with the highest mean APoZ."""
        count = len(self.dependencies.groups)
        means = np.bincount(of, self.apoz, count) / np.bincount(of, minlength=count)
        return np.argsort(-means, kind="stable")[: math.ceil(share * count)]

    def _without(self, removed: npt.NDArray[np.bool_]) -> Any | None:
        """The network without these units, if it computes what the graph does without them."""
        from netsurgeon.models.trimming import shrink

        if not removed.any():
            return None
        masked, feeds = self.model.clone(), proof_feeds(self.calibration)
        MaskUnits([self.dependencies.units[number] for number in np.flatnonzero(removed)])(masked)
        trimmed = remove_units(masked, self.dependencies, removed, feeds, self.calibration.runtime)
        if not np.array_equal(trimmed.removed, removed):
            return None
        network = copy.deepcopy(self.network)
        shrink(network, _arrays(trimmed.model))
        return network if self._agree(network, trimmed.model) else None

    def _agree(self, network: Any, model: ir.Model) -> bool:
        session = self.calibration.runtime.session(model)
        try:
            return all(
                torch_difference(session, network, next(iter(feed.values()))) <= TOLERANCE
                for feed in proof_feeds(self.calibration)
            )
        except RuntimeError:  # a width is fixed in the network's own code
            return False


def _arrays(model: ir.Model) -> dict[str, npt.NDArray[Any]]:
    """Initializers by name."""
    constants = ((name, value.const_value) for name, value in model.graph.initializers.items())
    return {name: constant.numpy() for name, constant in constants if constant is not None}
