"""Apply a plan to a clone of the model, verify it, pack it."""

from netsurgeon.pipeline.compression.apply import AppliedPlan, apply_plan, trimmed_selection, with_convolutions
from netsurgeon.pipeline.compression.packing import Packed, changed_interface, pack

__all__ = [
    "AppliedPlan",
    "Packed",
    "apply_plan",
    "changed_interface",
    "pack",
    "trimmed_selection",
    "with_convolutions",
]
