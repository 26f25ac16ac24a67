"""What options may be, where they choose among names: light to import, so that help and completion come at once."""

from __future__ import annotations

METHODS = ("auto", "magnitude", "lobs", "obs", "admm")
"""Those of `netsurgeon.passes.solvers`."""
VALUES = ("float32", "float16", "codebook")
"""Types that weights are stored in, the finest first."""
TABLES = ("auto", "float32", "float16", "int8", "int4")
NAMES = ("auto", "readable", "short")
"""Of nodes that unpack weights."""
AUGMENTATIONS = ("shift", "flip", "crop", "noise", "lengths")
"""What may be done to inputs while weights are repaired."""
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
