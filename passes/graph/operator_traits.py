"""What an operator is, whatever a pass wants with it."""

from __future__ import annotations

MOVES_ENTRIES = ("Gather", "Slice", "Concat", "Unsqueeze", "Squeeze", "Cast", "Identity", "Reshape", "Flatten")
"""Operators that only move entries of a vector of extents."""


SIZED_BY = {
    **dict.fromkeys(("ConstantOfShape", "If", "NonZero", "Unique", "StringSplit"), (0,)),
    **dict.fromkeys(
        ("CenterCropPad", "Compress", "Expand", "OneHot", "Pad", "Reshape", "Split", "Tile", "TopK", "Upsample"), (1,)
    ),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), (4,)),
    "Col2Im": (1, 2),
    "Loop": (0, 1),
    "MaxUnpool": (2,),
    "NonMaxSuppression": (0, 1, 2, 3, 4),
    "Range": (0, 1, 2),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
}
"""Inputs whose values, not only their shapes, decide how much an operator has to do."""


KNOWN_DOMAINS = ("", "ai.onnx.ml", "com.microsoft")


RECURRENT = ("LSTM", "GRU", "RNN")


DISCRETE = ("ArgMax", "ArgMin", "TopK", "NonMaxSuppression")
"""Operators whose results jump: they are compared at what enters them."""


VIEWS = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose")
