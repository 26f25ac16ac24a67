"""The numerics of pruning: arrays in, arrays out, no ONNX."""

from netsurgeon.passes.solvers.admm import (
    PackedRound,
    Penalised,
    Round,
    RowBlock,
    SupportChoice,
    near_weights,
    take_steps,
)
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
from netsurgeon.passes.solvers.linalg import Array, FactorizationError, Floats, Mask, quadratic_error, row_blocks, solve
from netsurgeon.passes.solvers.masks import TILE_ROWS, NOfM, Pattern, Tiles
from netsurgeon.passes.solvers.masks import choose as choose_mask
from netsurgeon.passes.solvers.methods import (
    FAST_METHOD,
    METHODS,
    REFIT_STEPS,
    UNCORRECTED,
    Effort,
    RefitSystem,
    choice_of_support,
    correct,
    prune,
    schedule_of,
)
from netsurgeon.passes.solvers.parallel import allowed_cores, single_threaded
from netsurgeon.passes.solvers.problem import Problem, energy, target_moments
from netsurgeon.passes.solvers.statistics import Means, Moments, Rows, Statistics, needs_float64

__all__ = [
    "AMPLE",
    "DAMPINGS",
    "FAST_METHOD",
    "FIXED",
    "METHODS",
    "REFIT_STEPS",
    "TILE_ROWS",
    "UNCORRECTED",
    "Array",
    "Consumer",
    "Curve",
    "Effort",
    "FactorizationError",
    "Floats",
    "IntegerGrid",
    "IntegerWeight",
    "Mask",
    "Means",
    "Moments",
    "NOfM",
    "PackedRound",
    "Pattern",
    "Penalised",
    "Problem",
    "RefitSystem",
    "Round",
    "RoundingCost",
    "RowBlock",
    "Rows",
    "Statistics",
    "SupportChoice",
    "Tiles",
    "allowed_cores",
    "choice_of_support",
    "choose_damping",
    "choose_mask",
    "clipped_integers",
    "correct",
    "curve",
    "energy",
    "near_weights",
    "nearest_integers",
    "needs_float64",
    "owned",
    "prune",
    "quadratic_error",
    "round_to_grid",
    "round_to_integers",
    "rounding_costs",
    "row_blocks",
    "sample_rows",
    "schedule_of",
    "single_threaded",
    "solve",
    "steps_of",
    "take_steps",
    "target_moments",
    "trial",
]
