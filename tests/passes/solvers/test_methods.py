"""The solvers against closed forms and naive transcriptions of the papers."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from netsurgeon.passes.solvers import admm, error_curve, linalg, methods, quick_refit
from netsurgeon.passes.solvers import damping as damping_module
from netsurgeon.passes.solvers import obs as obs_module
from netsurgeon.passes.solvers import problem as problem_module
from netsurgeon.passes.solvers.damping import choose_damping
from netsurgeon.passes.solvers.error_curve import curve
from netsurgeon.passes.solvers.linalg import FactorizationError
from netsurgeon.passes.solvers.masks import Pattern, choose, largest
from netsurgeon.passes.solvers.methods import FAST_METHOD, METHODS, UNCORRECTED, prune
from netsurgeon.passes.solvers.problem import Problem
from netsurgeon.passes.solvers.statistics import Statistics

Array = NDArray[Any]
CORRECTED = tuple(method for method in METHODS if method not in UNCORRECTED)
TIGHT = 1e-8


# ------------------------------------------------------------------------------------------------ data


def samples(groups: int, columns: int, count: int, seed: int = 0) -> Array:
    """Correlated inputs of unequal scale, (groups, columns, count)."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((groups, columns, columns)) / np.sqrt(columns) + np.eye(columns)
    scales = np.exp(0.5 * rng.standard_normal((groups, columns, 1)))
    return np.asarray(scales * (mixing @ rng.standard_normal((groups, columns, count))))


def statistics_of(x: Array, y: Array | None = None, *, centred: bool = False) -> Statistics:
    """Statistics of inputs (groups, columns, count): dense x, and current y where they are paired."""
    now = x if y is None else y
    means = x.mean(axis=-1), now.mean(axis=-1)
    if centred:
        x, now = x - means[0][..., None], now - means[1][..., None]
    gram = now @ now.swapaxes(1, 2) / x.shape[-1]
    return Statistics(x.shape[-1], centred, *means, gram, gram if y is None else x @ now.swapaxes(1, 2) / x.shape[-1])


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, 7]).standard_normal(shape)


def problem_of(groups: int = 1, rows: int = 4, columns: int = 12, seed: int = 0, damping: float = 1e-3) -> Problem:
    x = samples(groups, columns, 4 * columns, seed)
    return Problem.of(normal(groups, rows, columns, seed=seed), statistics_of(x), damping)


def pattern_2_of_4(columns: int) -> Pattern:
    """2:4 along the channels of a convolution with two kernel positions."""
    return Pattern(2, 4, np.arange(columns).reshape(-1, 2).T.ravel())


def closed_form(weight: Array, hessian: Array, kept: Array) -> Array:
    """``w_R + H_RR⁻¹ H_RM w_M`` for a single row, R kept and M removed."""
    result = np.zeros_like(weight)
    cross = hessian[np.ix_(kept, ~kept)] @ weight[~kept]
    result[kept] = weight[kept] + np.linalg.solve(hessian[np.ix_(kept, kept)], cross)
    return result


def oracle(problem: Problem, mask: Array) -> Array:
    return np.stack(
        [
            np.stack([closed_form(w, h, m) for w, m in zip(rows, masks, strict=True)])
            for rows, h, masks in zip(problem.weight, problem.hessian, mask, strict=True)
        ]
    )


# ------------------------------------------------------------------------------------------------ textbook OBS


def textbook_sweep(weight: Array, inverse: Array, pattern: Pattern | None = None) -> tuple[Array, Array]:
    """One row: remove argmin w²/[H⁻¹]_qq, correct, downdate the whole inverse, repeat."""
    w, h, columns = weight.copy(), inverse.copy(), len(weight)
    order, losses = np.full(columns, -1), np.full(columns, np.inf)
    alive = np.ones(columns, bool)
    for step in range(columns):
        free = alive.copy()
        if pattern is not None:
            for members in pattern.tuples:
                free[members] &= alive[members].sum() > pattern.kept
        if not free.any():
            break
        candidates = np.flatnonzero(free)
        q = candidates[np.argmin(w[candidates] ** 2 / h[candidates, candidates])]
        order[step], losses[step] = q, w[q] ** 2 / h[q, q]
        w -= w[q] / h[q, q] * h[:, q]
        h -= np.outer(h[:, q], h[q]) / h[q, q]
        w[q], alive[q] = 0.0, False
    return order, losses


