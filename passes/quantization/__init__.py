"""Run layers on integers: where, on which scales, and their weights by second-order rounding."""

from netsurgeon.passes.quantization.clips import Bounds
from netsurgeon.passes.quantization.drop_clips import DropClips
from netsurgeon.passes.quantization.equalise_channels import ChannelPair, EqualiseChannels, find_channel_pairs
from netsurgeon.passes.quantization.float_weights import FloatWeights, RestoreIntegers, WeightGrid
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
from netsurgeon.passes.quantization.quantized_layers import QuantizedLayer, find_quantized_layers, summary
from netsurgeon.passes.quantization.scale import RangeMethod, RangeStatistics, Scale
from netsurgeon.passes.quantization.scale_norms import ScaledNorm, ScaleNorms, find_scaled_norms

__all__ = [
    "OPSET",
    "Bounds",
    "ChannelPair",
    "DropClips",
    "EqualiseChannels",
    "FloatWeights",
    "InsertQuantizers",
    "IntegerOutcome",
    "Placement",
    "QuantizeLayers",
    "QuantizedLayer",
    "RangeMethod",
    "RangeStatistics",
    "RestoreIntegers",
    "Scale",
    "ScaleNorms",
    "ScaledNorm",
    "SeparateInputs",
    "StoreIntegers",
    "StoredWeight",
    "WeightGrid",
    "find_channel_pairs",
    "find_integer_weights",
    "find_quantized_layers",
    "find_scaled_norms",
    "place",
    "separated",
    "summary",
]
