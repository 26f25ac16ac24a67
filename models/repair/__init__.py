"""Tune a compressed network until it gives the dense network's values again, without labels."""

from netsurgeon.models.repair.augmentation import Augmentation
from netsurgeon.models.repair.tuning import RepairInputs, RepairRecipe, Tuned, outputs_of, tune

__all__ = [
    "Augmentation",
    "RepairInputs",
    "RepairRecipe",
    "Tuned",
    "outputs_of",
    "tune",
]
