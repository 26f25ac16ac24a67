"""Which layers run on integers, and the run that puts them there."""

from netsurgeon.pipeline.quantization.choose import IntegerChoice
from netsurgeon.pipeline.quantization.facts import IntegerFacts, IntegerLayerFacts
from netsurgeon.pipeline.quantization.integer_model import IntegerModel, IntegerPlan, make_integer_model
from netsurgeon.pipeline.quantization.modes import quantize, stand_in, time_integers
from netsurgeon.pipeline.quantization.quantize import Quantized

__all__ = [
    "IntegerChoice",
    "IntegerFacts",
    "IntegerLayerFacts",
    "IntegerModel",
    "IntegerPlan",
    "Quantized",
    "make_integer_model",
    "quantize",
    "stand_in",
    "time_integers",
]
