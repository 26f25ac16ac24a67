"""Weights of few values: codebooks, scales of rows, rounding to shorter floats."""

from netsurgeon.passes.codebooks.assign_codebook import quantize
from netsurgeon.passes.codebooks.codebooks import round_to_type
from netsurgeon.passes.codebooks.rounding import Rounding, Values, round_weights
from netsurgeon.passes.codebooks.row_scales import split_scales

__all__ = [
    "Rounding",
    "Values",
    "quantize",
    "round_to_type",
    "round_weights",
    "split_scales",
]
