"""Statistics of activations, streamed over the calibration inputs."""

from netsurgeon.pipeline.calibration.body_layers import unobserved_layers
from netsurgeon.pipeline.calibration.extractor import Extractor, used_values
from netsurgeon.pipeline.calibration.input_values import examine_values
from netsurgeon.pipeline.calibration.segments import cut
from netsurgeon.pipeline.calibration.selection import Selection, has_finite_weight, select
from netsurgeon.pipeline.calibration.sweep import Calibration

__all__ = [
    "Calibration",
    "Extractor",
    "Selection",
    "cut",
    "examine_values",
    "has_finite_weight",
    "select",
    "unobserved_layers",
    "used_values",
]