@pytest.mark.parametrize("patterned", [False, True])
@pytest.mark.parametrize(("pivots", "batch_bytes"), [(1, 1), (3, 10**6), (8, 8000), (16, 1), (64, 10**8)])
def test_blocked_sweep_equals_the_textbook(
    monkeypatch: pytest.MonkeyPatch, pivots: int, batch_bytes: int, patterned: bool
) -> None:
    monkeypatch.setattr(obs_module, "PIVOTS", pivots)
    monkeypatch.setattr(obs_module, "BATCH_BYTES", batch_bytes)
    problem = problem_of(groups=3, rows=5, columns=24)
    pattern = pattern_2_of_4(24) if patterned else None
    inverse: Array = np.linalg.inv(problem.hessian)
    swept = obs_module.sweep(problem.weight, inverse, pattern)
    expected = [textbook_sweep(w, inverse[g], pattern) for g in range(3) for w in problem.weight[g]]
    np.testing.assert_array_equal(swept.order, [order for order, _ in expected])
    np.testing.assert_allclose(swept.losses, [losses for _, losses in expected], rtol=TIGHT)


@pytest.mark.parametrize("seed", range(3))
def test_the_curve_is_the_refit_error_at_every_count(seed: int) -> None:
    problem = problem_of(rows=1, columns=20, seed=seed)
    swept = obs_module.sweep(problem.weight, linalg.inverse(problem.hessian))
    errors = swept.errors()
    assert len(errors) == 21
    for removed in range(21):
        mask = swept.mask(20 - removed)[None]
        refitted = linalg.refit(problem.target, problem.hessian, mask)
        assert problem.error(refitted) == pytest.approx(errors[removed], rel=1e-6, abs=1e-10)
    energy = problem.weight[0, 0] @ problem.hessian[0] @ problem.weight[0, 0]
    assert errors[-1] == pytest.approx(energy)


def test_the_curve_of_many_rows_is_the_refit_error_too() -> None:
    problem = problem_of(groups=2, rows=3, columns=10)
    swept = obs_module.sweep(problem.weight, linalg.inverse(problem.hessian))
    for removed in (0, 7, 30, 59, 60):
        mask = swept.mask(60 - removed).reshape(problem.weight.shape)
        assert np.count_nonzero(~mask) == removed
        refitted = linalg.refit(problem.target, problem.hessian, mask)
        assert problem.error(refitted) == pytest.approx(swept.errors()[removed], rel=1e-6, abs=1e-10)


@settings(max_examples=25)
@given(st.integers(0, 999), st.lists(st.integers(0, 36), min_size=2, max_size=5))
def test_masks_of_one_sweep_nest(seed: int, keeps: list[int]) -> None:
    problem = problem_of(groups=1, rows=3, columns=12, seed=seed)
    swept = obs_module.sweep(problem.weight, linalg.inverse(problem.hessian))
    masks = [swept.mask(keep) for keep in sorted(keeps)]
    for keep, mask in zip(sorted(keeps), masks, strict=True):
        assert mask.sum() == keep
        for order, row in zip(swept.order, mask, strict=True):
            assert (np.diff(row[order].astype(int)) >= 0).all(), "a row loses its weights in its own order"
    for sparse, dense in itertools.pairwise(masks):
        assert not (sparse & ~dense).any()


# ------------------------------------------------------------------------------------------------ L-OBS as published


def naive_lobs(weight: Array, inverse: Array, keep: int) -> Array:
    """arXiv 1705.07565, algorithm 1: rank all saliencies once, walk up the list, add each correction."""
    ranked = sorted(
        (weight[g, r, q] ** 2 / (2 * inverse[g, q, q]), g, r, q)
        for g in range(weight.shape[0])
        for r in range(weight.shape[1])
        for q in range(weight.shape[2])
    )
    result, mask = weight.copy(), np.ones(weight.shape, bool)
    for _, g, r, q in ranked[: weight.size - keep]:
        result[g, r] += -result[g, r, q] / inverse[g, q, q] * inverse[g] @ np.eye(weight.shape[2])[q]
        mask[g, r, q] = False
    return result * mask


