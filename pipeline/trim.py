"""Choose the units to remove, and remove them with a proof that the function stays.

A unit is removed in two steps: its columns are zeroed in every consumer and the rest is corrected (`prune_segments`,
which treats them as inputs that are dead), then all of its slices are deleted. What is in between is the masked model.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes import _group_obs
from netsurgeon.passes._find_layers import find_layers
from netsurgeon.passes._layers import Layer
from netsurgeon.passes._nodes import FLOATS, is_constant, label, optional_input, present, tensor
from netsurgeon.passes._select_units import Axes, select_units
from netsurgeon.passes._unit_costs import Term, UnitCosts
from netsurgeon.passes.dependencies import Dependencies, Group, Part, Unit, analyse
from netsurgeon.passes.mask_units import MaskUnits
from netsurgeon.passes.prune_weights import Gone
from netsurgeon.passes.trim_neurons import TrimNeurons
from netsurgeon.pipeline._unit_owners import STAYS, Owners, along, owners_of
from netsurgeon.pipeline._unit_prices import price_units
from netsurgeon.pipeline.calibrate import Calibration
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.observe import observe
from netsurgeon.pipeline.options import Options, Progress
from netsurgeon.pipeline.proof import Proof, prove
from netsurgeon.pipeline.runtime import Feed, Runtime

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
PROOF_INPUTS = 16
"""Most inputs on which masked and trimmed model are compared."""
ATTEMPTS = 3
"""How often units are chosen anew, without groups whose removal did not hold, before less than the goal has to do."""
ROUNDING = 1e-9
"""What is saved may be short of the goal by this share of it."""


@dataclasses.dataclass(frozen=True)
class TrimPlan:
    """Which units go.

    Attributes:
        dependencies: of the model.
        layers: those that take part in corrections.
        candidates: numbers of the units that may go.
        removed: True = the unit goes, (units,).
        failed: groups of units that stay because removing them did not hold, and why.
    """

    dependencies: Dependencies = dataclasses.field(repr=False)
    layers: tuple[Layer, ...] = dataclasses.field(repr=False)
    candidates: Ints = dataclasses.field(repr=False)
    removed: Mask = dataclasses.field(repr=False)
    failed: tuple[tuple[Group, str], ...] = ()

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
            (next(at for at, each in enumerate(self.dependencies.groups) if each is group), reason)
            for group, reason in self.failed
        ]
        removed, candidates = np.flatnonzero(self.removed).tolist(), self.candidates.tolist()
        return {"removed": removed, "candidates": candidates, "failed": failed}

    def with_choice(self, described: Mapping[str, Any]) -> TrimPlan:
        """The same plan, with what was chosen before for the same model."""
        removed = np.zeros_like(self.removed)
        removed[described["removed"]] = True
        failed = tuple((self.dependencies.groups[at], str(reason)) for at, reason in described["failed"])
        candidates = np.array(described["candidates"], np.int64)
        return dataclasses.replace(self, removed=removed, candidates=candidates, failed=failed)

    def gone(self) -> dict[str, Gone]:
        """By layer name: what it loses; layers that lose nothing are not in it."""
        result = {}
        for layer in self.layers:
            owners = Owners.of(layer, self.dependencies)
            gone = Gone(_group_obs.owned(owners.columns, self.removed), _group_obs.owned(owners.rows, self.removed))
            if gone.columns.any() or gone.rows.any():
                result[layer.name] = gone
        return result


def give_biases(layers: Sequence[Layer]) -> None:
    """Give every layer that can have one a bias, so that corrections of it are known to be parts of units."""
    for layer in layers:
        slot = layer.bias_slot()
        if slot is not None and optional_input(*slot) is None:
            layer.shift_bias(np.zeros(layer.groups * layer.rows))


def find_units(model: ir.Model, calibration: Calibration) -> Dependencies:
    """What hangs together in the model; one run of two samples shows the shapes."""
    few = calibration.samples.subset(min(2, calibration.samples.count), np.random.default_rng(calibration.seed))
    return analyse(model, observe(model, next(few.batches()), calibration.runtime))


def proof_feeds(calibration: Calibration) -> list[Feed]:
    """Inputs on which masked and trimmed model are compared."""
    count = min(PROOF_INPUTS, calibration.samples.count)
    return list(calibration.samples.subset(count, np.random.default_rng(calibration.seed)).batches())


def no_units(model: ir.Model, layers: Sequence[Layer], calibration: Calibration) -> TrimPlan:
    """A plan by which no unit goes."""
    dependencies = find_units(model, calibration)
    removed = np.zeros(len(dependencies.units), bool)
    return TrimPlan(dependencies, tuple(layers), _candidates(model, dependencies, layers), removed)


def choose_units(
    model: ir.Model, layers: Sequence[Layer], calibration: Calibration, options: Options, progress: Progress
) -> TrimPlan:
    """Choose the units to remove, proven on the dense model to be units.

    Each attempt takes one dense sweep where importance is what consumers lose. Groups whose removal does not hold
    stay, and the goal is sought without them.

    Raises:
        CheckFailedError: not as much as was asked for can be removed, and it was no wish.
    """
    plan = no_units(model, layers, calibration)
    for _ in range(ATTEMPTS):
        plan = dataclasses.replace(plan, removed=_chosen(model, plan, calibration, options, progress))
        require_goal(model, plan, options)
        progress("proving units", 0, 1)
        masked = model.clone()
        MaskUnits(plan.units)(masked)
        proven = remove_units(masked, plan.dependencies, plan.removed, proof_feeds(calibration), calibration.runtime)
        plan = plan.after(proven)
        if not proven.failed or _reaches_goal(model, plan, options):
            break
    require_goal(model, plan, options)
    return plan


def _chosen(model: ir.Model, plan: TrimPlan, calibration: Calibration, options: Options, progress: Progress) -> Mask:
    """Which of the candidates go, (units,): the cheapest, until the goal is saved or no more may go."""
    dependencies = plan.dependencies
    importance, candidates = price_units(
        model, plan.layers, dependencies, plan.candidates, calibration, options, progress
    )
    costs, total = _costs(model, dependencies, candidates, options.save)
    axes = unit_axes(dependencies, candidates, options.multiple)
    progress("choosing units", 0, 1)
    goal = options.trim_goal * total
    selection = select_units(importance, costs, axes, goal, per_saving=options.importance == "obs")
    removed = np.zeros(len(dependencies.units), bool)
    removed[candidates[selection.order]] = True
    return removed


def _reaches_goal(model: ir.Model, plan: TrimPlan, options: Options) -> bool:
    saved = saved_share(model, plan.dependencies, plan.removed, options.save)
    return saved >= options.trim_goal * (1.0 - ROUNDING)


def require_goal(model: ir.Model, plan: TrimPlan, options: Options) -> None:
    """Check that a plan saves what was asked for.

    Args:
        model: before anything is removed.
        plan: which units go.
        options: the goal.

    Raises:
        CheckFailedError: it saves less, and the goal was no wish.
    """
    if options.trim_is_a_wish or _reaches_goal(model, plan, options):
        return
    saved = saved_share(model, plan.dependencies, plan.removed, options.save)
    raise CheckFailedError(
        f"trim is {options.trim_goal:g}, but {saved:.1%} of the {options.save} is all that units can save "
        f"({why_not(plan, options)}): ask for less, or for up-to:{options.trim_goal:g}"
    )


def why_not(plan: TrimPlan, options: Options) -> str:
    """Why no more can go, in a few words."""
    sizes: collections.Counter[str] = collections.Counter()
    for each in plan.dependencies.frozen:
        sizes[f"{each.operator} {each.node or each.value!r}: {each.reason}"] += each.parameters
    failed = [f"those of {group.node!r} stay: {reason}" for group, reason in plan.failed[:3]]
    frozen = "; ".join(text for text, _ in sizes.most_common(3))
    count = f"{len(plan.candidates)} units may go"
    count += ", of them only those that are idle by apoz" if options.importance == "apoz" else ""
    return "; ".join([count, *failed, *([f"frozen: {frozen}"] if frozen else [])])


def _candidates(model: ir.Model, dependencies: Dependencies, layers: Sequence[Layer]) -> Ints:
    """Numbers of the units none of whose weights is in a layer that must be left as it is."""
    left = {label(layer.node) for layer in find_layers(model.graph)[0]} - {label(layer.node) for layer in layers}
    return np.array(
        [unit.number for unit in dependencies.units if not any(p.node in left for p in (*unit.parts, *unit.consumers))],
        np.int64,
    )


def unit_axes(dependencies: Dependencies, candidates: Ints, round_to: int) -> Axes:
    """Candidates by group of units, and the multiples that counts are rounded to."""
    groups = dependencies.groups
    of = np.array([dependencies.units[number].group for number in candidates], np.int64)
    sizes = np.array([len(group.units) for group in groups], np.int64)
    return Axes(
        of,
        np.array([_step(int(size), round_to) for size in sizes], np.int64),
        sizes - np.bincount(of, minlength=len(groups)),
    )


def _step(size: int, round_to: int) -> int:
    """`round_to`, or the largest power of two below it of which half of `size` holds one."""
    return round_to if size >= 2 * round_to else 2 ** max(0, min(size // 2, round_to).bit_length() - 1)


def _costs(model: ir.Model, dependencies: Dependencies, candidates: Ints, save: str) -> tuple[UnitCosts, float]:
    """What candidates weigh, and what the whole model does: parameters or multiply-adds."""
    if save == "macs":
        return candidate_work(dependencies, candidates), sum(work.amount for work in dependencies.tracks.work)
    owners = _candidate_owners(dependencies, candidates)
    nodes = {label(node): node for node in model.graph}
    weights: dict[str | None, list[Term]] = {}
    for (node, index), slots in dependencies.tracks.slots.items():
        value = optional_input(nodes[node], index)
        if is_constant(value) and value is not None and tensor(value).dtype in FLOATS:
            groups = max((slot.groups for slot in slots), default=1)
            weights.setdefault(value.name, _terms(1.0, [owners(slot.labels) for slot in slots], groups))
    held = (value.const_value for value in model.graph.initializers.values())
    total = sum(tensor.size for tensor in held if tensor is not None and tensor.dtype in FLOATS)
    return UnitCosts([term for terms in weights.values() for term in terms], len(candidates)), float(total)


def candidate_work(dependencies: Dependencies, candidates: Ints, rates: Mapping[str, float] | None = None) -> UnitCosts:
    """Multiply-adds of one sample by the candidates that remain, those of each node times its rate, where given."""
    return _work(dependencies, _candidate_owners(dependencies, candidates), len(candidates), rates)


def _candidate_owners(dependencies: Dependencies, candidates: Ints) -> Callable[[Ints], Ints]:
    number = np.full(len(dependencies.units) + 1, STAYS)
    number[candidates] = np.arange(len(candidates))
    return lambda labels: np.asarray(number[owners_of(labels, dependencies)])


def saved_share(model: ir.Model, dependencies: Dependencies, removed: Mask, save: str) -> float:
    """Share of the parameters or multiply-adds that removing units (units,) saves."""
    costs, total = _costs(model, dependencies, np.arange(len(removed)), save)
    return (costs.total(np.ones_like(removed)) - costs.total(~removed)) / total


def multiply_adds(dependencies: Dependencies) -> UnitCosts:
    """Multiply-adds of one sample, by the units that remain."""
    return _work(dependencies, lambda labels: owners_of(labels, dependencies), len(dependencies.units))


def _work(
    dependencies: Dependencies,
    owners: Callable[[Ints], Ints],
    units: int,
    rates: Mapping[str, float] | None = None,
) -> UnitCosts:
    terms = []
    for work in dependencies.tracks.work:
        rate = 1.0 if rates is None else rates[work.node]
        factor = rate * work.amount * work.groups / math.prod(map(len, work.axes))
        terms += _terms(factor, [owners(axis) for axis in work.axes], work.groups)
    return UnitCosts(terms, units)


def _terms(factor: float, owners: Sequence[Ints], groups: int) -> list[Term]:
    """A product of extents; where the first two axes are cut into groups, the sum of the products of each group."""
    if groups == 1:
        return [Term(factor, tuple(owners))]
    rows, columns = (each.reshape(groups, -1) for each in owners[:2])
    return [Term(factor, (row, column, *owners[2:])) for row, column in zip(rows, columns, strict=True)]


@dataclasses.dataclass(frozen=True)
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
    failed: tuple[tuple[Group, str], ...]
    proof: Proof | None


def remove_units(
    masked: ir.Model, dependencies: Dependencies, removed: Mask, feeds: Sequence[Feed], runtime: Runtime
) -> Trimmed:
    """Delete units that count nowhere any more; a group whose removal does not hold stays.

    Args:
        masked: the model, the columns of the units zero in all consumers; not changed.
        dependencies: of the model.
        removed: True = the unit goes, (units,).
        feeds: inputs on which masked and trimmed model must agree.
        runtime: how sessions are made.
    """
    if not removed.any():
        return Trimmed(masked, removed, (), None)
    whole = _attempt(masked, dependencies, removed, feeds, runtime)
    if not isinstance(whole, str):
        return Trimmed(whole[0], removed, (), whole[1])
    of = np.array([unit.group for unit in dependencies.units])
    failed = []
    for group in np.unique(of[removed]):
        alone = _attempt(masked, dependencies, removed & (of == group), feeds, runtime)
        if isinstance(alone, str):
            failed.append((dependencies.groups[group], alone))
            removed = removed & (of != group)
    rest = _attempt(masked, dependencies, removed, feeds, runtime) if removed.any() else ""
    if not isinstance(rest, str):
        return Trimmed(rest[0], removed, tuple(failed), rest[1])
    failed += [(dependencies.groups[group], rest) for group in np.unique(of[removed])]
    return Trimmed(masked, np.zeros_like(removed), tuple(failed), None)


def _attempt(
    masked: ir.Model, dependencies: Dependencies, removed: Mask, feeds: Sequence[Feed], runtime: Runtime
) -> tuple[ir.Model, Proof] | str:
    """The trimmed model and its proof, or why it does not hold."""
    model = masked.clone()
    try:
        TrimNeurons(dependencies, [dependencies.units[number] for number in np.flatnonzero(removed)])(model)
        proof = prove(masked, model, feeds, runtime)
    except (ValueError, CheckFailedError, ir.passes.PassError) as error:
        return str(error.__cause__ or error)
    return (model, proof) if proof.holds else str(proof)


def with_unread(model: ir.Model, plan: TrimPlan, round_to: int) -> Mask:
    """Units that go by the plan, and candidates whose columns are zero in every consumer, (units,).

    Of each group at least one stays, and of those that nobody reads as many as make what is left a multiple
    (see `_step`).
    """
    read, dependencies = _Read(model), plan.dependencies
    gone = plan.removed.copy()
    for number in plan.candidates:
        unit = dependencies.units[number]
        gone[number] |= bool(unit.consumers) and not any(map(read, (*unit.consumers, *unit.zeroed)))
    for group in dependencies.groups:
        numbers = np.array(group.units)
        unread = numbers[gone[numbers] & ~plan.removed[numbers]]
        left = int((~gone[numbers]).sum())
        stay = max(1 - left, -left % _step(len(numbers), round_to) if left else 1)
        gone[unread[:stay]] = False
    return gone


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
