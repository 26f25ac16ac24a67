"""NNCF's post-training quantization with its defaults, on all calibration inputs."""

from typing import Any

import nncf
import numpy as np
import onnx
from _peer import batch_of, batches, run


def quantize(task: dict[str, Any], inputs: dict[str, np.ndarray]) -> None:
    """Its statistics are of single samples."""
    feeds = batches(inputs, batch_of(task["model"], 1))
    model = nncf.quantize(onnx.load(task["model"]), nncf.Dataset(feeds), subset_size=len(feeds))
    onnx.save(model, task["output"])


run(quantize, "nncf", "onnxruntime", "onnx")
