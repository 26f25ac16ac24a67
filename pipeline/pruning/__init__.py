"""How many weights each layer keeps, and the run that removes them."""

from netsurgeon.pipeline.pruning.budget import Cost
from netsurgeon.pipeline.pruning.checkpoint import costs_from_arrays, costs_to_arrays, keep_plan, load_plan
from netsurgeon.pipeline.pruning.costs import measure_costs, probed_inputs
from netsurgeon.pipeline.pruning.low_fidelity import (
    can_evaluate_at_low_fidelity,
    choose_sensitivity_scaling,
    evaluate_at_low_fidelity,
    inputs_at_low_fidelity,
    low_fidelity_inputs,
)
from netsurgeon.pipeline.pruning.plan import ByteBudget, Plan, SensitivityScaling, TimeBudget, spread
from netsurgeon.pipeline.pruning.planning import make_plan
from netsurgeon.pipeline.pruning.prune import Pruned, prune_segments, round_to_stored

__all__ = [
    "ByteBudget",
    "Cost",
    "Plan",
    "Pruned",
    "SensitivityScaling",
    "TimeBudget",
    "can_evaluate_at_low_fidelity",
    "choose_sensitivity_scaling",
    "costs_from_arrays",
    "costs_to_arrays",
    "evaluate_at_low_fidelity",
    "inputs_at_low_fidelity",
    "keep_plan",
    "load_plan",
    "low_fidelity_inputs",
    "make_plan",
    "measure_costs",
    "probed_inputs",
    "prune_segments",
    "round_to_stored",
    "spread",
]
