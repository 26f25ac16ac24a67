"""Apply a plan to a clone of the model, verify it, pack it."""

from netsurgeon.pipeline.compression.apply import Operated, operate, trimmed_selection, with_convolutions
from netsurgeon.pipeline.compression.packing import Packed, changed_interface, pack

__all__ = [
    "Operated",
    "Packed",
    "changed_interface",
    "operate",
    "pack",
    "trimmed_selection",
    "with_convolutions",
]
