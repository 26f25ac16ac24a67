"""What became of the units, for the report."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.dependencies import Frozen
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.trimming.costs import multiply_adds, saved_share, trimmable_cost
from netsurgeon.pipeline.trimming.trim_plan import Trimmed, TrimPlan
from netsurgeon.pipeline.verification import EquivalenceCheck


def trim_facts(masked: ir.Model, plan: TrimPlan, trimmed: Trimmed, options: Options) -> TrimFacts:
    """What became of the units; `masked` still has all of them."""
    dependencies, removed = plan.dependencies, trimmed.removed
    groups = []
    for group in dependencies.groups:
        removed_count = int(removed[list(group.units)].sum())
        if removed_count:
            groups.append(
                GroupFacts(node=group.node, operators=group.operators, units=len(group.units), removed=removed_count)
            )
    macs = multiply_adds(dependencies)
    _, units, whole = trimmable_cost(masked, dependencies, options.save)
    trimmable = units / whole if whole else 0.0
    return TrimFacts(
        asked=None if options.trim is None else options.trim_goal,
        is_ceiling=options.trim_best_effort,
        saved=trimmable * saved_share(masked, dependencies, removed, options.save),
        saved_by_choice=trimmable * saved_share(masked, dependencies, removed & plan.removed, options.save),
        trimmable=trimmable,
        macs_dense=macs.total(np.ones_like(removed)),
        macs=macs.total(~removed),
        unread=int((removed & ~plan.removed).sum()),
        groups=tuple(groups),
        frozen=dependencies.frozen,
        failed=tuple((group.node, reason) for group, reason in (*plan.failed, *trimmed.failed)),
        proof=trimmed.proof,
    )


FLOOR = 0.1
"""Share of its units that a group keeps as long as others can give more: with fewer little can be corrected."""


WHOLE = 0.995
"""Share of the model from which what units have is as good as all of it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupFacts:
    """Units that lie on the same axes.

    Attributes:
        node: the node that makes them.
        operators: the operators they touch.
        units: how many.
        removed: how many went.
    """

    node: str
    operators: tuple[str, ...]
    units: int
    removed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrimFacts:
    """What became of the units.

    Attributes:
        asked: share to be saved of the parameters or multiply-adds that units have; None where no units were to be
            trimmed.
        is_ceiling: whether that is the most that may be chosen.
        saved: share of the whole model's that all units that went save.
        saved_by_choice: share that those save that were chosen; nothing read the others any more.
        unread: units that went because pruning had left nobody to read them.
        groups: those that lost units.
        frozen: axes of weights that no unit owns.
        failed: groups of which nothing was removed: node, and why: outputs-differ, model-fails or removal-fails.
        proof: masked against trimmed model; None where nothing was removed.
        macs_dense: multiply-adds of the dense model for one sample, of the operators that trimming knows.
        macs: of the compressed model.
        trimmable: share of the whole model's parameters or multiply-adds that units have; the rest no unit can save.
    """

    asked: float | None
    is_ceiling: bool
    saved: float
    saved_by_choice: float
    macs_dense: float
    macs: float
    unread: int
    groups: tuple[GroupFacts, ...]
    frozen: tuple[Frozen, ...]
    failed: tuple[tuple[str, Message], ...]
    proof: EquivalenceCheck | None
    trimmable: float = 1.0

    @property
    def scarce(self) -> tuple[GroupFacts, ...]:
        """Groups that keep less than the floor."""
        return tuple(group for group in self.groups if group.units - group.removed < FLOOR * group.units)

    def summary(self, save: str) -> str:
        """What was saved beside what was asked for, in a sentence; `save` is "parameters" or "macs"."""
        amount = "multiply-adds" if save == "macs" else "parameters"
        others = self.saved - self.saved_by_choice
        share_of_units = self.saved_by_choice / self.trimmable if self.trimmable else 0.0
        if self.asked is None:
            return f"pruning left units that nothing reads, which went as well: they saved {others:.1%} of the {amount}"
        asked = f"{'up to ' if self.is_ceiling else ''}{self.asked:.1%} were asked for"
        theirs = f" that they have ({self.saved_by_choice:.1%} of all)" if 0.0 < self.trimmable < WHOLE else ""
        text = f"units saved {share_of_units:.1%} of the {amount}{theirs}, {asked}"
        if self.unread:
            text += f"; another {others:.1%} went because nothing reads it any more ({counted(self.unread, 'unit')})"
        return text
