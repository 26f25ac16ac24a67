"""Which units go, and what came of removing them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from netsurgeon.passes import solvers
from netsurgeon.passes.dependencies import Dependencies, Group, Unit
from netsurgeon.passes.layers import Layer
from netsurgeon.passes.pruning import RemovedSlices
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.trimming.costs import Ints, Mask
from netsurgeon.pipeline.trimming.unit_owners import Owners
from netsurgeon.pipeline.verification import EquivalenceCheck


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrimPlan:
    """Which units go.

    Attributes:
        dependencies: of the model.
        layers: those that take part in corrections.
        candidates: numbers of the units that may go.
        removed: True = the unit goes, (units,).
        failed: groups of units that stay because removing them did not hold, and why.
        blocked: what left its units to others in the analysis (see `Dependencies.contests`).
    """

    dependencies: Dependencies = dataclasses.field(repr=False)
    layers: tuple[Layer, ...] = dataclasses.field(repr=False)
    candidates: Ints = dataclasses.field(repr=False)
    removed: Mask = dataclasses.field(repr=False)
    failed: tuple[tuple[Group, Message], ...] = ()
    blocked: tuple[int, ...] = ()

    @property
    def units(self) -> list[Unit]:
        """The units that go."""
        return [self.dependencies.units[number] for number in np.flatnonzero(self.removed)]

    def after(self, trimmed: Trimmed) -> TrimPlan:
        """The plan without what did not hold: units of these groups may not go any more."""
        failed = [group.units for group, _ in trimmed.failed]
        candidates = self.candidates[~np.isin(self.candidates, np.concatenate([[-1], *failed]))]
        removed = self.removed & trimmed.removed
        return dataclasses.replace(self, candidates=candidates, removed=removed, failed=(*self.failed, *trimmed.failed))

    def described(self) -> dict[str, Any]:
        """What was chosen, as JSON values."""
        failed = [
            (next(at for at, other in enumerate(self.dependencies.groups) if other is group), reason.to_json())
            for group, reason in self.failed
        ]
        removed, candidates = np.flatnonzero(self.removed).tolist(), self.candidates.tolist()
        return {"removed": removed, "candidates": candidates, "failed": failed, "blocked": list(self.blocked)}

    def with_choice(self, described: Mapping[str, Any]) -> TrimPlan:
        """The same plan, with what was chosen before for the same model."""
        removed = np.zeros_like(self.removed)
        removed[described["removed"]] = True
        failed = tuple((self.dependencies.groups[at], Message.from_json(reason)) for at, reason in described["failed"])
        candidates = np.array(described["candidates"], np.int64)
        return dataclasses.replace(self, removed=removed, candidates=candidates, failed=failed)

    def removed_slices(self) -> dict[str, RemovedSlices]:
        """By layer name: what it loses; layers that lose nothing are not in it."""
        result = {}
        for layer in self.layers:
            owners = Owners.of(layer, self.dependencies)
            slices = RemovedSlices(
                solvers.owned(owners.columns, self.removed), solvers.owned(owners.rows, self.removed)
            )
            if slices.columns.any() or slices.rows.any():
                result[layer.name] = slices
        return result


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trimmed:
    """A model without some units, and the proof.

    Attributes:
        model: the trimmed model.
        removed: True = the unit went, (units,).
        failed: groups of units that stay because removing them did not hold, and why.
        proof: that masked and trimmed model are the same function; None where nothing was removed.
    """

    model: ir.Model = dataclasses.field(repr=False)
    removed: Mask = dataclasses.field(repr=False)
    failed: tuple[tuple[Group, Message], ...]
    proof: EquivalenceCheck | None
