"""How each operator's axes hang together: labels on axes, declared by one file an operator family."""

from netsurgeon.passes.axes.declare import DECLARATIONS, NodeAxes, Removal, UndeclaredError
from netsurgeon.passes.axes.labels import UNREPORTED, Axis, Classes
from netsurgeon.passes.axes.tracks import Observation, Reason, Slot, Tracks, kept

__all__ = [
    "DECLARATIONS",
    "UNREPORTED",
    "Axis",
    "Classes",
    "NodeAxes",
    "Observation",
    "Reason",
    "Removal",
    "Slot",
    "Tracks",
    "UndeclaredError",
    "kept",
]
