"""Take units out of a model and prove in ONNX Runtime that its outputs stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.dependencies import Dependencies, Part
from netsurgeon.passes.graph import label, present, tensor
from netsurgeon.passes.trimming import TrimNeurons
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.progress import Ticks, no_ticks
from netsurgeon.pipeline.runtime import Feed, Runtime
from netsurgeon.pipeline.trimming.costs import Ints, Mask, rounding_step, shares_saved
from netsurgeon.pipeline.trimming.trim_plan import Trimmed, TrimPlan
from netsurgeon.pipeline.trimming.unit_owners import along
from netsurgeon.pipeline.verification import EquivalenceCheck, check_equivalence


def remove_units(
    masked: ir.Model,
    dependencies: Dependencies,
    removed: Mask,
    feeds: Sequence[Feed],
    runtime: Runtime,
    ticks: Ticks = no_ticks,
) -> Trimmed:
    """Delete units that count nowhere any more; a group whose removal does not hold stays.

    Args:
        masked: the model, the columns of the units zero in all consumers; not changed.
        dependencies: of the model.
        removed: True = the unit goes, (units,).
        feeds: inputs on which masked and trimmed model must agree.
        runtime: how sessions are made.
        ticks: called for every attempt, of which there may be many.
    """
    if not removed.any():
        return Trimmed(model=masked, removed=removed, failed=(), proof=None)
    ticks(0, 1)
    whole = _attempt(masked, dependencies, removed, feeds, runtime)
    if not isinstance(whole, Message):
        return Trimmed(model=whole[0], removed=removed, failed=(), proof=whole[1])
    of = np.array([unit.group for unit in dependencies.units])

    def attempt(groups: Ints) -> tuple[ir.Model, EquivalenceCheck] | Message:
        ticks(0, 1)
        return _attempt(masked, dependencies, removed & np.isin(of, groups), feeds, runtime)

    failing = _failing(np.unique(of[removed]), whole, attempt)
    failed = [(dependencies.groups[group], reason) for group, reason in failing]
    removed = removed & ~np.isin(of, [group for group, _ in failing])
    if not removed.any():
        return Trimmed(model=masked, removed=removed, failed=tuple(failed), proof=None)
    rest = _attempt(masked, dependencies, removed, feeds, runtime)
    if not isinstance(rest, Message):
        return Trimmed(model=rest[0], removed=removed, failed=tuple(failed), proof=rest[1])
    failed += [(dependencies.groups[group], rest) for group in np.unique(of[removed])]
    return Trimmed(model=masked, removed=np.zeros_like(removed), failed=tuple(failed), proof=None)


def _failing(
    groups: Ints, problem: Message, attempt: Callable[[Ints], tuple[ir.Model, EquivalenceCheck] | Message]
) -> list[tuple[int, Message]]:
    """Of groups that fail together those that fail alone, and why: by halves, because each attempt runs the model."""
    if len(groups) == 1:
        return [(int(groups[0]), problem)]
    failing: list[tuple[int, Message]] = []
    for half in np.array_split(groups, 2):
        outcome = attempt(half)
        if isinstance(outcome, Message):
            failing += _failing(half, outcome, attempt)
    return failing


def _attempt(
    masked: ir.Model, dependencies: Dependencies, removed: Mask, feeds: Sequence[Feed], runtime: Runtime
) -> tuple[ir.Model, EquivalenceCheck] | Message:
    """The trimmed model and its proof, or why it does not hold."""
    model = masked.clone()
    try:
        TrimNeurons(dependencies, [dependencies.units[number] for number in np.flatnonzero(removed)])(model)
        proof = check_equivalence(masked, model, feeds, runtime)
    except (ValueError, CheckFailedError, ir.passes.PassError) as error:
        return Message(str(error.__cause__ or error), "removal-fails")
    return proof.problem or (model, proof)


def with_unread(model: ir.Model, plan: TrimPlan, round_to: int) -> Mask:
    """Units that go by the plan, and candidates whose columns are zero in every consumer, (units,).

    Of each group at least one stays, and of those that nobody reads as many as make what is left a multiple
    (see `rounding_step`).
    """
    read, dependencies = _Read(model), plan.dependencies
    going = plan.removed.copy()
    for number in plan.candidates:
        unit = dependencies.units[number]
        going[number] |= bool(unit.consumers) and not any(map(read, (*unit.consumers, *unit.zeroed)))
    for group in dependencies.groups:
        numbers = np.array(group.units)
        unread = numbers[going[numbers] & ~plan.removed[numbers]]
        left = int((~going[numbers]).sum())
        stay = max(1 - left, -left % rounding_step(len(numbers), round_to) if left else 1)
        going[unread[:stay]] = False
    return going


def below_ceiling(model: ir.Model, plan: TrimPlan, going: Mask, options: Options) -> Mask:
    """Units that go by the plan, and of the others that would, whole groups that the goal leaves room for, (units,).

    Where nothing else is asked for than to trim, what loses its reader loses it through trimming, by corrections that
    rest on what the calibration inputs show: a ceiling holds for it, too.
    """
    removed, saved_share = plan.removed.copy(), shares_saved(model, plan.dependencies, options.save)
    for group in plan.dependencies.groups:
        wider = removed.copy()
        wider[list(group.units)] = going[list(group.units)]
        if (wider > removed).any() and saved_share(wider) <= options.trim_goal:
            removed = wider
    return removed


class _Read:
    """Whether a consumer has anything but zeros in some indices of one of its axes."""

    def __init__(self, model: ir.Model):
        self._nodes = {label(node): node for node in model.graph}
        self._any: dict[tuple[str, int, int, int], Mask] = {}

    def __call__(self, part: Part) -> bool:
        key = (part.node, part.index, part.axis, part.groups)
        if key not in self._any:
            array = tensor(present(self._nodes[part.node].inputs[part.index])).numpy()
            self._any[key] = np.asarray(along(array, part.axis, part.groups).any(axis=1), bool)
        return bool(self._any[key][part.indices].any())
