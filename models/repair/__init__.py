"""Tune a compressed network until it gives the dense network's values again, without labels."""

from netsurgeon.models.repair.augmentation import Augmentation, augmented
from netsurgeon.models.repair.comparison import RepairInputs
from netsurgeon.models.repair.recorded import Recorded
from netsurgeon.models.repair.tuning import RepairRecipe, Tuned, outputs_of, tune

__all__ = [
    "Augmentation",
    "Recorded",
    "RepairInputs",
    "RepairRecipe",
    "Tuned",
    "augmented",
    "outputs_of",
    "tune",
]
