"""ONNX Runtime's static quantization as its documentation has it: prepared, min-max ranges, QDQ."""

from pathlib import Path
from typing import Any

import numpy as np
from _peer import batch_of, batches, run
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

BATCH = 16


class _Reader(CalibrationDataReader):
    def __init__(self, feeds: list[dict[str, np.ndarray]]):
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def quantize(task: dict[str, Any], inputs: dict[str, np.ndarray]) -> None:
    """Weights s8, per channel or per tensor; activations as the task says."""
    prepared = str(Path(task["output"]).with_suffix(".prepared.onnx"))
    quant_pre_process(task["model"], prepared)
    quantize_static(
        prepared,
        task["output"],
        _Reader(batches(inputs, batch_of(task["model"], BATCH))),
        quant_format=QuantFormat.QDQ,
        per_channel=task["per_channel"],
        activation_type=QuantType[task["activations"]],
        weight_type=QuantType.QInt8,
    )


run(quantize, "onnxruntime", "onnx")
