"""Remove weights of a model by a plan and correct the rest."""

from netsurgeon.passes.pruning.layer_moments import LayerMoments
from netsurgeon.passes.pruning.layer_plan import LayerPlan, Outcome, RemovedSlices, Solution
from netsurgeon.passes.pruning.prune_weights import PruneWeights, bias_shift, has_scaled_rows, pattern_of

__all__ = [
    "LayerMoments",
    "LayerPlan",
    "Outcome",
    "PruneWeights",
    "RemovedSlices",
    "Solution",
    "bias_shift",
    "has_scaled_rows",
    "pattern_of",
]
