"""A pruned weight goes back on integers whose scales stay, by the error by which it was pruned."""

import numpy as np
import pytest

from netsurgeon.passes import solvers
from netsurgeon.passes.solvers import IntegerGrid, Problem
from netsurgeon.passes.solvers.statistics import Moments

RNG = np.random.default_rng(0)
ROWS, COLUMNS = 6, 12


def grid_of(least: float = -127.0, most: float = 127.0) -> IntegerGrid:
    scales = np.linspace(0.01, 0.02, ROWS)[None]
    return IntegerGrid(scales=scales, least=np.full((1, ROWS), least), most=np.full((1, ROWS), most))


def problem_of(weight: np.ndarray) -> Problem:
    moments = Moments(1, COLUMNS, paired=False)
    mixed = RNG.normal(size=(400, COLUMNS)) @ RNG.normal(size=(COLUMNS, COLUMNS))
    moments.update(mixed[None].astype(np.float32))
    return Problem.of(weight, moments.statistics(centred=False), 1e-3)


def test_a_weight_on_the_grid_from_which_nothing_goes_keeps_its_integers() -> None:
    codes = RNG.integers(-100, 100, size=(1, ROWS, COLUMNS)).astype(float)
    weight = codes * grid_of().scales[..., None]
    rounded = solvers.round_to_grid(problem_of(weight), weight, grid_of())
    np.testing.assert_array_equal(np.rint(rounded / grid_of().scales[..., None]), codes)


@pytest.mark.parametrize(("least", "most"), [(-127.0, 127.0), (0.0, 255.0), (-20.0, 20.0)])
def test_zeros_stay_and_integers_keep_to_their_limits(least: float, most: float) -> None:
    weight = RNG.integers(int(least), int(most), size=(1, ROWS, COLUMNS)) * grid_of().scales[..., None]
    problem = problem_of(weight)
    pruned = solvers.prune(problem, weight.size // 2, "obs")
    steps = solvers.round_to_grid(problem, pruned, grid_of(least, most)) / grid_of().scales[..., None]
    codes = np.rint(steps)
    np.testing.assert_allclose(steps, codes, atol=1e-9)
    assert codes.min() >= least
    assert codes.max() <= most
    assert not codes[pruned == 0.0].any()


def test_rounding_with_an_eye_on_the_error_loses_less_than_the_nearest_integers() -> None:
    grid = IntegerGrid(scales=np.full((1, ROWS), 0.3), least=np.full((1, ROWS), -99), most=np.full((1, ROWS), 99))
    problem = problem_of(RNG.normal(size=(1, ROWS, COLUMNS)))
    pruned = solvers.prune(problem, ROWS * COLUMNS // 2, "obs")
    rounded, nearest = solvers.round_to_grid(problem, pruned, grid), np.rint(pruned / 0.3) * 0.3
    lost = [problem.error(weight) - problem.error(pruned) for weight in (rounded, nearest)]
    assert 0.0 < lost[0] < 0.9 * lost[1]
