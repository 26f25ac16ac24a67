"""Spread one global goal over the layers."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from netsurgeon.passes.solvers import Curve

Array = npt.NDArray[np.float64]
LEAST_SPARSITY = 0.05
"""A layer that would lose a smaller share of its weights stays dense: zeros this sparse save nothing."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What pruning one layer costs the model.

    Attributes:
        curve: error of the layer against the weights it keeps.
        size: weights of the layer.
        sensitivity: error of the model's outputs per error of the layer.
    """

    curve: Curve
    size: int
    sensitivity: float


def uniform(sizes: Mapping[str, int], sparsity: float) -> dict[str, int]:
    """The same share of every layer."""
    return {name: size - round(size * sparsity) for name, size in sizes.items()}


def allocate(costs: Mapping[str, Cost], keep: int) -> dict[str, int]:
    """Weights to keep in each layer, `keep` in all, so that the summed cost is least.

    Lagrangian relaxation over the layers' convex error curves (SPDY's objective, arXiv 2201.13096, whose dynamic
    programme it equals where curves are convex): the cheapest steps over all layers are taken until the budget is met.
    """
    dense: set[str] = set()
    while True:
        result = _allocate({name: cost for name, cost in costs.items() if name not in dense}, keep, costs, dense)
        grazed = {n for n, kept in result.items() if costs[n].size > kept > (1.0 - LEAST_SPARSITY) * costs[n].size}
        room = sum(costs[n].size for n in costs if n not in dense | grazed)
        if not grazed or room < sum(cost.size for cost in costs.values()) - keep:
            return result
        dense |= grazed


def _allocate(open_: Mapping[str, Cost], keep: int, costs: Mapping[str, Cost], dense: set[str]) -> dict[str, int]:
    result = {name: cost.size for name, cost in costs.items()}
    steps = [
        (slope, name, removed) for name, cost in open_.items() for slope, removed in _steps(cost.curve, cost.size, cost)
    ]
    excess = max(0, sum(result.values()) - keep)
    for _, name, removed in sorted(steps):
        taken = min(removed, excess)
        result[name] -= taken
        excess -= taken
    return result if excess == 0 else _scaled(result, keep)


def _scaled(kept: Mapping[str, int], keep: int) -> dict[str, int]:
    """Where even the ends of all curves keep too much: the same share of each."""
    share = keep / sum(kept.values())
    result = {name: int(count * share) for name, count in kept.items()}
    for name in sorted(result, key=lambda name: kept[name] * share - result[name], reverse=True):
        if sum(result.values()) < keep:
            result[name] += 1
    return result


def _steps(curve: Curve, size: int, cost: Cost) -> list[tuple[float, int]]:
    """(cost per weight, weights) of each step down the lower convex hull, slopes rising."""
    removed = np.minimum(np.round((1.0 - curve.kept) * size), size - 1)
    errors = curve.errors * cost.sensitivity
    hull: list[int] = []
    for point in range(len(removed)):
        while len(hull) >= 2 and _above(removed, errors, hull[-2], hull[-1], point):
            hull.pop()
        if not hull or removed[point] > removed[hull[-1]]:
            hull.append(point)
    return [
        (float((errors[b] - errors[a]) / (removed[b] - removed[a])), int(removed[b] - removed[a]))
        for a, b in itertools.pairwise(hull)
    ]


def _above(x: Array, y: Array, first: int, middle: int, last: int) -> bool:
    """Whether the middle point lies on or above the line from first to last."""
    return bool((y[middle] - y[first]) * (x[last] - x[first]) >= (y[last] - y[first]) * (x[middle] - x[first]))
