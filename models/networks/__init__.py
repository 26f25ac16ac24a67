"""The networks that the papers train, and their presets."""

from netsurgeon.models.networks.presets import NETWORKS, built

__all__ = [
    "NETWORKS",
    "built",
]
