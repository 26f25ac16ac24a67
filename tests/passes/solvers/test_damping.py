"""The damping that is chosen follows how many samples there are."""

import dataclasses

import numpy as np
import pytest
from layer_problems import normal, samples, statistics_of, wide

from netsurgeon.passes.solvers import damping as damping_module
from netsurgeon.passes.solvers.damping import choose_damping, sample_rows
from netsurgeon.passes.solvers.statistics import Statistics


def test_a_ridge_has_dampings_of_its_own() -> None:
    x, weight = samples(1, 40, 10_000), normal(1, 8, 40)
    held_out = statistics_of(x[..., 5_000:])
    ridge = held_out.gram / np.trace(held_out.gram[0]) * 40

    def chosen(count: int) -> float:
        fit = dataclasses.replace(statistics_of(x[..., :count]), ridge=ridge)
        return choose_damping(weight, fit, held_out, 160, np.random.default_rng(0))

    assert chosen(24) == max(damping_module.RIDGE_DAMPINGS), "the ridge is the truth"
    assert chosen(400) == damping_module.DAMPINGS[0]


def test_fewer_samples_want_more_damping() -> None:
    x, weight = samples(1, 40, 20_000), normal(1, 8, 40)
    held_out = statistics_of(x[..., 10_000:])

    def chosen(count: int) -> float:
        return choose_damping(weight, statistics_of(x[..., :count]), held_out, 160, np.random.default_rng(0))

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


def test_a_wide_layer_with_ample_samples_needs_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    wide(monkeypatch)
    x = samples(1, 12, 100)
    ample = dataclasses.replace(statistics_of(x), count=100_000)
    assert choose_damping(normal(1, 3, 12), ample, statistics_of(x), 10, np.random.default_rng(0)) == 1e-3


def test_a_wide_layer_with_few_samples_wants_more_damping(monkeypatch: pytest.MonkeyPatch) -> None:
    wide(monkeypatch)
    x, weight = samples(1, 40, 20_000), normal(1, 8, 40)
    held_out = statistics_of(x[..., 10_000:])

    def chosen(count: int) -> float:
        return choose_damping(weight, statistics_of(x[..., :count]), held_out, 160, np.random.default_rng(0))

    assert chosen(24) > chosen(390)
    assert {chosen(24), chosen(390)} <= set(damping_module.WIDE_DAMPINGS)


@pytest.mark.parametrize(("rows", "drawn"), [(15, 0), (40, 32), (200, 64)])
def test_rows_of_a_tile_are_drawn_together(rows: int, drawn: int) -> None:
    numbers = sample_rows(np.zeros((1, rows, 12)), np.random.default_rng(0), 16)
    assert len(numbers) == drawn
    assert numbers.max(initial=0) < rows
    np.testing.assert_array_equal(numbers.reshape(-1, 16) % 16, np.tile(np.arange(16), (drawn // 16, 1)))
    assert len(set(numbers)) == drawn
