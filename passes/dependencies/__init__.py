"""Which units depend on each other and can be removed together."""

from netsurgeon.passes.dependencies.analysis import Dependencies, Frozen, Group, Part, Unit, analyse, by_group

__all__ = [
    "Dependencies",
    "Frozen",
    "Group",
    "Part",
    "Unit",
    "analyse",
    "by_group",
]
