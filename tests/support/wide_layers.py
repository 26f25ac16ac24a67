"""A layer that is just wide enough for its rows to be solved in tasks."""

import dataclasses
from typing import Any

import numpy as np

from netsurgeon.passes.layers import LayerMatrix
from netsurgeon.passes.pruning import LayerMoments, LayerPlan, LayerProblem
from netsurgeon.passes.solvers import Moments

ROWS, COLUMNS = 480, 1104
ROW_TASKS = 4


def wide_problem(**plan: Any) -> LayerProblem:
    """The layer, 0.8 of whose weights go."""
    weight = np.random.default_rng(0).standard_normal((1, ROWS, COLUMNS)).astype(np.float32)
    return LayerProblem(
        layer=LayerMatrix("wide", weight, weight.dtype, 1.0, 1, has_room_for_bias=True),
        plan=dataclasses.replace(LayerPlan(weight.size // 5, damping=1e-2, effort="hasty"), **plan),
        pattern=None,
        may_shift_bias=True,
        has_scaled_rows=False,
    )


def wide_moments() -> LayerMoments:
    """Of inputs that hang together, and are not the dense model's any more."""
    rng = np.random.default_rng(1)
    fit, held_out = Moments(1, COLUMNS, paired=True), Moments(1, COLUMNS, paired=True)
    mixing = rng.standard_normal((COLUMNS, COLUMNS)).astype(np.float32) / np.sqrt(COLUMNS, dtype=np.float32)
    for moments in (fit, held_out):
        dense = rng.standard_normal((1, 1500, COLUMNS), np.float32) @ mixing
        moments.update(dense, dense + np.float32(0.01) * rng.standard_normal(dense.shape, np.float32))
    return LayerMoments(fit, held_out)
