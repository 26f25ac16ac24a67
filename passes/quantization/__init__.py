"""Run layers on integers: where, on which scales, and their weights by second-order rounding."""

from netsurgeon.passes.quantization.clips import Bounds
from netsurgeon.passes.quantization.drop_clips import DropClips
from netsurgeon.passes.quantization.equalise_channels import ChannelPair, EqualiseChannels, find_channel_pairs
from netsurgeon.passes.quantization.insert_quantizers import (
    OPSET,
    InsertQuantizers,
    SeparateInputs,
    StoreIntegers,
    separated,
)
from netsurgeon.passes.quantization.integer_weights import StoredWeight, find_integer_weights
from netsurgeon.passes.quantization.placement import Placement, place
from netsurgeon.passes.quantization.quantize_layers import IntegerOutcome, QuantizeLayers
from netsurgeon.passes.quantization.scale import RangeMethod, RangeStatistics, Scale
from netsurgeon.passes.quantization.scale_norms import ScaledNorm, ScaleNorms, find_scaled_norms

__all__ = [
    "OPSET",
    "Bounds",
    "ChannelPair",
    "DropClips",
    "EqualiseChannels",
    "InsertQuantizers",
    "IntegerOutcome",
    "Placement",
    "QuantizeLayers",
    "RangeMethod",
    "RangeStatistics",
    "Scale",
    "ScaleNorms",
    "ScaledNorm",
    "SeparateInputs",
    "StoreIntegers",
    "StoredWeight",
    "find_channel_pairs",
    "find_integer_weights",
    "find_scaled_norms",
    "place",
    "separated",
]
