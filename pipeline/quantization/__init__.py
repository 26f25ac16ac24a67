"""Which layers run on integers, and the run that puts them there."""

from netsurgeon.pipeline.quantization.choose import IntegerChoice
from netsurgeon.pipeline.quantization.facts import IntegerFacts, IntegerLayerFacts
from netsurgeon.pipeline.quantization.incoming import check_trainable, integer_notes, options_for_integers
from netsurgeon.pipeline.quantization.integer_model import IntegerModel, IntegerPlan, make_integer_model
from netsurgeon.pipeline.quantization.quantize import Quantized, quantize, stand_in, time_integers

__all__ = [
    "IntegerChoice",
    "IntegerFacts",
    "IntegerLayerFacts",
    "IntegerModel",
    "IntegerPlan",
    "Quantized",
    "check_trainable",
    "integer_notes",
    "make_integer_model",
    "options_for_integers",
    "quantize",
    "stand_in",
    "time_integers",
]
