"""AMD Quark's configuration for u8 activations and s8 weights, with AdaRound where the task says so."""

from typing import Any

import numpy as np
from _peer import batch_of, batches, run
from onnxruntime.quantization import CalibrationDataReader
from quark.onnx import ModelQuantizer
from quark.onnx.quantization.config import Config, get_default_config

BATCH = 16


class _Reader(CalibrationDataReader):
    def __init__(self, feeds: list[dict[str, np.ndarray]]):
        self._feeds = feeds
        self.rewind()

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)

    def rewind(self) -> None:
        """AdaRound reads the inputs again."""
        self._left = iter(self._feeds)

    reset_iter = rewind


def quantize(task: dict[str, Any], inputs: dict[str, np.ndarray]) -> None:
    """All else as the configuration has it."""
    config = Config(global_quant_config=get_default_config("U8S8_AAWS_ADAROUND" if task["adaround"] else "U8S8_AAWS"))
    reader = _Reader(batches(inputs, batch_of(task["model"], BATCH)))
    ModelQuantizer(config).quantize_model(task["model"], task["output"], reader)


run(quantize, "amd-quark", "onnxruntime", "onnx")
