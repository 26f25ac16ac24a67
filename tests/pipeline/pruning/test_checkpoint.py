"""A pruning plan goes into a run folder and comes out as it was."""

from pathlib import Path

import numpy as np
import pytest

from netsurgeon.passes.solvers.error_curve import Curve, RoundingCost
from netsurgeon.pipeline.execution.run_folder import RunFolder
from netsurgeon.pipeline.pruning.budget import Cost
from netsurgeon.pipeline.pruning.checkpoint import costs_from_arrays, costs_to_arrays, keep_plan, load_plan
from netsurgeon.pipeline.pruning.plan import Plan

NAMES = ("first", "a/b.c:0", "ünï cödé", "", "0.curve", "names")
"""Of nodes, which may be called anything; the last two as arrays of the checkpoint are."""


def costs() -> dict[str, Cost]:
    rng = np.random.default_rng(0)
    return {
        name: Cost(
            Curve(np.linspace(1.0, 0.1, 3 + at), np.sort(rng.random(3 + at)), 10.0**-at),
            7 + at,
            rng.random(),
            {most: RoundingCost(rng.random(4), rng.random(4)) for most in (63, 7)[:at]},
        )
        for at, name in enumerate(NAMES)
    }


def same(one: dict[str, Cost], other: dict[str, Cost]) -> bool:
    return list(one) == list(other) and all(
        (a.size, a.sensitivity, a.curve.damping) == (b.size, b.sensitivity, b.curve.damping)
        and a.curve.kept.tobytes() == b.curve.kept.tobytes()
        and a.curve.errors.tobytes() == b.curve.errors.tobytes()
        and list(a.roundings) == list(b.roundings)
        and all(
            (x.errors.tobytes(), x.nonzero.tobytes()) == (y.errors.tobytes(), y.nonzero.tobytes())
            for x, y in zip(a.roundings.values(), b.roundings.values(), strict=True)
        )
        for a, b in zip(one.values(), other.values(), strict=True)
    )


def test_costs_come_back_to_the_last_bit_in_their_order() -> None:
    assert same(costs_from_arrays(costs_to_arrays(costs())), costs())
    backwards = dict(reversed(costs().items()))
    assert same(costs_from_arrays(costs_to_arrays(backwards)), backwards)


def test_no_costs_are_no_costs() -> None:
    assert costs_from_arrays(costs_to_arrays({})) == {}


@pytest.mark.parametrize("infinite", [np.inf, np.nan])
def test_numbers_that_are_not_finite_come_back(infinite: float) -> None:
    odd = {"first": Cost(Curve(np.array([1.0, 0.5]), np.array([0.0, infinite]), infinite), 2, infinite)}
    back = costs_from_arrays(costs_to_arrays(odd))["first"]
    np.testing.assert_array_equal(
        [back.curve.errors[1], back.curve.damping, back.sensitivity], [infinite, infinite, infinite]
    )


@pytest.mark.parametrize("with_costs", [True, False])
def test_a_plan_survives_the_process(with_costs: bool, tmp_path: Path) -> None:
    plan = Plan(
        dict(zip(NAMES, range(6), strict=True)), costs() if with_costs else {}, {"first": 1e-300, "": 0.0}, {"first": 7}
    )
    with RunFolder(tmp_path, {"run": 1}) as work:
        assert load_plan(work) is None
        keep_plan(work, plan)
    with RunFolder(tmp_path, {"run": 1}) as work:
        again = load_plan(work)
    assert again is not None
    assert (again.keep, again.prices, again.most) == (plan.keep, plan.prices, plan.most)
    assert same(dict(again.costs), dict(plan.costs))


def test_without_a_folder_nothing_is_kept() -> None:
    work = RunFolder(None, {})
    keep_plan(work, Plan({"first": 1}, costs()))
    assert load_plan(work) is None


@pytest.mark.parametrize("lost", ["plan.npz", "plan.json"])
def test_half_a_plan_is_none(lost: str, tmp_path: Path) -> None:
    with RunFolder(tmp_path, {}) as work:
        keep_plan(work, Plan({"first": 1}, costs()))
        (tmp_path / lost).unlink()
        assert load_plan(work) is None
