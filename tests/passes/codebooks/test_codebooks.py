"""Codebooks: entries are means of their cells, and a refit of them is the least-squares solution."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sparse_weights import Array, sparse

from netsurgeon.passes.codebooks.codebooks import (
    fit_codebook,
    refit_codebook,
    replace_codebook,
    round_to_codebook,
)
from netsurgeon.passes.solvers.linalg import FactorizationError


def test_few_values_are_their_own_codebook() -> None:
    np.testing.assert_array_equal(fit_codebook(np.array([2.0, -1.0, 2.0, 5.0]), 3), [-1.0, 2.0, 5.0])
    with pytest.raises(ValueError, match="a codebook needs values"):
        fit_codebook(np.zeros(0))


@settings(max_examples=30)
@given(seed=st.integers(0, 999), size=st.integers(1, 40), weighted=st.booleans(), heavy=st.booleans())
def test_each_entry_is_the_mean_of_its_cell(seed: int, size: int, weighted: bool, heavy: bool) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_cauchy(400) if heavy else rng.standard_normal(400)
    weights = rng.random(400) + 0.1
    codebook = fit_codebook(values, size, weights if weighted else None, iterations=5000)
    assert 1 <= codebook.size <= size
    nearest = np.searchsorted((codebook[1:] + codebook[:-1]) / 2, values, side="right")
    mass = weights if weighted else np.ones(400)
    means = np.bincount(nearest, mass * values) / np.bincount(nearest, mass)
    np.testing.assert_allclose(means, codebook, rtol=1e-8, atol=1e-9)


def test_equal_weights_are_no_weights() -> None:
    values = np.random.default_rng(0).standard_normal(3000)
    weighted = fit_codebook(values, 30, np.full(3000, 1.0))
    np.testing.assert_allclose(weighted, fit_codebook(values, 30), rtol=1e-12)


def test_rounding_takes_the_nearest() -> None:
    weight, codebook = sparse((40, 40)), np.array([-1.0, -0.25, 0.5, 2.0])
    rounded = round_to_codebook(weight, codebook)
    best = np.abs(weight[..., None] - codebook).min(axis=-1)
    np.testing.assert_allclose(np.abs(rounded - weight)[weight != 0], best[weight != 0], rtol=1e-6)


def problem(seed: int = 0) -> tuple[Array, Array, Array]:
    """A rounded weight (12, 9), its target, and a Hessian (9, 9)."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((30, 9))
    target = rng.standard_normal((12, 9))
    weight = target * (rng.random((12, 9)) < 0.6)
    rounded = round_to_codebook(weight, fit_codebook(weight[weight != 0], 6))
    return rounded, target, inputs.T @ inputs


def test_refit_is_the_least_squares_solution() -> None:
    weight, target, hessian = problem()
    codebook = np.unique(weight[weight != 0])
    factor = np.linalg.cholesky(hessian)
    design = np.stack([((weight == entry) @ factor).ravel() for entry in codebook], axis=1)
    expected = np.linalg.lstsq(design, (target @ factor).ravel(), rcond=None)[0]
    np.testing.assert_allclose(refit_codebook(weight, target, hessian, 1e-14), expected, rtol=1e-8)


def test_refit_lowers_the_error_and_keeps_the_zeros() -> None:
    weight, target, hessian = problem(1)
    refitted = replace_codebook(weight, refit_codebook(weight, target, hessian))

    def error(candidate: Array) -> float:
        return float(np.einsum("ri,ij,rj->", candidate - target, hessian, candidate - target))

    assert error(refitted) < error(weight)
    np.testing.assert_array_equal(refitted == 0, weight == 0)


def test_refit_of_nothing_and_of_a_bad_hessian() -> None:
    weight, target, hessian = problem()
    assert refit_codebook(np.zeros_like(weight), target, hessian).size == 0
    with pytest.raises(FactorizationError, match="damping 1e-08"):
        refit_codebook(weight, target, -hessian)
