"""The numerics of pruning: arrays in, arrays out, no ONNX."""

from netsurgeon.passes.solvers.damping import AMPLE, DAMPINGS, choose_damping, sample_rows
from netsurgeon.passes.solvers.error_curve import Curve, RoundingCost, curve, rounding_costs, trial
from netsurgeon.passes.solvers.group_obs import FIXED, Consumer, owned
from netsurgeon.passes.solvers.integer_grid import (
    IntegerGrid,
    IntegerWeight,
    clipped_integers,
    nearest_integers,
    round_to_grid,
    round_to_integers,
    steps_of,
)
from netsurgeon.passes.solvers.linalg import Array, FactorizationError, Mask, quadratic_error, solve
from netsurgeon.passes.solvers.masks import TILE_ROWS, NOfM, Pattern, Tiles
from netsurgeon.passes.solvers.methods import FAST_METHOD, METHODS, UNCORRECTED, Effort, correct, prune
from netsurgeon.passes.solvers.parallel import allowed_cores, single_threaded
from netsurgeon.passes.solvers.problem import Problem, energy, target_moments
from netsurgeon.passes.solvers.statistics import Moments, Rows, Statistics, needs_float64

__all__ = [
    "AMPLE",
    "DAMPINGS",
    "FAST_METHOD",
    "FIXED",
    "METHODS",
    "TILE_ROWS",
    "UNCORRECTED",
    "Array",
    "Consumer",
    "Curve",
    "Effort",
    "FactorizationError",
    "IntegerGrid",
    "IntegerWeight",
    "Mask",
    "Moments",
    "NOfM",
    "Pattern",
    "Problem",
    "RoundingCost",
    "Rows",
    "Statistics",
    "Tiles",
    "allowed_cores",
    "choose_damping",
    "clipped_integers",
    "correct",
    "curve",
    "energy",
    "nearest_integers",
    "needs_float64",
    "owned",
    "prune",
    "quadratic_error",
    "round_to_grid",
    "round_to_integers",
    "rounding_costs",
    "sample_rows",
    "single_threaded",
    "solve",
    "steps_of",
    "target_moments",
    "trial",
]
