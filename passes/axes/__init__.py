"""How each operator's axes hang together: labels on axes, declared by one file an operator family."""

from netsurgeon.passes.axes.declare import DECLARATIONS, NodeAxes, Removal, UndeclaredError
from netsurgeon.passes.axes.labels import UNREPORTED, Axis, Classes, Contest, Split
from netsurgeon.passes.axes.tracks import Axes, Observation, Reason, Slot, Tracks, kept

__all__ = [
    "DECLARATIONS",
    "UNREPORTED",
    "Axes",
    "Axis",
    "Classes",
    "Contest",
    "NodeAxes",
    "Observation",
    "Reason",
    "Removal",
    "Slot",
    "Split",
    "Tracks",
    "UndeclaredError",
    "kept",
]
