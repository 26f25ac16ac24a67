"""Run layers on integers: where, on which scales, and their weights by second-order rounding."""

from netsurgeon.passes.quantization.clips import Bounds, DropClips
from netsurgeon.passes.quantization.equalise_channels import ChannelPair, EqualiseChannels, find_channel_pairs
from netsurgeon.passes.quantization.float_weights import FloatWeights, RestoreIntegers, WeightGrid
from netsurgeon.passes.quantization.insert_quantizers import (
    OPSET,
    InsertQuantizers,
    SeparateInputs,
    StoreIntegers,
    separated,
)
from netsurgeon.passes.quantization.placement import SHARED_WEIGHT, Placement, place, place_matrices, span_of
from netsurgeon.passes.quantization.quantize_layers import IntegerOutcome, QuantizeLayers
from netsurgeon.passes.quantization.quantize_while_running import (
    OPSET_OF_RANGES,
    MeasureWhileRunning,
    MultiplyIntegers,
    RecurOnIntegers,
    RoundCells,
)
from netsurgeon.passes.quantization.quantized_layers import (
    QDQ,
    QuantizedLayer,
    StoredWeight,
    find_integer_weights,
    find_quantized_layers,
    scales_of_integers,
    summary,
)
from netsurgeon.passes.quantization.round_tables import RoundTables, row_errors
from netsurgeon.passes.quantization.scale import RangeMethod, RangeStatistics, Scale
from netsurgeon.passes.quantization.scale_norms import ScaledNorm, ScaleNorms, find_scaled_norms
from netsurgeon.passes.quantization.store_blocks import OPSET_OF_BLOCKS, StoreBlocks

__all__ = [
    "OPSET",
    "OPSET_OF_BLOCKS",
    "OPSET_OF_RANGES",
    "QDQ",
    "SHARED_WEIGHT",
    "Bounds",
    "ChannelPair",
    "DropClips",
    "EqualiseChannels",
    "FloatWeights",
    "InsertQuantizers",
    "IntegerOutcome",
    "MeasureWhileRunning",
    "MultiplyIntegers",
    "Placement",
    "QuantizeLayers",
    "QuantizedLayer",
    "RangeMethod",
    "RangeStatistics",
    "RecurOnIntegers",
    "RestoreIntegers",
    "RoundCells",
    "RoundTables",
    "Scale",
    "ScaleNorms",
    "ScaledNorm",
    "SeparateInputs",
    "StoreBlocks",
    "StoreIntegers",
    "StoredWeight",
    "WeightGrid",
    "find_channel_pairs",
    "find_integer_weights",
    "find_quantized_layers",
    "find_scaled_norms",
    "place",
    "place_matrices",
    "row_errors",
    "scales_of_integers",
    "separated",
    "span_of",
    "summary",
]
