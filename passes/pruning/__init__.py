"""Remove weights of a model by a plan and correct the rest."""

from netsurgeon.passes.pruning.layer_moments import LayerMoments
from netsurgeon.passes.pruning.layer_plan import LayerPlan, Outcome, RemovedSlices, Solution
from netsurgeon.passes.pruning.layer_problem import LayerProblem, bias_shift, has_scaled_rows, solve_layer
from netsurgeon.passes.pruning.patterns import TILE_PATTERNS, LayerPattern, SharePattern, TilePattern, read_pattern
from netsurgeon.passes.pruning.prune_weights import PruneWeights
from netsurgeon.passes.pruning.row_blocks import (
    first_round,
    joined_rows,
    next_round,
    penalised_hessian,
    refit_system,
    refitted_rows,
    rounds_of,
    rows_of_layer,
    rows_of_tasks,
    set_up_wide_layer,
    steps_of_rows,
)

__all__ = [
    "TILE_PATTERNS",
    "LayerMoments",
    "LayerPattern",
    "LayerPlan",
    "LayerProblem",
    "Outcome",
    "PruneWeights",
    "RemovedSlices",
    "SharePattern",
    "Solution",
    "TilePattern",
    "bias_shift",
    "first_round",
    "has_scaled_rows",
    "joined_rows",
    "next_round",
    "penalised_hessian",
    "read_pattern",
    "refit_system",
    "refitted_rows",
    "rounds_of",
    "rows_of_layer",
    "rows_of_tasks",
    "set_up_wide_layer",
    "solve_layer",
    "steps_of_rows",
]
