"""Remove weights of a model by a plan and correct the rest."""

from netsurgeon.passes.pruning.layer_moments import LayerMoments
from netsurgeon.passes.pruning.layer_plan import LayerPlan, Outcome, RemovedSlices, Solution
from netsurgeon.passes.pruning.layer_problem import LayerProblem, bias_shift, has_scaled_rows, solve_layer
from netsurgeon.passes.pruning.patterns import TILE_PATTERNS, LayerPattern, SharePattern, TilePattern, read_pattern
from netsurgeon.passes.pruning.prune_weights import PruneWeights

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
    "has_scaled_rows",
    "read_pattern",
    "solve_layer",
]
