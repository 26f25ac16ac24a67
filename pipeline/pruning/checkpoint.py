"""Keep a pruning plan in the run folder, and read it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from netsurgeon.passes.solvers import Curve, RoundingCost
from netsurgeon.pipeline.execution import RunFolder
from netsurgeon.pipeline.pruning import budget
from netsurgeon.pipeline.pruning.plan import Plan


def load_plan(work: RunFolder) -> Plan | None:
    """The plan that a run folder keeps; None where there is none."""
    facts, arrays = work.facts("plan"), work.arrays("plan")
    return None if facts is None or arrays is None else Plan(costs=costs_from_arrays(arrays), **facts)


def keep_plan(work: RunFolder, plan: Plan) -> None:
    """Keep the plan of a run that was told what to do."""
    work.keep_arrays("plan", costs_to_arrays(plan.costs))
    facts = {"keep": dict(plan.keep), "prices": dict(plan.prices), "most": dict(plan.most)}
    work.keep_facts("plan", facts)


def costs_to_arrays(costs: Mapping[str, budget.Cost]) -> dict[str, npt.NDArray[Any]]:
    """Costs as arrays, by layer: its number, then what it is."""
    arrays: dict[str, npt.NDArray[Any]] = {"names": np.array(list(costs))}
    for at, cost in enumerate(costs.values()):
        arrays[f"{at}.curve"] = np.stack([cost.curve.kept, cost.curve.errors])
        arrays[f"{at}.numbers"] = np.array([cost.curve.damping, cost.size, cost.sensitivity, cost.positions])
        arrays[f"{at}.integers"] = np.array(list(cost.roundings), np.int64)
        arrays[f"{at}.roundings"] = np.array(
            [[rounding.errors, rounding.nonzero] for rounding in cost.roundings.values()]
        )
    return arrays


def costs_from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, budget.Cost]:
    """The inverse of `costs_to_arrays`."""
    result = {}
    for at, name in enumerate(arrays["names"].tolist()):
        kept, errors = np.asarray(arrays[f"{at}.curve"], np.float64)
        damping, size, sensitivity, positions = arrays[f"{at}.numbers"].tolist()
        sizes, roundings = arrays[f"{at}.integers"].tolist(), arrays[f"{at}.roundings"]
        by_size = {most: RoundingCost(*rounding) for most, rounding in zip(sizes, roundings, strict=True)}
        result[str(name)] = budget.Cost(Curve(kept, errors, damping), int(size), sensitivity, by_size, positions)
    return result
