"""The exact sweep against the textbook, and its masks and errors."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_problems import Array, pattern_2_of_4, problem_of

from netsurgeon.passes.solvers import linalg
from netsurgeon.passes.solvers import obs as obs_module
from netsurgeon.passes.solvers.masks import NOfM
from netsurgeon.passes.solvers.methods import prune

TIGHT = 1e-8


def textbook_sweep(weight: Array, inverse: Array, pattern: NOfM | None = None) -> tuple[Array, Array]:
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


def test_a_sweep_of_many_rows_is_a_sweep_of_each() -> None:
    problem = problem_of(rows=70, columns=20)
    inverse = linalg.inverse(problem.hessian)
    whole, some = obs_module.sweep(problem.weight, inverse), obs_module.sweep(problem.weight[:, [3, 66, 0]], inverse)
    np.testing.assert_array_equal(some.order, whole.order[[3, 66, 0]])
    np.testing.assert_allclose(some.losses, whole.losses[[3, 66, 0]], rtol=1e-9)


def test_scores_rank_weights_as_they_leave() -> None:
    problem = problem_of(rows=6, columns=20)
    swept = obs_module.sweep(problem.weight, linalg.inverse(problem.hessian))
    scores = swept.scores()
    for keep in (1, 30, 100):
        kept = swept.mask(keep)
        assert scores[kept].min() >= scores[~kept].max()
    assert np.square(np.take_along_axis(scores, swept.order, 1)).ravel() == pytest.approx(
        np.maximum.accumulate(swept.losses, axis=1).ravel()
    )
