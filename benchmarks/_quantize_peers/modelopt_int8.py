"""NVIDIA Model Optimizer's quantization of ONNX models with its defaults, on the CPU, the rest left float32."""

from typing import Any

import numpy as np
from _peer import run
from modelopt.onnx.quantization import quantize as quantize_model


def quantize(task: dict[str, Any], inputs: dict[str, np.ndarray]) -> None:
    """Calibrated by entropy, which is its default for int8."""
    quantize_model(
        task["model"],
        quantize_mode="int8",
        calibration_data=inputs,
        calibration_eps=["cpu"],
        high_precision_dtype="fp32",
        output_path=task["output"],
    )


run(quantize, "nvidia-modelopt", "onnxruntime", "onnx")
