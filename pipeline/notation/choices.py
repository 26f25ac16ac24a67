"""What options may be, where they choose among names: light to import, so that help and completion come at once."""

from __future__ import annotations

from typing import Literal, get_args

from netsurgeon.pipeline.errors import InputError

MeasureName = Literal[
    "top-1",
    "agreement",
    "token-agreement",
    "cosine",
    "outputs",
    "spearman",
    "perplexity",
    "f1",
    "auc",
    "mse",
    "psnr",
    "metric",
]
"""What models are judged by; "metric" is one of the user's own."""
MEASURES = tuple(name for name in get_args(MeasureName) if name != "metric")
"""Those that `metric` may name."""

METHODS = ("auto", "magnitude", "lobs", "obs", "admm")
"""Those of `netsurgeon.passes.solvers`."""
VALUES = ("float32", "float16", "codebook")
"""Types that weights are stored in, the finest first."""
TABLES = ("auto", "float32", "float16", "int8", "int4")
NAMES = ("auto", "readable", "short")
"""Of nodes that unpack weights."""
AUGMENTATIONS = ("shift", "flip", "crop", "noise", "lengths")
"""What may be done to inputs while weights are repaired."""
ALONE = ("auto", "none")
"""What may stand in their place."""
EFFORTS = ("fast", "full")
IMPORTANCES = ("obs", "apoz", "magnitude")
SAVINGS = ("parameters", "macs")
QUANTIZE_MODES = ("int8", "w4a8", "dynamic", "w8", "w4", "none")
RETRAIN_MODES = ("int8", "w4a8")
"""What a model can be put on before it is retrained."""
TARGETS = ("cpu", "cpu-vnni", "cpu-sparse", "onnx", "cuda", "tensorrt", "openvino", "qnn")
RANGES = ("error", "percentile", "min-max")
PREFERENCES = ("speed", "size")
OPTIMISATIONS = ("off", "basic", "extended", "all")
"""Levels of graph optimisation in ONNX Runtime."""
VALIDATION = 1 / 12
"""Share of training data that is held out by default: 5,000 of MNIST's 60,000."""


def augmentations(text: str) -> str:
    """Names of AUGMENTATIONS with commas between, each once and without spaces; or auto, or none.

    Raises:
        InputError: one of them is no such name, or auto or none stands beside others.
    """
    kinds = list(dict.fromkeys(kind.strip() for kind in text.split(",")))
    unknown = [kind for kind in kinds if kind not in (*AUGMENTATIONS, *ALONE)]
    if unknown or (len(kinds) > 1 and set(kinds) & set(ALONE)):
        why = f"{', '.join(map(repr, unknown))} is none of these" if unknown else "auto and none stand alone"
        raise InputError(
            f"augment is {text!r}, expected auto, none, or some of {','.join(AUGMENTATIONS)}, with commas between; "
            f"{why}"
        )
    return ",".join(kinds)