@pytest.mark.parametrize("keep", [0, 1, 13, 60, 71, 72])
def test_lobs_is_the_published_algorithm(keep: int) -> None:
    problem = problem_of(groups=2, rows=3, columns=12)
    inverse: Array = np.linalg.inv(problem.hessian)
    found = obs_module.lobs(problem.weight, inverse, keep)
    np.testing.assert_allclose(found, naive_lobs(problem.weight, inverse, keep), rtol=TIGHT, atol=1e-12)
    np.testing.assert_allclose(prune(problem, keep, "lobs"), found, rtol=1e-6, atol=1e-10)


def test_one_removal_is_the_same_in_every_flavour() -> None:
    problem = problem_of(rows=1, columns=15)
    lobs, obs = prune(problem, 14, "lobs"), prune(problem, 14, "obs")
    np.testing.assert_allclose(lobs, obs, rtol=1e-7, atol=1e-12)
    assert np.count_nonzero(lobs == 0) == 1


# ------------------------------------------------------------------------------------------------ the refit


@pytest.mark.parametrize("method", CORRECTED)
@pytest.mark.parametrize(("groups", "columns"), [(1, 24), (3, 20), (1, 90)])
def test_kept_weights_have_the_closed_form(method: str, groups: int, columns: int) -> None:
    problem = problem_of(groups=groups, rows=5, columns=columns)
    for share in (0.9, 0.5, 0.1):
        pruned = prune(problem, round(share * problem.weight.size), method)
        np.testing.assert_allclose(pruned, oracle(problem, pruned != 0), rtol=1e-6, atol=1e-9)


