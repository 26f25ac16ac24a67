"""The error curve of a layer is what pruning it costs."""

import dataclasses

import numpy as np
import pytest
from layer_problems import normal, samples, statistics_of, wide

from netsurgeon.passes.solvers import damping as damping_module
from netsurgeon.passes.solvers import error_curve as error_curve_module
from netsurgeon.passes.solvers import problem as problem_module
from netsurgeon.passes.solvers.damping import choose_damping
from netsurgeon.passes.solvers.error_curve import ROUNDED_KEPT, curve, rounding_costs, trial
from netsurgeon.passes.solvers.integer_grid import round_to_integers
from netsurgeon.passes.solvers.masks import Tiles
from netsurgeon.passes.solvers.methods import Effort, prune, refit_columns
from netsurgeon.passes.solvers.problem import Problem

EFFORTS: tuple[Effort, Effort] = ("full", "hasty")


def check_curve(columns: int, rows: int, tolerance: float) -> None:
    weight, statistics = normal(2, rows, columns), statistics_of(samples(2, columns, 300))
    found = curve(Problem.of(weight, statistics, 1e-3), np.random.default_rng(0))
    assert found.kept[0] == 1.0
    assert 0.0 < found.kept[-1] < 0.001
    assert (np.diff(found.kept) < 0).all()
    assert found.errors[0] == 0.0
    assert (np.diff(found.errors) >= 0).all()
    assert found.errors[-1] == pytest.approx(1.0, rel=0.05), "with hardly a weight left hardly any energy is"
    problem = Problem.of(weight, statistics, 1e-3)
    energy = np.sum((weight @ statistics.gram) * weight)
    for share in (0.5, 0.1):
        at = int(np.argmin(np.abs(found.kept - share)))
        pruned = prune(problem, round(found.kept[at] * weight.size), "auto")
        assert found.errors[at] == pytest.approx(problem.error(pruned) / energy, rel=tolerance)


def test_the_curve_is_what_pruning_costs() -> None:
    check_curve(columns=20, rows=6, tolerance=0.25)


def test_the_curve_of_some_rows_stands_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damping_module, "SAMPLED_ROWS", 20)
    check_curve(columns=20, rows=40, tolerance=0.35)


