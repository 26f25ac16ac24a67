"""Codebooks fitted to a pruned layer in its own metric."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from netsurgeon.passes.codebooks.assign_codebook import SHARE, SIZES, descend, quantize
from netsurgeon.passes.codebooks.codebooks import fit_codebook, round_to_codebook
from netsurgeon.passes.codebooks.row_scales import row_scales, split_scales
from netsurgeon.passes.solvers.methods import prune
from netsurgeon.passes.solvers.problem import Problem
from netsurgeon.passes.solvers.statistics import Statistics

ROWS, COLUMNS = 24, 150


def problem_of(groups: int = 1) -> Problem:
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((groups, COLUMNS, COLUMNS)) / np.sqrt(COLUMNS) + np.eye(COLUMNS)
    x = mixing @ rng.standard_normal((groups, COLUMNS, 4 * COLUMNS))
    gram, mean = x @ x.swapaxes(1, 2) / x.shape[-1], np.zeros((groups, COLUMNS))
    weight = rng.standard_normal((groups, ROWS, COLUMNS))
    return Problem.of(weight, Statistics(x.shape[-1], True, mean, mean, gram, gram), 1e-2)


def values_of(weight: NDArray[np.float64]) -> int:
    return np.unique(weight[weight != 0.0]).size


@pytest.mark.parametrize("groups", [1, 3])
def test_a_sweep_is_the_naive_one(groups: int) -> None:
    problem = problem_of(groups)
    pruned = prune(problem, groups * ROWS * COLUMNS // 3, "admm")
    codebook = fit_codebook(pruned[pruned != 0.0], 12)
    start = round_to_codebook(pruned, codebook)
    naive = start.copy()
    for g, hessian in enumerate(problem.hessian):
        for column in range(COLUMNS):
            gradient = (naive[g] - problem.weight[g]) @ hessian[:, column]
            best = naive[g, :, column] - gradient / hessian[column, column]
            nearest = codebook[np.abs(best[:, None] - codebook).argmin(axis=1)]
            naive[g, :, column] = np.where(start[g, :, column] != 0.0, nearest, 0.0)
    swept = descend(start, problem)
    np.testing.assert_allclose(swept, naive, rtol=1e-12)
    lost, nearest = (problem.error(each) - problem.error(pruned) for each in (swept, start))
    assert lost < 0.9 * nearest


@pytest.mark.parametrize("groups", [1, 3])
def test_pruned_layers_take_fewer_values_at_little_cost(groups: int) -> None:
    problem = problem_of(groups)
    sizes = []
    for kept in (1.0, 0.8, 0.4):
        pruned = prune(problem, round(kept * problem.weight.size), "admm")
        quantized = quantize(pruned, problem, scaled=False)
        np.testing.assert_array_equal(quantized != 0.0, pruned != 0.0)
        assert kept == 1.0 or problem.error(quantized) <= (1.0 + SHARE) * problem.error(pruned)
        sizes.append(values_of(quantized))
    assert SIZES[0] >= sizes[0] > SIZES[1] >= sizes[1] > sizes[2]


@pytest.mark.parametrize("groups", [1, 3])
def test_rows_of_different_size_share_a_codebook(groups: int) -> None:
    even = problem_of(groups)
    sizes = np.ldexp(1.0, np.random.default_rng(1).integers(-12, 3, (groups, ROWS, 1)))
    pruned = sizes * prune(even, round(0.4 * even.weight.size), "admm")
    problem = dataclasses.replace(even, target=sizes * even.target, weight=sizes * even.weight)
    quantized = quantize(pruned, problem)
    np.testing.assert_array_equal(quantized != 0.0, pruned != 0.0)
    assert problem.error(quantized) <= (1.0 + SHARE) * problem.error(pruned)
    found = split_scales(quantized.reshape(-1, COLUMNS), 0)
    assert found is not None
    assert found.values.size in (7, 15, 31)
    assert found.values.size < values_of(quantized)
    entries = np.unique((quantized / row_scales(pruned))[quantized != 0.0])
    np.testing.assert_array_equal(entries, entries.astype(np.float16))


def test_bits_are_worth_what_weights_are() -> None:
    problem = problem_of()
    pruned = prune(problem, round(0.4 * problem.weight.size), "admm")
    sizes = []
    for price in (1e-9, 1e-6, 1e-5, 1e-3):
        quantized = quantize(pruned, problem, price)
        found = split_scales(quantized[0], 0)
        assert found is not None
        sizes.append(found.values.size)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > SIZES[1]
    assert sizes[-1] <= SIZES[-1]


@pytest.mark.parametrize("price", [np.inf, np.nan])
def test_a_price_that_is_no_number_takes_the_largest_codebook(price: float) -> None:
    problem = problem_of(3)
    pruned = prune(problem, round(0.4 * problem.weight.size), "admm")
    quantized = quantize(pruned, problem, price)
    assert problem.error(quantized) < 1.01 * problem.error(pruned)
    found = split_scales(quantized.reshape(-1, COLUMNS), 0)
    assert found is not None
    assert found.values.size <= SIZES[0]


def test_nothing_but_zeros() -> None:
    problem = problem_of()
    nothing = np.zeros_like(problem.weight)
    np.testing.assert_array_equal(quantize(nothing, problem), nothing)
