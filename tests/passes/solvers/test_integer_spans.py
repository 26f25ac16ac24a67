"""Scales that serve a span of a row's columns, and grids that reach one further below zero."""

import numpy as np
import pytest
from layer_problems import normal, problem_of

from netsurgeon.passes.solvers import IntegerWeight, Mask, Problem, nearest_integers, round_to_integers, steps_of


def everything(problem: Problem) -> Mask:
    return np.ones(problem.weight.shape, bool)


@pytest.mark.parametrize("span", [1, 5, 16, 40, 64])
def test_a_scale_serves_its_span_of_columns_and_the_last_one_may_be_short(span: int) -> None:
    problem = problem_of(rows=3, columns=40)
    integers = round_to_integers(problem, everything(problem), 7, span=span)
    spans = -(-40 // span)
    assert integers.scales.shape == (1, 3, spans)
    by_hand = [integers.codes[0, :, column] * integers.scales[0, :, column // span] for column in range(40)]
    np.testing.assert_array_equal(integers.weight[0], np.stack(by_hand, axis=-1))


def test_one_span_over_all_columns_is_a_scale_a_row() -> None:
    problem = problem_of(groups=2, rows=5, columns=70)
    by_span, by_row = (round_to_integers(problem, everything(problem), 7, span=span) for span in (70, None))
    np.testing.assert_array_equal(by_span.scales[..., 0], by_row.scales)
    np.testing.assert_array_equal(by_span.codes, by_row.codes)


def test_finer_spans_and_the_second_order_lose_less() -> None:
    problem = problem_of(rows=8, columns=96)
    errors = [
        problem.error(round_to_integers(problem, everything(problem), 7, span=span).weight) for span in (None, 32, 8)
    ]
    assert errors[0] > 1.1 * errors[1] > 1.1 * 1.1 * errors[2]
    assert problem.error(nearest_integers(problem.weight, 7, span=32).weight) > 1.5 * errors[1]


def test_one_integer_more_below_zero_takes_the_largest_weight_of_either_sign() -> None:
    weight = np.array([[[0.5, -1.0, 0.25, 0.125, 2.0, -0.5]]])
    integers = nearest_integers(weight, 7, span=3, least=-8)
    np.testing.assert_array_equal(integers.scales[0, 0], [1 / 8, -1 / 4])
    np.testing.assert_array_equal(integers.codes[0, 0], [4, -8, 2, 0, -8, 2])


def test_the_grid_of_sixteen_integers_loses_less_than_that_of_fifteen() -> None:
    problem = problem_of(rows=16, columns=96)
    sixteen, fifteen = (
        round_to_integers(problem, everything(problem), 7, span=32, least=least) for least in (-8, None)
    )
    assert sixteen.codes.min() == -8
    assert sixteen.codes.max() <= 7
    assert fifteen.codes.min() >= -7
    assert (sixteen.scales < 0).any()
    assert (fifteen.scales > 0).all()
    assert problem.error(sixteen.weight) < problem.error(fifteen.weight)


def test_scales_are_the_best_for_their_integers() -> None:
    problem = problem_of(rows=4, columns=32)
    integers = round_to_integers(problem, everything(problem), 7, span=8, least=-8)
    least = problem.error(integers.weight)
    for factor in (0.98, 1.02):
        scales = integers.scales.copy()
        scales[:, :, 2] *= factor
        moved = IntegerWeight(codes=integers.codes, scales=scales, span=8)
        assert problem.error(moved.weight) > least


def test_zeros_stay_zero_and_spans_of_zeros_have_a_scale() -> None:
    problem = problem_of(rows=4, columns=24)
    kept = normal(1, 4, 24, seed=3) > 0.0
    kept[..., 8:16] = False
    integers = round_to_integers(problem, kept, 7, span=8, least=-8)
    assert not integers.codes[~kept].any()
    assert integers.codes[kept].any()
    assert np.isfinite(integers.scales).all()
    assert integers.scales.all()


@pytest.mark.parametrize("least", [None, -8])
def test_scales_have_the_digits_of_a_float16(least: int | None) -> None:
    problem = problem_of(rows=4, columns=24)
    scales = round_to_integers(problem, everything(problem), 7, span=8, least=least).scales
    np.testing.assert_array_equal(scales.astype(np.float16).astype(np.float64), scales)


def test_steps_of_one_scale_reach_over_all_columns() -> None:
    np.testing.assert_array_equal(steps_of(np.array([[2.0]]), 4, 6), [[2.0] * 6])
    np.testing.assert_array_equal(steps_of(np.array([[2.0, 3.0]]), 4, 6), [[2.0] * 4 + [3.0] * 2])
