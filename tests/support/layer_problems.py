"""Least-squares problems of layers, the closed form of their solution, and statistics of random samples."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from netsurgeon.passes.solvers import damping as damping_module
from netsurgeon.passes.solvers import error_curve, methods
from netsurgeon.passes.solvers.admm import penalised
from netsurgeon.passes.solvers.masks import NOfM
from netsurgeon.passes.solvers.problem import Problem
from netsurgeon.passes.solvers.statistics import Statistics

Array = NDArray[Any]


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


def pattern_2_of_4(columns: int) -> NOfM:
    """2:4 along the channels of a convolution with two kernel positions."""
    return NOfM(2, 4, np.arange(columns).reshape(-1, 2).T.ravel())


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


def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Move every limit of width below the layers of these tests."""
    for module in (methods, damping_module, error_curve):
        for name in [name for name in vars(module) if name.endswith("_COLUMNS")]:
            monkeypatch.setattr(module, name, 8)
    monkeypatch.setattr(penalised, "FLOAT32_COLUMNS", 8)
