"""Which units depend on each other and can be removed together."""

from netsurgeon.passes.dependencies.analysis import Dependencies, Frozen, Group, Part, Unit, analyse, by_group
from netsurgeon.passes.dependencies.mask_inputs import attention_masks
from netsurgeon.passes.dependencies.positions import PositionAxes, position_axes

__all__ = [
    "Dependencies",
    "Frozen",
    "Group",
    "Part",
    "PositionAxes",
    "Unit",
    "analyse",
    "attention_masks",
    "by_group",
    "position_axes",
]
