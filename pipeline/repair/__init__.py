"""Tune what pruning has left towards the dense model, without labels."""

from netsurgeon.pipeline.repair.behind import FRONT, INTEGERS, layers_by_stage
from netsurgeon.pipeline.repair.facts import RepairFacts
from netsurgeon.pipeline.repair.inner_values import inner_values
from netsurgeon.pipeline.repair.output_errors import output_losses, outputs_of_models, worse_measure
from netsurgeon.pipeline.repair.patterns import Pattern, integer_patterns
from netsurgeon.pipeline.repair.repair import BATCH, Repaired, repair_model, repair_steps, split_inputs
from netsurgeon.pipeline.repair.torch_checks import require_torch, value_errors_as_input_errors, with_repair_chosen

__all__ = [
    "BATCH",
    "FRONT",
    "INTEGERS",
    "Pattern",
    "RepairFacts",
    "Repaired",
    "inner_values",
    "integer_patterns",
    "layers_by_stage",
    "output_losses",
    "outputs_of_models",
    "repair_model",
    "repair_steps",
    "require_torch",
    "split_inputs",
    "value_errors_as_input_errors",
    "with_repair_chosen",
    "worse_measure",
]
