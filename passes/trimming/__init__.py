"""Remove units from a graph: their importance, their choice, masks and removal."""

from netsurgeon.passes.trimming.importance import FixedImportance, Importance, ObsImportance, idle
from netsurgeon.passes.trimming.mask_units import MaskUnits
from netsurgeon.passes.trimming.trim_neurons import TrimNeurons
from netsurgeon.passes.trimming.uncorrected import Uncorrected, by_unit
from netsurgeon.passes.trimming.unit_costs import Term, UnitCosts
from netsurgeon.passes.trimming.unit_selection import Axes, select_units

__all__ = [
    "Axes",
    "FixedImportance",
    "Importance",
    "MaskUnits",
    "ObsImportance",
    "Term",
    "TrimNeurons",
    "Uncorrected",
    "UnitCosts",
    "by_unit",
    "idle",
    "select_units",
]
