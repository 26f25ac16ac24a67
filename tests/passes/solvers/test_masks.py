"""Masks: the largest scores, N of every M, and what fills the steps of a sparse kernel."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_problems import oracle, problem_of
from tiled_weights import loose_tiles, slots_of

from netsurgeon.passes.solvers import masks
from netsurgeon.passes.solvers.masks import NOfM, Tiles, choose, largest
from netsurgeon.passes.solvers.methods import FAST_METHOD, METHODS, prune


def test_a_pattern_of_one_tuple_a_row_takes_the_best_pair() -> None:
    problem = problem_of(rows=6, columns=4)
    pruned = prune(problem, 0, "obs", NOfM(3, 4, np.arange(4)))
    for row in range(6):
        masks = [np.arange(4) != removed for removed in range(4)]
        best = min(problem.rows(np.array([row])).error(oracle(problem, np.tile(m, (1, 6, 1)))[:, [row]]) for m in masks)
        assert problem.rows(np.array([row])).error(pruned[:, [row]]) == pytest.approx(best)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(0, 40))
def test_largest_keeps_the_largest_and_the_first_of_equals(score: list[int], keep: int) -> None:
    mask = largest(np.array(score, float), keep)
    expected = sorted(range(len(score)), key=lambda i: (-score[i], i))[:keep]
    assert set(np.flatnonzero(mask)) == set(expected)


def test_a_pattern_runs_in_its_order() -> None:
    pattern = NOfM(1, 2, np.array([0, 2, 1, 3]))
    np.testing.assert_array_equal(pattern.tuple_of, [0, 1, 0, 1])
    mask = choose(np.array([[[4.0, 1.0, 3.0, 2.0]]]), 99, pattern)
    np.testing.assert_array_equal(mask, [[[True, False, False, True]]])


@settings(max_examples=80)
@given(
    st.integers(1, 40),
    st.integers(1, 90),
    st.sampled_from([16, 64]),
    st.floats(0, 1),
    st.integers(0, 99),
    st.sampled_from([None, 3]),
)
def test_tiles_are_filled_and_keep_the_count(
    rows: int, columns: int, width: int, share: float, seed: int, values: int | None
) -> None:
    """Also where tiles are smaller, and where many scores are equal, or 0."""
    rng = np.random.default_rng(seed)
    score = rng.random((2, rows, columns)) if values is None else rng.integers(0, values, (2, rows, columns)) / 1.0
    order, keep = rng.permutation(columns), round(share * score.size)
    tiles = Tiles(width, order)
    mask = choose(score, keep, tiles)
    assert np.count_nonzero(mask) == keep
    ordered = mask[..., order]
    assert sum(loose_tiles(group, width) for group in ordered) <= 1
    assert tiles.slots(mask) == sum(slots_of(group, width) for group in ordered)


def test_the_largest_weights_overall_do_not_fill_tiles() -> None:
    score = np.random.default_rng(0).random((1, 64, 256))
    mask = largest(score, score.size // 5)
    assert loose_tiles(mask[0], 64) == 16
    assert slots_of(mask[0], 64) > 1.5 * np.count_nonzero(mask)


@pytest.mark.parametrize("seed", range(3))
def test_the_best_depths_are_found(seed: int) -> None:
    """All depths of four tiles that keep as many weights, tried one after the other."""
    score = np.abs(np.random.default_rng(seed).standard_normal((1, 32, 32))) * np.repeat([1.0, 2.0], 16)
    squares = -np.sort(-np.square(score).reshape(2, 16, 2, 16).swapaxes(1, 2), axis=-1).reshape(4, 16, 16)
    best = max(
        sum(tile[:, : 4 * depth].sum() for tile, depth in zip(squares, depths, strict=True))
        for depths in itertools.product(range(5), repeat=4)
        if sum(depths) == 6
    )
    tiles = Tiles(16, np.arange(32))
    mask = choose(score, 6 * 64, tiles)
    assert np.square(score)[mask].sum() == pytest.approx(best)
    assert tiles.depths(mask).sum() == 6
    assert np.square(score)[largest(score, 6 * 64)].sum() > best


def test_a_step_that_is_cut_short_takes_the_largest_weights_of_the_next_one() -> None:
    score = np.random.default_rng(1).random((1, 16, 16))
    tiles = Tiles(16, np.arange(16))
    four, some, eight = (choose(score, keep, tiles) for keep in (64, 94, 128))
    assert (four <= some).all()
    assert (some <= eight).all()
    assert score[some & ~four].min() > score[eight & ~some].max()


def test_blocks_of_a_layer_are_tiled_as_one() -> None:
    """A wide convolution is solved in blocks of channels; the kernel reads all channels of a position in a row."""
    score = np.random.default_rng(2).random((1, 32, 2 * 36 * 4))
    whole = Tiles(64, np.arange(288).reshape(-1, 4).T.ravel())
    blocked = Tiles(64, whole.order, blocks=2)
    cut = score.reshape(32, 2, 144).swapaxes(0, 1)
    mask = choose(cut, 2000, blocked)
    np.testing.assert_array_equal(mask.swapaxes(0, 1).reshape(1, 32, 288), choose(score, 2000, whole))
    assert blocked.slots(mask) == whole.slots(choose(score, 2000, whole))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_tiles_of_very_small_and_large_scores(scale: float) -> None:
    score = np.random.default_rng(3).random((1, 16, 64)).astype(np.float32)
    tiles = Tiles(64, np.arange(64))
    np.testing.assert_array_equal(choose(score * np.float32(scale), 300, tiles), choose(score, 300, tiles))


@pytest.mark.parametrize("method", [*METHODS, FAST_METHOD])
@pytest.mark.parametrize("width", [16, 64])
@pytest.mark.parametrize("columns", [12, 90])
def test_every_method_fills_tiles(method: str, width: int, columns: int) -> None:
    problem, order = problem_of(groups=2, rows=20, columns=columns), np.arange(columns).reshape(-1, 2).T.ravel()
    pruned = prune(problem, 450, method, Tiles(width, order))
    assert np.count_nonzero(pruned) == 450
    assert sum(loose_tiles(group, width) for group in pruned[..., order]) <= 1
    if method not in ("magnitude", "lobs"):
        np.testing.assert_allclose(pruned, oracle(problem, pruned != 0), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("share", "ratio"), [(0.5, 1.2), (0.3, 1.11), (0.2, 1.1), (0.1, 1.1)])
def test_tiles_of_64_columns_cost_little(share: float, ratio: float) -> None:
    """The error beside that of weights in any place."""
    problem, keep = problem_of(rows=32, columns=128), round(share * 32 * 128)
    anywhere, tiled = (prune(problem, keep, "admm", pattern) for pattern in (None, Tiles(64, np.arange(128))))
    assert 1.0 < problem.error(tiled) / problem.error(anywhere) < ratio
    assert problem.error(tiled) < problem.error(prune(problem, keep, "obs", Tiles(64, np.arange(128))))


@pytest.mark.parametrize("kind", ["normal", "equal", "few values", "rising"])
@pytest.mark.parametrize("share", [0.001, 0.25, 0.5, 0.999])
def test_of_many_scores_the_same_are_the_largest(kind: str, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    score = np.abs(np.random.default_rng(0).standard_normal((1, 90, 111), np.float32))
    if kind in ("equal", "few values"):
        score = np.round(score * (0.0 if kind == "equal" else 2.0))
    elif kind == "rising":
        score = np.sort(score, axis=None).reshape(score.shape)
    keep = round(share * score.size)
    expected = largest(score, keep)
    monkeypatch.setattr(masks, "SAMPLED_SIZE", 1000)
    np.testing.assert_array_equal(largest(score, keep), expected)
    assert np.count_nonzero(expected) == keep


def test_what_a_sample_does_not_foresee_is_looked_for_among_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "SAMPLED_SIZE", 1000)
    score = np.ones((1, 10, 610))
    score.reshape(-1)[:: masks.SAMPLED] = np.arange(100) + 2.0  # only what is sampled is large
    assert masks.choose(score, 50, None).sum() == 50
    assert (score[masks.choose(score, 50, None)] >= 52.0).all()