@pytest.mark.parametrize("is_wide", [False, True])
def test_the_curve_of_weights_in_tiles(is_wide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured on whole tiles of some of the rows."""
    monkeypatch.setattr(damping_module, "SAMPLED_ROWS", 40)
    if is_wide:
        wide(monkeypatch)
    weight, statistics = normal(1, 72, 40), statistics_of(samples(1, 40, 300))
    problem, tiles = Problem.of(weight, statistics, 1e-3), Tiles(16, np.arange(40)[::-1])
    tiled, anywhere = (curve(problem, np.random.default_rng(0), pattern) for pattern in (tiles, None))
    energy = np.sum((weight @ statistics.gram) * weight)
    for share in (0.5, 0.1):
        at = int(np.argmin(np.abs(tiled.kept - share)))
        pruned = prune(problem, round(tiled.kept[at] * weight.size), "admm", tiles)
        best = problem.error(pruned) / energy
        assert 0.8 * best < tiled.errors[at] < (2.5 if is_wide else 1.2) * best
        assert tiled.errors[at] > 1.15 * anywhere.errors[at]
    assert (np.diff(tiled.errors) >= 0).all()


def test_the_curve_of_a_wide_layer_lies_between_the_best_and_the_uncorrected(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, statistics = normal(2, 12, 40), statistics_of(samples(2, 40, 300))
    problem = Problem.of(weight, statistics, 1e-3)
    energy = np.sum((weight @ statistics.gram) * weight)
    wide(monkeypatch)
    found = curve(Problem.of(weight, statistics, 1e-3), np.random.default_rng(0))
    for share in (0.5, 0.2, 0.1):
        at = int(np.argmin(np.abs(found.kept - share)))
        keep = round(found.kept[at] * weight.size)
        best, worst = (problem.error(prune(problem, keep, method)) / energy for method in ("admm", "magnitude"))
        assert 0.9 * best < found.errors[at] < worst


def test_the_curve_of_a_layer_with_few_samples_is_not_too_good_to_be_true() -> None:
    """With little damping a refit on fewer samples than columns reproduces them; the held-out error is far larger."""
    x, weight = samples(1, 60, 20_000), normal(1, 40, 60)
    fit, held = statistics_of(x[..., :30]), statistics_of(x[..., 10_000:])
    half = weight.size // 2

    def promised_and_found(damping: float) -> tuple[float, float]:
        measured = curve(Problem.of(weight, fit, damping), np.random.default_rng(0))
        pruned = prune(Problem.of(weight, fit, damping), half, "obs")
        change = pruned - weight
        found = float(np.sum((change @ held.gram) * change)) / problem_module.energy(weight, held)
        return float(np.interp(-0.5, -measured.kept, measured.errors)), found

    promised, found = promised_and_found(choose_damping(weight, fit, held, half, np.random.default_rng(0)))
    assert 0.4 < promised / found < 2.5
    careless, worse = promised_and_found(min(damping_module.DAMPINGS))
    assert careless < 0.2 * worse
    assert found < worse


@pytest.mark.parametrize("most", [63, 7, 1])
def test_what_rounding_adds_to_pruning_is_the_error_of_both_less_that_of_pruning(most: int) -> None:
    weight, statistics = normal(2, 8, 30), statistics_of(samples(2, 30, 300))
    problem = Problem.of(weight, statistics, 1e-2)
    cost = rounding_costs(problem, (most,), np.random.default_rng(0))[most]
    for at, share in enumerate(ROUNDED_KEPT):
        pruned = refit_columns(problem, round(share * weight.size), 30, 5)
        integers = round_to_integers(
            dataclasses.replace(problem, weight=pruned, target=pruned @ problem.hessian), pruned != 0.0, most
        )
        both, alone = (problem.relative(problem.error(part)) for part in (integers.weight, pruned))
        assert cost.errors[at] == pytest.approx(both - alone, rel=0.1, abs=1e-5)
        assert cost.nonzero[at] == np.count_nonzero(integers.codes) / np.count_nonzero(pruned)


def test_where_inputs_are_few_rounding_costs_what_it_does_on_others() -> None:
    weight, x = normal(2, 12, 40), samples(2, 40, 20_000)
    fit, held = statistics_of(x[..., :30]), statistics_of(x[..., 10_000:])
    problem = Problem.of(weight, fit, 0.3)
    cost = float(rounding_costs(problem, (7,), np.random.default_rng(0))[7].errors[-1])
    change = round_to_integers(problem, weight != 0.0, 7).weight - weight
    lost = float(np.sum((change @ held.gram) * change)) / problem_module.energy(weight, held)
    assert 0.7 < cost / lost < 1.5, "a third as much on the inputs that it was fitted to"


def test_a_first_look_measures_curves_and_integers_on_fewer_rows_and_is_as_near() -> None:
    problem = Problem.of(normal(1, 64, 30), statistics_of(samples(1, 30, 300)), 1e-2)
    full, hasty = (rounding_costs(problem, (63, 7, 1), np.random.default_rng(0), effort=effort) for effort in EFFORTS)
    for most, cost in hasty.items():
        np.testing.assert_allclose(cost.errors[1:], full[most].errors[1:], rtol=0.5)
    whole, part = (curve(problem, np.random.default_rng(0), effort=effort) for effort in EFFORTS)
    assert (whole.errors != part.errors).any(), "other rows stand for the layer"
    np.testing.assert_allclose(part.errors[5:], whole.errors[5:], rtol=0.3)


def test_fewer_bits_cost_more_and_fewer_weights_less() -> None:
    problem = Problem.of(normal(1, 40, 30), statistics_of(samples(1, 30, 300)), 1e-2)
    costs = rounding_costs(problem, (63, 7, 3, 1), np.random.default_rng(0))
    assert list(costs) == [63, 7, 3, 1]
    errors = np.stack([cost.error_at(np.array([0.02, 0.1, 0.5, 1.0])) for cost in costs.values()])
    np.testing.assert_array_equal(errors[:, 0], [cost.error_at(np.array(0.001)) for cost in costs.values()])
    assert (np.diff(errors, axis=0) > 0.0).all()
    assert (errors[:, 1] < errors[:, 2]).all()
    assert errors[1, -1] / errors[0, -1] == pytest.approx(64.0, rel=0.5), "four times for each bit"
    density = costs[1].nonzero_at(np.array([0.1, 1.0]))
    assert (density <= [0.1, 1.0]).all()


def test_a_trial_of_a_wide_layer_is_coarser_with_little_effort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_curve_module, "TRIAL_COLUMNS", 1)
    problem = Problem.of(normal(1, 12, 80), statistics_of(samples(1, 80, 300)), 1e-2)
    keep = problem.weight.size // 3
    full, narrow = (trial(problem, keep, effort=effort) for effort in ("full", "fast"))
    assert full[1] == narrow[1], "a narrow layer takes no time"
    monkeypatch.setattr(error_curve_module, "ITERATED_COLUMNS", 40)
    weight, error = trial(problem, keep, effort="fast")
    assert np.count_nonzero(weight) == keep
    assert full[1] < error < 3.0 * full[1]
    assert error == pytest.approx(problem.relative(problem.excess(weight)))
