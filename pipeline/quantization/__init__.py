"""Which layers run on integers, and the run that puts them there."""

from netsurgeon.pipeline.quantization.choose import USUAL_KEPT, IntegerChoice, without_times
from netsurgeon.pipeline.quantization.examine import Examination, examine_integers, integers_of_bits
from netsurgeon.pipeline.quantization.facts import IntegerFacts, IntegerLayerFacts
from netsurgeon.pipeline.quantization.incoming import (
    check_trainable,
    integer_notes,
    options_for_integers,
    quantized_already,
)
from netsurgeon.pipeline.quantization.integer_model import IntegerModel, IntegerPlan, make_integer_model
from netsurgeon.pipeline.quantization.matrices import MATRIX_MODES
from netsurgeon.pipeline.quantization.modes import quantize_model, stand_in, time_integers
from netsurgeon.pipeline.quantization.quantize import Quantized, measured_again, structure_name, unless_slower
from netsurgeon.pipeline.quantization.targets import (
    TARGETS,
    Target,
    integers_of_a_weight,
    integers_without_goal,
    zeros_save_bytes,
)

__all__ = [
    "MATRIX_MODES",
    "TARGETS",
    "USUAL_KEPT",
    "Examination",
    "IntegerChoice",
    "IntegerFacts",
    "IntegerLayerFacts",
    "IntegerModel",
    "IntegerPlan",
    "Quantized",
    "Target",
    "check_trainable",
    "examine_integers",
    "integer_notes",
    "integers_of_a_weight",
    "integers_of_bits",
    "integers_without_goal",
    "make_integer_model",
    "measured_again",
    "options_for_integers",
    "quantize_model",
    "quantized_already",
    "stand_in",
    "structure_name",
    "time_integers",
    "unless_slower",
    "without_times",
    "zeros_save_bytes",
]
