"""Rows take their steps in parts and in blocks as they do together."""

import numpy as np
import pytest
from layer_problems import pattern_2_of_4, problem_of

from netsurgeon.passes.solvers import admm, linalg, methods
from netsurgeon.passes.solvers.admm import penalised, row_blocks
from netsurgeon.passes.solvers.masks import NOfM, Pattern, Tiles
from netsurgeon.passes.solvers.methods import prune


@pytest.mark.parametrize("schedule", [admm.SLOW, admm.SHORT])
def test_rows_take_their_steps_the_same_in_parts(schedule: admm.Schedule, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(groups=2, rows=23, columns=70)
    kind = admm.scaled(problem.hessian, schedule, rows=23)
    whole, near = admm.support(admm.SupportChoice.of(problem.weight, kind, 900, None, schedule))
    monkeypatch.setattr(row_blocks, "SPLIT_SIZE", 0)
    monkeypatch.setattr(row_blocks, "ROWS_AT_ONCE", 5)
    mask, again = admm.support(admm.SupportChoice.of(problem.weight, kind, 900, None, schedule))
    np.testing.assert_array_equal(mask, whole)
    np.testing.assert_allclose(again, near, rtol=1e-6, atol=1e-9)
    assert np.count_nonzero(again) == 900


@pytest.fixture
def in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer counts as wide: it is worked and refitted in blocks of 16 to 32 rows."""
    for module, name in ((methods, "SLOW_WORK"), (methods, "WIDE_WORK"), (linalg, "BLOCK_WORK")):
        monkeypatch.setattr(module, name, 0)
    for module, name in ((methods, "ITERATED_COLUMNS"), (linalg, "BLOCK_COLUMNS"), (penalised, "INVERTED_COLUMNS")):
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
