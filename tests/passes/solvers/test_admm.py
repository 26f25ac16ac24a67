"""ADMM: its supports are good, in both precisions and by both ways to solve."""

import pickle

import numpy as np
import pytest
from layer_problems import normal, oracle, pattern_2_of_4, problem_of

from netsurgeon.passes.solvers import admm, linalg, methods
from netsurgeon.passes.solvers.masks import NOfM, Pattern, Tiles, largest
from netsurgeon.passes.solvers.methods import prune


@pytest.fixture
def single(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer counts as one that is worked in float32."""
    monkeypatch.setattr(admm, "FLOAT32_COLUMNS", 8)


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


@pytest.mark.parametrize("kind", [admm.Eigenbasis, admm.Factored, admm.Inverted])
def test_all_ways_solve_with_the_scaled_and_penalised_hessian(kind: type[admm.Scaled]) -> None:
    problem = problem_of(groups=2, columns=10)
    found = kind(problem.hessian)
    np.testing.assert_allclose(np.einsum("gii->gi", found.hessian), 1.0)
    np.testing.assert_allclose(found.hessian * found.scale * found.scale.swapaxes(1, 2), problem.hessian, rtol=1e-9)
    target = normal(2, 3, 10)
    for rho in (0.1, 0.1, 2.5):
        back = found.penalised(rho).solve(target) @ (found.hessian + rho * np.eye(10))
        np.testing.assert_allclose(back, target, rtol=1e-9, atol=1e-9)


def test_few_steps_are_factored_and_find_the_same_support(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(admm.scaled(np.eye(65)[None], admm.SHORT, 65), admm.Factored)
    assert isinstance(admm.scaled(np.eye(64)[None], admm.SHORT, 64), admm.Eigenbasis)
    assert isinstance(admm.scaled(np.eye(3)[None], admm.SLOW, 3), admm.Eigenbasis)
    problem = problem_of(rows=20, columns=70)
    monkeypatch.setattr(methods, "SLOW_WORK", 0)
    factored = prune(problem, 200, "admm")
    monkeypatch.setattr(admm, "FACTORED_STEPS", 0)
    np.testing.assert_allclose(prune(problem, 200, "admm"), factored, rtol=1e-6, atol=1e-9)


def test_a_wide_layer_with_as_many_rows_is_inverted_and_finds_the_same_support(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admm, "INVERTED_COLUMNS", 64)
    problem = problem_of(rows=80, columns=70)
    assert isinstance(admm.scaled(problem.hessian, admm.SHORT, 70), admm.Inverted)
    assert isinstance(admm.scaled(problem.hessian, admm.SHORT, 69), admm.Factored)
    inverted, _ = admm.support(admm.Choice.of(problem.weight, admm.Inverted(problem.hessian), 2800, None, admm.SHORT))
    factored, _ = admm.support(admm.Choice.of(problem.weight, admm.Factored(problem.hessian), 2800, None, admm.SHORT))
    assert np.count_nonzero(inverted != factored) <= 0.01 * factored.size


@pytest.mark.parametrize("schedule", [admm.SLOW, admm.SHORT])
def test_rows_take_their_steps_the_same_in_parts(schedule: admm.Schedule, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(groups=2, rows=23, columns=70)
    kind = admm.scaled(problem.hessian, schedule, rows=23)
    whole, near = admm.support(admm.Choice.of(problem.weight, kind, 900, None, schedule))
    monkeypatch.setattr(admm, "SPLIT_SIZE", 0)
    monkeypatch.setattr(admm, "ROWS_AT_ONCE", 5)
    mask, again = admm.support(admm.Choice.of(problem.weight, kind, 900, None, schedule))
    np.testing.assert_array_equal(mask, whole)
    np.testing.assert_allclose(again, near, rtol=1e-6, atol=1e-9)
    assert np.count_nonzero(again) == 900


@pytest.fixture
def in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer counts as wide: it is worked and refitted in blocks of 16 to 32 rows."""
    for module, name in ((methods, "SLOW_WORK"), (methods, "WIDE_WORK"), (linalg, "BLOCK_WORK")):
        monkeypatch.setattr(module, name, 0)
    for module, name in ((methods, "ITERATED_COLUMNS"), (linalg, "BLOCK_COLUMNS"), (admm, "INVERTED_COLUMNS")):
        monkeypatch.setattr(module, name, 64)
    monkeypatch.setattr(linalg, "REFIT_ROWS", (16, 32))


@pytest.mark.parametrize(
    ("groups", "rows", "columns", "pattern"),
    [
        (1, 100, 96, None),  # as many rows as columns: by an inverse
        (1, 60, 96, None),  # by factors
        (2, 100, 96, None),  # groups, or blocks of columns
        (1, 100, 96, pattern_2_of_4(96)),
        (1, 100, 96, Tiles(8, np.arange(96))),
        (2, 100, 96, Tiles(8, np.arange(192), 2)),
    ],
)
def test_in_blocks_of_rows_the_error_is_nearly_that_of_all_rows_at_once(
    groups: int, rows: int, columns: int, pattern: Pattern | None, in_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = problem_of(groups, rows, columns, damping=1e-2)
    keep = problem.weight.size // 3
    assert len(linalg.row_blocks(groups, rows, columns) or ()) > 1
    pruned = prune(problem, keep, "admm", pattern)
    monkeypatch.setattr(linalg, "BLOCK_WORK", 1 << 40)
    assert linalg.row_blocks(groups, rows, columns) is None
    together = prune(problem, keep, "admm", pattern)
    assert np.count_nonzero(pruned) == np.count_nonzero(together)
    assert isinstance(pattern, NOfM) or np.count_nonzero(pruned) == keep
    if pattern is not None:
        np.testing.assert_array_equal(pattern.choose((pruned != 0.0).astype(np.float64), keep), pruned != 0.0)
    assert problem.error(pruned) < 1.02 * problem.error(together), (
        "layers of a thousand columns are nearer: BLOCK_STEPS"
    )


def test_lost_rows_stay_zero_in_blocks(in_blocks: None) -> None:
    problem = problem_of(1, 100, 96, damping=1e-2)
    for array in (problem.weight, problem.target):
        array[:, 30:50] = 0.0
    pruned = prune(problem, problem.weight.size // 3, "admm")
    assert not pruned[:, 30:50].any()
    assert np.count_nonzero(pruned) == problem.weight.size // 3


def test_wide_rows_are_refitted_as_their_blocks_are() -> None:
    assert linalg.BLOCK_COLUMNS >= methods.ITERATED_COLUMNS, "blocks of rows know conjugate gradients alone"


def test_the_support_of_a_packed_round_is_a_bit_a_weight() -> None:
    mask = normal(2, 64, 1001) > 0.0
    packed = admm.PackedRound.of(admm.Round(2, 2, 0.1, None, mask))
    assert len(pickle.dumps(packed)) < mask.size / 7
    of_round = packed.unpacked()
    assert (of_round.taken, of_round.steps, of_round.rho, of_round.settled_with) == (2, 2, 0.1, None)
    np.testing.assert_array_equal(of_round.mask, mask)
    some = packed.unpacked(np.s_[8:40]).mask
    np.testing.assert_array_equal(some[:, 8:40], mask[:, 8:40])
    assert np.count_nonzero(some) == np.count_nonzero(mask[:, 8:40])
