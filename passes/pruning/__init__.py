"""Remove weights of a model by a plan and correct the rest."""

from netsurgeon.passes.pruning.layer_moments import LayerMoments
from netsurgeon.passes.pruning.layer_plan import Gone, LayerPlan, Outcome, Solution
from netsurgeon.passes.pruning.prune_weights import PruneWeights, has_scaled_rows, pattern_of

__all__ = [
    "Gone",
    "LayerMoments",
    "LayerPlan",
    "Outcome",
    "PruneWeights",
    "Solution",
    "has_scaled_rows",
    "pattern_of",
]