def mixed_mask(groups: int, rows: int, columns: int) -> Array:
    """Rows that keep nothing, everything, one, all but one, exactly half, and random shares."""
    mask = np.random.default_rng(5).random((groups, rows, columns)) < np.linspace(0, 1, rows)[:, None]
    mask[0, :5] = False
    mask[0, 1] = mask[0, 2, 3] = mask[0, 3] = mask[0, 4, : columns // 2] = True
    mask[0, 3, 1] = False
    return np.asarray(mask)


@pytest.mark.parametrize("columns", [12, 70])
@pytest.mark.parametrize("limit", [1, 1000])
def test_every_way_to_refit_gives_the_closed_form(monkeypatch: pytest.MonkeyPatch, columns: int, limit: int) -> None:
    monkeypatch.setattr(linalg, "BATCH_COLUMNS", limit)
    problem, mask = problem_of(groups=2, rows=9, columns=columns), mixed_mask(2, 9, columns)
    expected = oracle(problem, mask)
    refitted = linalg.refit(problem.target, problem.hessian, mask)
    np.testing.assert_allclose(refitted, expected, rtol=1e-7, atol=1e-9)
    assert not refitted[~mask].any()


@pytest.mark.parametrize("columns", [12, 70])
def test_conjugate_gradients_reach_the_refit(columns: int) -> None:
    problem, mask = problem_of(groups=2, rows=9, columns=columns), mixed_mask(2, 9, columns)
    weight = linalg.refit_iterative(problem.target, problem.hessian, problem.weight * mask, mask, 4 * columns)
    np.testing.assert_allclose(weight, oracle(problem, mask), rtol=1e-6, atol=1e-8)
    assert not weight[~mask].any()
    exact = problem.error(oracle(problem, mask))
    errors = [
        problem.error(linalg.refit_iterative(problem.target, problem.hessian, problem.weight * mask, mask, steps))
        for steps in (0, 2, 8)
    ]
    assert errors[0] > errors[1] > errors[2] >= exact * (1 - 1e-12)


def test_no_other_weights_on_the_support_are_better() -> None:
    problem, mask = problem_of(groups=2, rows=6, columns=14), mixed_mask(2, 6, 14)
    best = linalg.refit(problem.target, problem.hessian, mask)
    for seed in range(20):
        other = best + 1e-3 * mask * normal(*best.shape, seed=seed)
        assert problem.error(other) > problem.error(best)


@pytest.mark.parametrize("limit", [1, 1000])
def test_refit_refuses_a_hessian_that_is_not_positive_definite(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(linalg, "BATCH_COLUMNS", limit)
    problem = problem_of(columns=8)
    mask = np.ones(problem.weight.shape, bool)
    mask[..., :3] = False
    for bad in (-problem.hessian, np.zeros_like(problem.hessian), np.full_like(problem.hessian, np.nan)):
        with pytest.raises(FactorizationError, match="not positive definite"):
            linalg.refit(problem.target, bad, mask)


def test_inverse_and_solve() -> None:
    problem = problem_of(groups=3, rows=4, columns=11)
    inverse = linalg.inverse(problem.hessian)
    np.testing.assert_allclose(inverse @ problem.hessian, np.broadcast_to(np.eye(11), (3, 11, 11)), atol=1e-9)
    np.testing.assert_array_equal(inverse, inverse.swapaxes(1, 2))
    np.testing.assert_allclose(linalg.solve(problem.target, problem.hessian), problem.weight, rtol=1e-7, atol=1e-9)
    with pytest.raises(FactorizationError):
        linalg.inverse(-problem.hessian)
    with pytest.raises(FactorizationError):
        linalg.solve(problem.target, -problem.hessian)


def test_quadratic_error_is_the_error_up_to_a_constant() -> None:
    problem = problem_of(groups=2)
    first, second = normal(*problem.weight.shape, seed=1), normal(*problem.weight.shape, seed=2)
    gaps = [linalg.quadratic_error(w, problem.target, problem.hessian) - problem.error(w) for w in (first, second)]
    assert gaps[0] == pytest.approx(gaps[1])


# -------------------------------------------------------------------------------------------- what every method holds


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


def test_a_pattern_of_one_tuple_a_row_takes_the_best_pair() -> None:
    problem = problem_of(rows=6, columns=4)
    pruned = prune(problem, 0, "obs", Pattern(3, 4, np.arange(4)))
    for row in range(6):
        masks = [np.arange(4) != removed for removed in range(4)]
        best = min(problem.rows(np.array([row])).error(oracle(problem, np.tile(m, (1, 6, 1)))[:, [row]]) for m in masks)
        assert problem.rows(np.array([row])).error(pruned[:, [row]]) == pytest.approx(best)


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


def test_a_sweep_of_many_rows_is_a_sweep_of_each() -> None:
    problem = problem_of(rows=70, columns=20)
    inverse = linalg.inverse(problem.hessian)
    whole, some = obs_module.sweep(problem.weight, inverse), obs_module.sweep(problem.weight[:, [3, 66, 0]], inverse)
    np.testing.assert_array_equal(some.order, whole.order[[3, 66, 0]])
    np.testing.assert_allclose(some.losses, whole.losses[[3, 66, 0]], rtol=1e-9)


@pytest.mark.parametrize("share", [0.5, 0.2, 0.05])
@pytest.mark.parametrize("patterned", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_auto_is_never_worse(share: float, patterned: bool, seed: int) -> None:
    problem = problem_of(groups=2, rows=6, columns=32, seed=seed)
    keep, pattern = round(share * problem.weight.size), pattern_2_of_4(32) if patterned else None
    alone = [problem.error(prune(problem, keep, method, pattern)) for method in ("obs", "admm")]
    assert problem.error(prune(problem, keep, "auto", pattern)) <= min(alone) * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_admm_beats_magnitude_with_refit_on_correlated_inputs(seed: int) -> None:
    problem = problem_of(rows=16, columns=60, seed=seed)
    keep = problem.weight.size // 10
    mask = largest(np.abs(problem.weight), keep)
    refitted = problem.error(linalg.refit(problem.target, problem.hessian, mask))
    scaled = np.abs(problem.weight) * np.sqrt(np.einsum("gii->gi", problem.hessian))[:, None]
    weighted = problem.error(linalg.refit(problem.target, problem.hessian, largest(scaled, keep)))
    found = problem.error(prune(problem, keep, "admm"))
    assert found < 0.9 * min(refitted, weighted)
    assert refitted < problem.error(problem.weight * mask)


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
    np.testing.assert_array_equal(hasty, prune(problem, 300, "auto", patient=False))
    for module in (methods, quick_refit):
        monkeypatch.setattr(module, "OBS_COLUMNS", 59)
    largest = prune(problem, 300, FAST_METHOD)
    np.testing.assert_array_equal(largest != 0, quick_refit.largest_scaled(problem, 300))
    assert problem.error(hasty) < problem.error(largest)


def test_an_unknown_method() -> None:
    with pytest.raises(ValueError, match="'sparsegpt' is not one of auto, magnitude, lobs, obs, admm"):
        prune(problem_of(), 3, "sparsegpt")


# ------------------------------------------------------------------------------------------------ masks


@settings(max_examples=60)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(0, 40))
def test_largest_keeps_the_largest_and_the_first_of_equals(score: list[int], keep: int) -> None:
    mask = largest(np.array(score, float), keep)
    expected = sorted(range(len(score)), key=lambda i: (-score[i], i))[:keep]
    assert set(np.flatnonzero(mask)) == set(expected)


def test_a_pattern_runs_in_its_order() -> None:
    pattern = Pattern(1, 2, np.array([0, 2, 1, 3]))
    np.testing.assert_array_equal(pattern.tuple_of, [0, 1, 0, 1])
    mask = choose(np.array([[[4.0, 1.0, 3.0, 2.0]]]), 99, pattern)
    np.testing.assert_array_equal(mask, [[[True, False, False, True]]])


# ------------------------------------------------------------------------------------------------ recalibration


@pytest.mark.parametrize("centred", [False, True])
def test_the_target_minimises_the_error_on_the_current_inputs(centred: bool) -> None:
    x = samples(2, 9, 200) + 2.0
    y = x + 0.3 * samples(2, 9, 200, seed=1) + 1.0
    weight = normal(2, 5, 9)
    problem = Problem.of(weight, statistics_of(x, y, centred=centred), 1e-12)
    if centred:
        x, y = x - x.mean(axis=-1, keepdims=True), y - y.mean(axis=-1, keepdims=True)
    for g in range(2):
        expected = np.linalg.lstsq(y[g].T, (weight[g] @ x[g]).T, rcond=None)[0].T
        np.testing.assert_allclose(problem.weight[g], expected, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(problem.target, problem.weight @ problem.hessian, rtol=1e-7, atol=1e-8)


def test_the_error_is_the_true_one_up_to_what_no_weight_reaches() -> None:
    x = samples(1, 8, 100)
    y = x + 0.3 * samples(1, 8, 100, seed=1)
    weight = normal(1, 4, 8)
    problem = Problem.of(weight, statistics_of(x, y), 1e-13)

    def true(candidate: Array) -> float:
        return float(np.sum((candidate @ y - weight @ x) ** 2) / 100)

    least = true(problem.weight)
    assert least > 0
    for seed in range(5):
        candidate = normal(1, 4, 8, seed=seed)
        assert problem.error(candidate) == pytest.approx(true(candidate) - least, rel=1e-6)


def test_damping_pulls_towards_the_dense_weight() -> None:
    x = samples(1, 8, 100)
    y = x + 0.5 * samples(1, 8, 100, seed=1)
    weight, statistics = normal(1, 4, 8), statistics_of(x, y)
    hessian, target, absolutes = problem_module.damped(weight, statistics, 0.1)
    absolute = 0.1 * np.trace(statistics.gram[0]) / 8
    assert absolutes.tolist() == pytest.approx([absolute])
    np.testing.assert_allclose(hessian[0], statistics.gram[0] + absolute * np.eye(8))
    np.testing.assert_allclose(target, weight @ statistics.cross + absolute * weight)
    gaps = [np.abs(Problem.of(weight, statistics, damping).weight - weight).max() for damping in (1e-6, 1.0, 1e6)]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-5


def test_a_ridge_is_what_damping_multiplies() -> None:
    x = samples(2, 8, 100)
    y = x + 0.5 * samples(2, 8, 100, seed=1)
    directions = samples(2, 8, 50, seed=2)
    ridge = directions @ directions.swapaxes(1, 2)
    ridge /= np.einsum("gii->gi", ridge).mean(axis=1)[:, None, None]
    weight, statistics = normal(2, 4, 8), dataclasses.replace(statistics_of(x, y), ridge=ridge)
    hessian, target, absolute = problem_module.damped(weight, statistics, 0.1)
    added = absolute[:, None, None] * ridge
    np.testing.assert_allclose(hessian, statistics.gram + added)
    np.testing.assert_allclose(target, weight @ (statistics.cross + added))
    problem, other = Problem.of(weight, statistics, 0.1), normal(2, 4, 8, seed=1)
    assert problem.error(other) - problem.excess(other) == pytest.approx(
        float(np.sum(((other - problem.weight) @ added) * (other - problem.weight)))
    )
    identity = dataclasses.replace(statistics, ridge=np.stack([np.eye(8)] * 2))
    plain = Problem.of(weight, dataclasses.replace(statistics, ridge=None), 0.1)
    np.testing.assert_allclose(Problem.of(weight, identity, 0.1).weight, plain.weight)
    assert Problem.of(weight, identity, 0.1).energy == pytest.approx(plain.energy)


@pytest.mark.parametrize("ridged", [False, True])
def test_inputs_that_never_vary_leave_energy_and_excess_exact(ridged: bool) -> None:
    """Their positions may: a channel whose mean is constant, as behind InstanceNormalization."""
    x = samples(1, 12, 200)
    x[:, :8] = 0.0
    directions = samples(1, 12, 50, seed=2)
    ridge = directions @ directions.swapaxes(1, 2)
    ridge *= 12 / np.trace(ridge[0])
    weight = normal(1, 4, 12)
    statistics = dataclasses.replace(statistics_of(x), ridge=ridge if ridged else None)
    assert statistics.dead.sum() == 8
    problem = Problem.of(weight, statistics, 1.0)
    np.testing.assert_allclose(problem.weight @ problem.hessian, problem.target, atol=1e-9)
    live = np.where(statistics.dead[:, None, :], 0.0, normal(1, 4, 12, seed=1))
    difference = live - problem.weight
    assert problem.excess(live) == pytest.approx(float(np.sum((difference @ statistics.gram) * difference)))
    assert problem.energy == pytest.approx(float(np.sum((problem.weight @ statistics.gram) * problem.weight)))


def test_a_ridge_has_dampings_of_its_own() -> None:
    x, weight = samples(1, 40, 10_000), normal(1, 8, 40)
    held = statistics_of(x[..., 5_000:])
    ridge = held.gram / np.trace(held.gram[0]) * 40

    def chosen(count: int) -> float:
        fit = dataclasses.replace(statistics_of(x[..., :count]), ridge=ridge)
        return choose_damping(weight, fit, held, 160, np.random.default_rng(0))

    assert chosen(24) == max(damping_module.RIDGE_DAMPINGS), "the ridge is the truth"
    assert chosen(400) == damping_module.DAMPINGS[0]


def test_recalibration_helps() -> None:
    x = samples(1, 30, 400)
    y = x + 0.3 * samples(1, 30, 400, seed=1)
    weight, keep = normal(1, 10, 30), 60
    paired, blind = (Problem.of(weight, statistics, 1e-4) for statistics in (statistics_of(x, y), statistics_of(x)))
    errors = [np.sum((prune(p, keep, "auto") @ y - weight @ x) ** 2) for p in (paired, blind)]
    assert errors[0] < 0.9 * errors[1]


# ------------------------------------------------------------------------------------------------ dead inputs, dampings


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


def test_an_input_that_died_on_the_way() -> None:
    """Dense inputs that fire, current ones that do not: the others take over what they can."""
    x = samples(1, 10, 300)
    x[0, 4] = x[0, 3] + 0.1 * x[0, 4]
    y = x.copy()
    y[0, 4] = 0.0
    weight = normal(1, 4, 10)
    problem = Problem.of(weight, statistics_of(x, y), 1e-9)
    expected = np.linalg.lstsq(np.delete(y[0], 4, 0).T, (weight[0] @ x[0]).T, rcond=None)[0].T
    np.testing.assert_allclose(np.delete(problem.weight[0], 4, 1), expected, rtol=1e-5, atol=1e-6)
    assert not problem.weight[0, :, 4].any()


@pytest.mark.parametrize("columns", [20, 80])
@pytest.mark.parametrize("method", ["lobs", *CORRECTED])
def test_an_indefinite_hessian_is_refused(method: str, columns: int) -> None:
    statistics = statistics_of(samples(1, columns, 200))
    statistics.gram[0, 0, 1] = statistics.gram[0, 1, 0] = 50 * statistics.gram[0, 0, 0]
    problem = Problem.of(normal(1, 3, columns), statistics, 1e-3)
    with np.errstate(all="ignore"), pytest.raises(FactorizationError, match="not positive definite"):
        prune(problem, columns, method)


def test_an_indefinite_paired_hessian_is_refused_at_once() -> None:
    x = samples(1, 6, 50)
    statistics = statistics_of(x, x + 0.1)
    statistics.gram[0, 0, 1] = statistics.gram[0, 1, 0] = 50 * statistics.gram[0, 0, 0]
    with pytest.raises(FactorizationError, match="not positive definite"):
        Problem.of(normal(1, 3, 6), statistics, 1e-3)


def test_fewer_samples_want_more_damping() -> None:
    x, weight = samples(1, 40, 20_000), normal(1, 8, 40)
    held = statistics_of(x[..., 10_000:])

    def chosen(count: int) -> float:
        return choose_damping(weight, statistics_of(x[..., :count]), held, 160, np.random.default_rng(0))

    assert chosen(24) > chosen(10_000)
    assert {chosen(24), chosen(10_000)} <= set(damping_module.DAMPINGS)


def test_ample_samples_leave_no_choice() -> None:
    """Held-out samples that contradict would ask for more damping."""
    x, weight = samples(1, 40, 800), normal(1, 8, 40)
    contrary = statistics_of(x[..., ::-1], -x)
    found = [
        choose_damping(weight, statistics_of(x[..., :count]), contrary, 160, np.random.default_rng(0))
        for count in (100, 400)
    ]
    assert found[0] > found[1] == damping_module.DAMPINGS[0]


def test_damping_passes_over_hessians_without_a_factor() -> None:
    """Rank-deficient and slightly indefinite: the small dampings have no Cholesky factor, the largest has."""
    x, weight = samples(1, 10, 50), normal(1, 4, 10)
    statistics = statistics_of(x, x + 0.01)
    values, vectors = np.linalg.eigh(statistics.gram[0])
    values[0] = -0.5 * max(damping_module.DAMPINGS) * values.mean()
    broken = Statistics(
        50,
        False,
        statistics.dense_mean,
        statistics.current_mean,
        (vectors * values @ vectors.T)[None],
        statistics.cross,
    )
    assert choose_damping(weight, broken, statistics, 20, np.random.default_rng(0)) == max(damping_module.DAMPINGS)


# ------------------------------------------------------------------------------------------------ wide layers, curves


@pytest.fixture
def single(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer counts as one that is worked in float32."""
    monkeypatch.setattr(admm, "FLOAT32_COLUMNS", 8)


@pytest.mark.usefixtures("single")
def test_a_wide_layer_is_worked_in_float32_and_refitted_in_float64() -> None:
    problem = problem_of(groups=2, rows=10, columns=48)
    assert admm.Eigenbasis(problem.hessian).hessian.dtype == np.float32
    pruned = prune(problem, 200, "admm")
    assert pruned.dtype == np.float64
    assert np.count_nonzero(pruned) == 200
    np.testing.assert_allclose(pruned, oracle(problem, pruned != 0), rtol=1e-6, atol=1e-9)


def test_float32_finds_as_good_a_support(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(rows=20, columns=48)
    exact = problem.error(prune(problem, 200, "admm"))
    monkeypatch.setattr(admm, "FLOAT32_COLUMNS", 8)
    assert problem.error(prune(problem, 200, "admm")) == pytest.approx(exact, rel=0.03)


@pytest.mark.parametrize("kind", [admm.Eigenbasis, admm.Factored])
def test_both_ways_solve_with_the_scaled_and_penalised_hessian(kind: type[admm.Scaled]) -> None:
    problem = problem_of(groups=2, columns=10)
    found = kind(problem.hessian)
    np.testing.assert_allclose(np.einsum("gii->gi", found.hessian), 1.0)
    np.testing.assert_allclose(found.hessian * found.scale * found.scale.swapaxes(1, 2), problem.hessian, rtol=1e-9)
    target = normal(2, 3, 10)
    for rho in (0.1, 0.1, 2.5):
        back = found.solve(target, rho) @ (found.hessian + rho * np.eye(10))
        np.testing.assert_allclose(back, target, rtol=1e-9, atol=1e-9)


def test_few_steps_are_factored_and_find_the_same_support(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(admm.scaled(np.eye(65)[None], admm.SHORT), admm.Factored)
    assert isinstance(admm.scaled(np.eye(64)[None], admm.SHORT), admm.Eigenbasis)
    assert isinstance(admm.scaled(np.eye(3)[None], admm.SLOW), admm.Eigenbasis)
    problem = problem_of(rows=20, columns=70)
    monkeypatch.setattr(methods, "SLOW_WORK", 0)
    factored = prune(problem, 200, "admm")
    monkeypatch.setattr(admm, "FACTORED_STEPS", 0)
    np.testing.assert_allclose(prune(problem, 200, "admm"), factored, rtol=1e-6, atol=1e-9)


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


def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Move every limit of width below the layers of these tests."""
    for module in (methods, damping_module, error_curve, quick_refit):
        for name in [name for name in vars(module) if name.endswith("_COLUMNS")]:
            monkeypatch.setattr(module, name, 8)
    monkeypatch.setattr(admm, "FLOAT32_COLUMNS", 8)


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


def test_a_wide_layer_is_pruned_by_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(rows=10, columns=40)
    expected = problem.error(prune(problem, 100, "admm"))
    wide(monkeypatch)
    pruned = prune(problem, 100, "auto")
    assert np.count_nonzero(pruned) == 100
    assert problem.error(pruned) < 1.2 * expected


def test_a_wide_layer_with_ample_samples_needs_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    wide(monkeypatch)
    x = samples(1, 12, 100)
    ample = dataclasses.replace(statistics_of(x), count=100_000)
    assert choose_damping(normal(1, 3, 12), ample, statistics_of(x), 10, np.random.default_rng(0)) == 1e-3


def test_a_wide_layer_with_few_samples_wants_more_damping(monkeypatch: pytest.MonkeyPatch) -> None:
    wide(monkeypatch)
    x, weight = samples(1, 40, 20_000), normal(1, 8, 40)
    held = statistics_of(x[..., 10_000:])

    def chosen(count: int) -> float:
        return choose_damping(weight, statistics_of(x[..., :count]), held, 160, np.random.default_rng(0))

    assert chosen(24) > chosen(390)
    assert {chosen(24), chosen(390)} <= set(damping_module.WIDE_DAMPINGS)


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


@pytest.mark.parametrize(
    "function", [prune, lambda p, k, m: obs_module.sweep(p.weight, linalg.inverse(p.hessian)).order]
)
def test_the_same_problem_has_the_same_solution(function: Callable[..., Array]) -> None:
    first, second = (function(problem_of(rows=70, columns=24), 300, "auto") for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_a_wide_layer_is_refitted_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(rows=9, columns=80)
    mask = largest(np.abs(problem.weight), 350)  # rows with more and with fewer than half of the columns
    exact = linalg.refit(problem.target, problem.hessian, mask)
    monkeypatch.setattr(linalg, "SINGLE_COLUMNS", 40)
    single = linalg.refit(problem.target, problem.hessian, mask)
    assert single.dtype == np.float64
    assert not np.array_equal(single, exact)
    np.testing.assert_allclose(single, exact, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(single != 0, exact != 0)


def test_where_single_precision_fails_double_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    hessian = np.full((1, 80, 80), 1.0) + 1e-9 * np.eye(80)
    target = normal(1, 3, 80)
    expected = linalg.solve(target, hessian)
    monkeypatch.setattr(linalg, "SINGLE_COLUMNS", 40)
    np.testing.assert_array_equal(linalg.solve(target, hessian), expected)
