"""Weights in fewer bits: codebooks, scales of rows, rounding."""

from netsurgeon.passes.quantization.assign_codebook import quantize
from netsurgeon.passes.quantization.rounding import Rounding, Values, round_weights
from netsurgeon.passes.quantization.row_scales import split_scales

__all__ = [
    "Rounding",
    "Values",
    "quantize",
    "round_weights",
    "split_scales",
]
