"""How many weights each layer keeps, and the run that removes them."""

from netsurgeon.pipeline.pruning.budget import Cost
from netsurgeon.pipeline.pruning.checkpoint import costs_from_arrays, costs_to_arrays, keep_plan, load_plan
from netsurgeon.pipeline.pruning.costs import measure_costs
from netsurgeon.pipeline.pruning.plan import Plan, Temper, spread
from netsurgeon.pipeline.pruning.planning import make_plan
from netsurgeon.pipeline.pruning.prune import Pruned, prune_segments
from netsurgeon.pipeline.pruning.rehearsal import MOST_REHEARSED, can_rehearse, choose_temper, rehearse

__all__ = [
    "MOST_REHEARSED",
    "Cost",
    "Plan",
    "Pruned",
    "Temper",
    "can_rehearse",
    "choose_temper",
    "costs_from_arrays",
    "costs_to_arrays",
    "keep_plan",
    "load_plan",
    "make_plan",
    "measure_costs",
    "prune_segments",
    "rehearse",
    "spread",
]
