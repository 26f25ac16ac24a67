"""Dynamic network surgery: masks that prune and splice weights while a network trains."""

from netsurgeon.models.surgery.allocation import ALLOCATIONS
from netsurgeon.models.surgery.history import PICTURE, plot_history
from netsurgeon.models.surgery.masks import Count, Mask, Surgery, SurgeryPlan, bake

__all__ = [
    "ALLOCATIONS",
    "PICTURE",
    "Count",
    "Mask",
    "Surgery",
    "SurgeryPlan",
    "bake",
    "plot_history",
]
