"""What removing units saves, in parameters and multiply-adds, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.dependencies import Dependencies
from netsurgeon.passes.graph import FLOATS, is_constant, label, optional_input, tensor
from netsurgeon.passes.trimming import Axes, Term, UnitCosts
from netsurgeon.pipeline.trimming.unit_owners import STAYS, owners_of

Array = npt.NDArray[np.float64]


Ints = npt.NDArray[np.int64]


Mask = npt.NDArray[np.bool_]


def unit_axes(dependencies: Dependencies, candidates: Ints, round_to: int, floor: float = 0.0) -> Axes:
    """Candidates by group of units, and the multiples that counts are rounded to.

    Args:
        dependencies: of the model.
        candidates: numbers of the units that may go.
        round_to: of which counts left are multiples.
        floor: share of each group that stays as long as others can give more.
    """
    groups = dependencies.groups
    of = np.array([dependencies.units[number].group for number in candidates], np.int64)
    sizes = np.array([len(group.units) for group in groups], np.int64)
    return Axes(
        of,
        np.array([rounding_step(int(size), round_to) for size in sizes], np.int64),
        sizes - np.bincount(of, minlength=len(groups)),
        np.ceil(floor * sizes).astype(np.int64) if floor else None,
    )


def rounding_step(size: int, round_to: int) -> int:
    """`round_to`, or the largest power of two below it of which half of `size` holds one."""
    return round_to if size >= 2 * round_to else 2 ** max(0, min(size // 2, round_to).bit_length() - 1)


def unit_costs(model: ir.Model, dependencies: Dependencies, candidates: Ints, save: str) -> tuple[UnitCosts, float]:
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
    constants = (value.const_value for value in model.graph.initializers.values())
    total = sum(tensor.size for tensor in constants if tensor is not None and tensor.dtype in FLOATS)
    return UnitCosts([term for terms in weights.values() for term in terms], len(candidates)), float(total)


def candidate_work(dependencies: Dependencies, candidates: Ints, rates: Mapping[str, float] | None = None) -> UnitCosts:
    """Multiply-adds of one sample by the candidates that remain, those of each node times its rate, where given."""
    return _work(dependencies, _candidate_owners(dependencies, candidates), len(candidates), rates)


def _candidate_owners(dependencies: Dependencies, candidates: Ints) -> Callable[[Ints], Ints]:
    number = np.full(len(dependencies.units) + 1, STAYS)
    number[candidates] = np.arange(len(candidates))
    return lambda labels: np.asarray(number[owners_of(labels, dependencies)])


def saved_share(model: ir.Model, dependencies: Dependencies, removed: Mask, save: str) -> float:
    """Share of what units weigh, in parameters or multiply-adds, that removing some of them (units,) saves."""
    return shares_saved(model, dependencies, save)(removed)


def shares_saved(model: ir.Model, dependencies: Dependencies, save: str) -> Callable[[Mask], float]:
    """`saved_share` of any number of choices: the model is weighed once."""
    costs, trimmable, _ = trimmable_cost(model, dependencies, save)
    dense = costs.total(np.ones(costs.units, bool))
    return lambda removed: (dense - costs.total(~removed)) / trimmable if trimmable else 0.0


def trimmable_cost(model: ir.Model, dependencies: Dependencies, save: str) -> tuple[UnitCosts, float, float]:
    """What units weigh, each and all together, and what the whole model does: parameters or multiply-adds.

    All together they weigh what the model would be lighter by without any; an embedding's rows, such as those of a
    vocabulary, or what a frozen axis holds are no units.
    """
    costs, whole = unit_costs(model, dependencies, np.arange(len(dependencies.units)), save)
    everything = np.ones(costs.units, bool)
    return costs, costs.total(everything) - costs.total(~everything), whole


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
    rows, columns = (owner_numbers.reshape(groups, -1) for owner_numbers in owners[:2])
    return [Term(factor, (row, column, *owners[2:])) for row, column in zip(rows, columns, strict=True)]


def whole_steps(of: Ints, sizes: Ints, step: Ints) -> Ints:
    """Places in the order of units at which every axis that has lost any has a multiple of its step left.

    Args:
        of: axis of each unit, in order, (removed,).
        sizes: of the axes, (axes,).
        step: of the axes, (axes,).
    """
    left, odd, cuts = sizes.copy(), 0, [0]
    for place, axis in enumerate(of, start=1):
        was_odd = left[axis] != sizes[axis] and left[axis] % step[axis] != 0
        left[axis] -= 1
        odd += int(left[axis] % step[axis] != 0) - int(was_odd)
        if odd == 0:
            cuts.append(place)
    return np.array(cuts, np.int64)
