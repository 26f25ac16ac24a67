"""What retraining is judged by: a model's outputs on examples, those of the dense model, and those of PyTorch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from netsurgeon.passes.quantization import find_integer_weights
from netsurgeon.pipeline.data import Examples
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.model_files import open_model, read_model
from netsurgeon.pipeline.runtime import Runtime
from netsurgeon.pipeline.training.torch_parity import torch_difference, torch_distance
from netsurgeon.pipeline.verification import Answers

TOLERANCE = 1e-3
"""Largest difference between PyTorch and ONNX Runtime, relative to the output's scale."""
INTEGER_TOLERANCE = 0.01
"""The same where activations become integers, root mean square: a sum that differs in its last digit now and then
becomes the integer next to it."""
BATCH = 256


@dataclasses.dataclass(frozen=True)
class Scores:
    """One model on one part of the data.

    Attributes:
        error: share of inputs whose class is wrong; None without labels.
        agreement: share of inputs with the dense model's class; None without a dense model.
        distance: squared error of the outputs, as a share of the variance of the dense ones; None without.
    """

    error: float | None
    agreement: float | None
    distance: float | None


class Reference:
    """The dense model, in ONNX Runtime."""

    def __init__(self, path: Path, name: str, runtime: Runtime) -> None:
        self.model, self.name, self.runtime = read_model(path)[0], name, runtime
        self.session = runtime.session(self.model)
        if self.session.inputs != [name]:
            raise InputError(f"{path} has the inputs {', '.join(self.session.inputs)}, the other model has {name}")

    def outputs(self, examples: Any) -> npt.NDArray[np.float32]:
        """The first output for all examples, (count, …) float32."""
        return _outputs(self.session, self.name, examples)

    def module(self, probes: npt.NDArray[np.float32]) -> Any:
        """The same in PyTorch, proven on a few inputs."""
        from netsurgeon.models.onnx_module import OnnxModule

        module = OnnxModule(ir.to_proto(open_model(self.model, self.runtime).model))
        check_same(self.model, module, probes, self.runtime)
        return module


def scores(model: ir.Model, examples: Examples | Any, teacher: Reference | None, runtime: Runtime) -> Scores:
    """Measure a model in ONNX Runtime.

    Raises:
        InputError: its outputs do not fit the labels, or those of the dense model.
    """
    session = runtime.session(model)
    outputs = _outputs(session, session.inputs[0], examples)
    dense_outputs = None if teacher is None else teacher.outputs(examples)
    if dense_outputs is not None and dense_outputs.shape != outputs.shape:
        raise InputError(
            f"the dense model's output has the shape {dense_outputs.shape}, the other model's {outputs.shape}"
        )
    if examples.labels is not None and outputs.ndim != 2:
        raise InputError(f"labels need one row of class scores an input, but the output has the shape {outputs.shape}")
    answers, dense_answers = (
        None if side is None or side.ndim != 2 else Answers(side.argmax(1), examples.labels)
        for side in (outputs, dense_outputs)
    )
    return Scores(
        error=None if answers is None else answers.error,
        agreement=None if answers is None or dense_answers is None else answers.agreement(dense_answers),
        distance=None if dense_outputs is None else _relative_distance(outputs, dense_outputs),
    )


def _relative_distance(outputs: npt.NDArray[np.float32], dense: npt.NDArray[np.float32]) -> float:
    """Squared error of the outputs, as a share of the variance of the dense ones."""
    return float(np.mean((outputs - dense) ** 2) / (np.var(dense, axis=0).mean() or 1.0))


def check_same(model: ir.Model, module: Any, inputs: npt.NDArray[np.float32], runtime: Runtime) -> None:
    """Check that PyTorch gives ONNX Runtime's outputs; those on floats, where the model runs on integers.

    Raises:
        CheckFailedError: it does not.
    """
    if find_integer_weights(model.graph):
        session = dataclasses.replace(runtime, integer_kernels=False).session(model)
        difference, tolerance = torch_distance(session, module, inputs), INTEGER_TOLERANCE
    else:
        difference, tolerance = torch_difference(runtime.session(model), module, inputs), TOLERANCE
    if not difference <= tolerance:
        raise CheckFailedError(
            f"PyTorch and ONNX Runtime differ by {difference:.2g} of the output's scale on this model, allowed "
            f"{tolerance:.2g}: it cannot be retrained, please report this"
        )


def _outputs(session: Any, name: str, examples: Any) -> npt.NDArray[np.float32]:
    parts = np.array_split(np.arange(examples.count), -(-examples.count // BATCH))
    outputs = [next(iter(session.run({name: examples.inputs(part)}).values())) for part in parts]
    return np.asarray(np.concatenate(outputs), np.float32)
