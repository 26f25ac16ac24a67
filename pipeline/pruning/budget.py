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
    removed = sum(cost.size for cost in costs.values()) - keep
    open_ = dict(costs)
    while True:
        taken = _cheapest_steps(open_, removed)
        grazed = {name for name, count in taken.items() if 0 < count < LEAST_SPARSITY * costs[name].size}
        room = sum(count for name, cost in open_.items() if name not in grazed for _, count in _steps(cost))
        if not grazed or room < removed:
            break
        open_ = {name: cost for name, cost in open_.items() if name not in grazed}
    kept = {name: cost.size - taken.get(name, 0) for name, cost in costs.items()}
    return kept if sum(kept.values()) <= keep else _scaled(kept, keep)


def prices(costs: Mapping[str, Cost], kept: Mapping[str, int]) -> dict[str, float]:
    """Error of each layer that costs as much as the dearest weight that was removed (the Lagrange multiplier).

    A layer whose errors do not show at the outputs has no price.
    """
    dearest = max((_last_slope(cost, cost.size - kept[name]) for name, cost in costs.items()), default=0.0)
    return {name: dearest / cost.sensitivity for name, cost in costs.items() if cost.sensitivity > 0.0}


def _last_slope(cost: Cost, removed: int) -> float:
    """Cost per weight of the last of the steps by which so many weights have gone."""
    slope = 0.0
    for next_slope, count in _steps(cost):
        if removed <= 0:
            break
        slope, removed = next_slope, removed - count
    return slope


def _cheapest_steps(costs: Mapping[str, Cost], removed: int) -> dict[str, int]:
    """Weights removed from each layer, `removed` in all unless the curves end before."""
    result = dict.fromkeys(costs, 0)
    steps = [(slope, name, count) for name, cost in costs.items() for slope, count in _steps(cost)]
    for _, name, count in sorted(steps):
        taken = max(0, min(count, removed))
        result[name] += taken
        removed -= taken
    return result


def _scaled(kept: Mapping[str, int], keep: int) -> dict[str, int]:
    """Where even the ends of all curves keep too much: the same share of each."""
    share = keep / sum(kept.values())
    result = {name: int(count * share) for name, count in kept.items()}
    for name in sorted(result, key=lambda name: kept[name] * share - result[name], reverse=True):
        if sum(result.values()) < keep:
            result[name] += 1
    return result


def _steps(cost: Cost) -> list[tuple[float, int]]:
    """(cost per weight, weights) of each step down the lower convex hull, slopes rising."""
    removed = np.round((1.0 - cost.curve.kept) * cost.size)
    open_ = removed < cost.size  # a layer keeps one weight at least: without any it would cut the network
    removed, errors = removed[open_], cost.curve.errors[open_] * cost.sensitivity
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
