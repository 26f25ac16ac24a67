"""The solvers against closed forms and naive transcriptions of the papers."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_problems import Array, normal, oracle, pattern_2_of_4, problem_of, samples, statistics_of, wide

from netsurgeon.passes.solvers import admm, linalg, methods
from netsurgeon.passes.solvers import obs as obs_module
from netsurgeon.passes.solvers.linalg import FactorizationError, Floats
from netsurgeon.passes.solvers.methods import (
    FAST_METHOD,
    METHODS,
    UNCORRECTED,
    correct,
    iterate,
    largest_scaled,
    prune,
    quick_refit,
    refit_columns,
)
from netsurgeon.passes.solvers.problem import Problem

CORRECTED = tuple(method for method in METHODS if method not in UNCORRECTED)


@pytest.mark.parametrize("method", CORRECTED)
@pytest.mark.parametrize(("groups", "columns"), [(1, 24), (3, 20), (1, 90)])
def test_kept_weights_have_the_closed_form(method: str, groups: int, columns: int) -> None:
    problem = problem_of(groups=groups, rows=5, columns=columns)
    for share in (0.9, 0.5, 0.1):
        pruned = prune(problem, round(share * problem.weight.size), method)
        np.testing.assert_allclose(pruned, oracle(problem, pruned != 0), rtol=1e-6, atol=1e-9)


@settings(max_examples=25)
@given(st.integers(0, 999), st.integers(1, 2), st.integers(1, 4), st.integers(2, 20), st.floats(0, 1))
def test_exact_count_of_nonzeros(seed: int, groups: int, rows: int, columns: int, share: float) -> None:
    problem = problem_of(groups, rows, columns, seed, damping=1e-2)
    keep = round(share * problem.weight.size)
    for method in (*METHODS, FAST_METHOD):
        pruned = prune(problem, keep, method)
        assert pruned.shape == problem.weight.shape
        assert pruned.dtype == np.float64
        assert np.count_nonzero(pruned) == keep, method


@pytest.mark.parametrize("method", [*METHODS, FAST_METHOD])
def test_sparsity_zero_changes_nothing(method: str) -> None:
    weight = normal(2, 4, 24)
    problem = Problem.of(weight, statistics_of(samples(2, 24, 90)), 1e-2)
    for keep in (weight.size, weight.size + 5):
        assert prune(problem, keep, method).tobytes() == weight.tobytes()


@pytest.mark.parametrize("method", [*METHODS, FAST_METHOD])
def test_a_problem_is_not_changed_by_solving_it(method: str) -> None:
    problem, fresh = problem_of(groups=2, columns=24), problem_of(groups=2, columns=24)
    for pattern in (None, pattern_2_of_4(24)):
        prune(problem, 50, method, pattern)
    for name in ("target", "hessian", "weight"):
        assert getattr(problem, name).tobytes() == getattr(fresh, name).tobytes(), name


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("groups", "columns"), [(1, 16), (2, 24)])
def test_patterns_are_respected(method: str, groups: int, columns: int) -> None:
    problem, pattern = problem_of(groups=groups, rows=5, columns=columns), pattern_2_of_4(columns)
    pruned = prune(problem, 0, method, pattern)
    assert (np.count_nonzero(pruned[..., pattern.tuples], axis=-1) == 2).all()
    if method in CORRECTED:
        np.testing.assert_allclose(pruned, oracle(problem, pruned != 0), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_rows_are_independent(method: str) -> None:
    """With a pattern the rows do not share a budget: each is solved as if it were alone, in any order."""
    problem, pattern = problem_of(groups=2, rows=7, columns=24), pattern_2_of_4(24)
    together = prune(problem, 0, method, pattern)
    shuffled = np.random.default_rng(0).permutation(7)
    np.testing.assert_allclose(
        prune(problem.rows(shuffled), 0, method, pattern), together[:, shuffled], rtol=1e-7, atol=1e-10
    )
    if method in ("obs", "lobs", "magnitude"):
        alone = np.concatenate([prune(problem.rows(np.array([r])), 0, method, pattern) for r in range(7)], axis=1)
        np.testing.assert_allclose(alone, together, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("share", [0.5, 0.2, 0.05])
@pytest.mark.parametrize("patterned", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_auto_is_never_worse(share: float, patterned: bool, seed: int) -> None:
    problem = problem_of(groups=2, rows=6, columns=32, seed=seed)
    keep, pattern = round(share * problem.weight.size), pattern_2_of_4(32) if patterned else None
    alone = [problem.error(prune(problem, keep, method, pattern)) for method in ("obs", "admm")]
    assert problem.error(prune(problem, keep, "auto", pattern)) <= min(alone) * (1 + 1e-12)


def test_refitted_methods_beat_the_published_ones() -> None:
    problem = problem_of(rows=16, columns=40)
    keep = problem.weight.size // 5
    errors = {method: problem.error(prune(problem, keep, method)) for method in METHODS}
    assert errors["obs"] < errors["lobs"]
    assert errors["auto"] <= errors["obs"] < errors["magnitude"]


@pytest.mark.parametrize("seed", range(3))
def test_haste_is_auto_without_patience_but_for_wide_layers(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    problem = problem_of(rows=16, columns=60, seed=seed)
    hasty = prune(problem, 300, FAST_METHOD)
    np.testing.assert_array_equal(hasty, prune(problem, 300, "auto", effort="fast"))
    monkeypatch.setattr(methods, "OBS_COLUMNS", 59)
    largest = prune(problem, 300, FAST_METHOD)
    np.testing.assert_array_equal(largest != 0, largest_scaled(problem, 300))
    assert problem.error(hasty) < problem.error(largest)


def test_an_unknown_method() -> None:
    with pytest.raises(ValueError, match="'sparsegpt' is not one of auto, magnitude, lobs, obs, admm"):
        prune(problem_of(), 3, "sparsegpt")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("paired", [False, True])
def test_dead_inputs_get_weight_zero(method: str, paired: bool) -> None:
    x = samples(3, 24, 100)
    x[0, 3] = x[1, [0, 23]] = 0.0
    x[2] = 0.0
    y = x * 1.1 if paired else None
    weight, statistics = normal(3, 5, 24), statistics_of(x, y)
    problem = Problem.of(weight, statistics, 1e-2)
    dead = np.broadcast_to(statistics.dead[:, None], weight.shape)
    assert dead.sum() == 5 * (1 + 2 + 24)
    for keep in (weight.size, 200, 40):
        pruned = prune(problem, keep, method)
        assert not pruned[dead].any()
        assert np.isfinite(pruned).all()
        assert pruned[~dead].any()
    alive = ~statistics.dead[0]
    assert (prune(problem, weight.size, method)[0][:, alive] != 0).all()


@pytest.mark.parametrize("columns", [20, 80])
@pytest.mark.parametrize("method", ["lobs", *CORRECTED])
def test_an_indefinite_hessian_is_refused(method: str, columns: int) -> None:
    statistics = statistics_of(samples(1, columns, 200))
    statistics.gram[0, 0, 1] = statistics.gram[0, 1, 0] = 50 * statistics.gram[0, 0, 0]
    problem = Problem.of(normal(1, 3, columns), statistics, 1e-3)
    with np.errstate(all="ignore"), pytest.raises(FactorizationError, match="not positive definite"):
        prune(problem, columns, method)


def test_a_wide_layer_is_pruned_by_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(rows=10, columns=40)
    expected = problem.error(prune(problem, 100, "admm"))
    wide(monkeypatch)
    pruned = prune(problem, 100, "auto")
    assert np.count_nonzero(pruned) == 100
    assert problem.error(pruned) < 1.2 * expected


@pytest.mark.parametrize(
    "function", [prune, lambda p, k, m: obs_module.sweep(p.weight, linalg.inverse(p.hessian)).order]
)
def test_the_same_problem_has_the_same_solution(function: Callable[..., Array]) -> None:
    first, second = (function(problem_of(rows=70, columns=24), 300, "auto") for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_scores_are_weights_times_the_root_of_their_inputs_energy() -> None:
    problem = problem_of(groups=2, rows=3, columns=10)
    scores = np.abs(problem.weight) * np.sqrt(np.diagonal(problem.hessian, axis1=1, axis2=2))[:, None, :]
    mask = largest_scaled(problem, 25)
    assert mask.sum() == 25
    assert scores[mask].min() > scores[~mask].max()


@pytest.mark.parametrize("keep", [1, 20, 47])
def test_a_narrow_layer_is_refitted_exactly(keep: int) -> None:
    problem = problem_of(rows=4, columns=12)
    refitted = quick_refit(problem, keep)
    np.testing.assert_allclose(refitted, oracle(problem, largest_scaled(problem, keep)), rtol=1e-7, atol=1e-8)


def test_a_wide_layer_comes_near_it_and_nearer_with_every_step() -> None:
    problem = problem_of(rows=4, columns=30)
    mask = largest_scaled(problem, 60)
    exact = oracle(problem, mask)
    distances = [np.abs(refit_columns(problem, 60, 1, steps) - exact).max() for steps in (0, 4, 40)]
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 1e-3 * np.abs(exact).max()
    assert not iterate(problem, mask, 4)[~mask].any()


def test_a_wide_layer_is_refitted_together_to_nearly_the_least_error(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(rows=40, columns=120, damping=1e-2)
    keep = problem.weight.size // 2
    monkeypatch.setattr(methods, "WIDE_WORK", 0)
    for effort in ("full", "fast"):
        exact = prune(problem, keep, "admm", effort=effort)
        with monkeypatch.context() as patch:
            patch.setattr(methods, "ITERATED_COLUMNS", 100)
            together = prune(problem, keep, "admm", effort=effort)
        np.testing.assert_array_equal(together != 0, exact != 0)
        assert problem.error(exact) <= problem.error(together) < 1.01 * problem.error(exact)
        assert problem.error(problem.weight * (exact != 0)) > 1.5 * problem.error(exact), "a refit is worth something"


def test_a_support_that_is_given_is_refitted_from_the_dense_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(rows=20, columns=120)
    mask = largest_scaled(problem, problem.weight.size // 3)
    exact = correct(problem, mask)
    monkeypatch.setattr(methods, "ITERATED_COLUMNS", 100)
    together = correct(problem, mask)
    assert problem.error(together) < 1.01 * problem.error(exact)
    assert not together[~mask].any()
    assert not np.signbit(together[~mask]).any(), "-0.0 takes room in a file"


def test_a_hessian_that_is_not_positive_definite_is_said_of_a_wide_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(rows=4, columns=12)
    monkeypatch.setattr(methods, "ITERATED_COLUMNS", 1)
    broken = dataclasses.replace(problem, hessian=np.full_like(problem.hessian, np.nan))
    with pytest.raises(FactorizationError, match="not positive definite on a support"):
        correct(broken, np.ones(problem.weight.shape, bool))


@pytest.mark.parametrize("damping", [1e-2, 1e-3])
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_the_short_schedule_finds_better_supports_than_twenty_steps_of_the_wide_one(
    damping: float, share: float
) -> None:
    problem = problem_of(rows=60, columns=160, damping=damping)
    keep = round(share * problem.weight.size)
    errors = []
    for schedule in (admm.SHORT, dataclasses.replace(admm.WIDE, steps=20)):
        hessian = admm.scaled(problem.hessian, schedule, 60)
        mask, near = admm.support(admm.SupportChoice.of(problem.weight, hessian, keep, None, schedule))
        errors.append(problem.error(correct(problem, mask)))
        assert not near[~mask].any()
        assert problem.error(near.astype(np.float64)) >= errors[-1]
    assert errors[0] < 0.99 * errors[1]


def test_with_little_time_a_wide_layer_is_refitted_in_fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "ITERATED_COLUMNS", 64)
    monkeypatch.setattr(methods, "SLOW_WORK", 0)
    problem = problem_of(rows=60, columns=160)
    keep = problem.weight.size // 2
    full, fast = (prune(problem, keep, "admm", effort=effort) for effort in ("full", "fast"))
    np.testing.assert_array_equal(full != 0.0, fast != 0.0)
    exact = problem.error(linalg.refit(problem.target, problem.hessian, full != 0.0))
    assert exact < problem.error(full) < problem.error(fast) < 1.01 * exact


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_first_look_at_a_wide_layer_takes_few_steps_for_little_more_error(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    solved: list[int] = []
    real = admm.RowBlock.take_steps

    def counting(block: admm.RowBlock, of_round: admm.Round, penalised: admm.Penalised, score: Floats) -> None:
        solved.append(of_round.steps)
        real(block, of_round, penalised, score)

    monkeypatch.setattr(admm.RowBlock, "take_steps", counting)
    monkeypatch.setattr(methods, "ITERATED_COLUMNS", 64)
    monkeypatch.setattr(methods, "SLOW_WORK", 0)
    monkeypatch.setattr(methods, "WIDE_WORK", 0)
    problem = problem_of(rows=60, columns=160)
    keep = round(share * problem.weight.size)
    errors, steps = [], []
    for effort in ("fast", "hasty"):
        solved.clear()
        errors.append(problem.error(prune(problem, keep, "admm", effort=effort)))
        steps.append(sum(solved))
    quick = problem.error(quick_refit(problem, keep))
    assert 3 * steps[1] <= steps[0]
    assert errors[0] < errors[1] < 1.2 * errors[0] < quick
