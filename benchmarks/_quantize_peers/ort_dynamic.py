"""ONNX Runtime's dynamic quantization: weights of 8 bits, ranges of activations found at run time."""

from typing import Any

import numpy as np
from _peer import run
from onnxruntime.quantization import QuantType, quantize_dynamic


def quantize(task: dict[str, Any], inputs: dict[str, np.ndarray]) -> None:
    """Weights s8; what calibrates is not looked at."""
    quantize_dynamic(task["model"], task["output"], weight_type=QuantType.QInt8, per_channel=task["per_channel"])


run(quantize, "onnxruntime", "onnx")
