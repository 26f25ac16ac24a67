"""Turn the network of a run into an ONNX model, proven to be the same function."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.model_files import check_outputs, save_model
from netsurgeon.pipeline.repair import require_torch, value_errors_as_input_errors
from netsurgeon.pipeline.runtime import Runtime
from netsurgeon.pipeline.training.torch_parity import torch_difference

TOLERANCE = 1e-4
"""Largest difference between PyTorch and ONNX Runtime, relative to the output's scale."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exported:
    """A model that was written.

    Attributes:
        bytes: on disk.
        opset: of its operators.
        parameters: of the network.
        nonzero: those that are not zero.
        difference: largest between PyTorch and ONNX Runtime, relative to the output's scale.
        inputs: real inputs on which it was measured.
    """

    bytes: int
    opset: int
    parameters: int
    nonzero: int
    difference: float
    inputs: int


def export(run: str | Path, output: str | Path) -> Exported:
    """Write the network of a run as ONNX: masks multiplied in, its zeros exact, its batch dynamic.

    Raises:
        InputError: the folder holds no trained network, the output cannot be written, or PyTorch is missing.
        CheckFailedError: ONNX Runtime does not give PyTorch's outputs, or zeros were lost; nothing was written.
    """
    require_torch()
    folder, output = Path(run), Path(output)
    from netsurgeon.models import runs
    from netsurgeon.models.export import export as to_onnx
    from netsurgeon.models.training import CHECKPOINT

    with value_errors_as_input_errors():
        _, network = runs.load_network(folder)
        inputs = runs.load_samples(folder)
    check_outputs([output], *(folder / name for name in (runs.RUN, CHECKPOINT, runs.SAMPLES)))
    model = ir.from_proto(to_onnx(network, inputs[:2]))
    difference = _difference(model, network, inputs.numpy())
    counts = [(p.numel(), int(p.count_nonzero())) for p in network.parameters() if p.ndim > 1]
    check_zeros(model, [size - nonzero for size, nonzero in counts])
    size = save_model(model, output, Runtime().session)
    every = list(network.parameters())
    return Exported(
        bytes=size,
        opset=model.graph.opset_imports[""],
        parameters=sum(parameter.numel() for parameter in every),
        nonzero=sum(int(parameter.count_nonzero()) for parameter in every),
        difference=difference,
        inputs=len(inputs),
    )


def _difference(model: ir.Model, network: Any, inputs: Any) -> float:
    """How far ONNX Runtime is off, for a batch and for one input.

    Raises:
        CheckFailedError: too far.
    """
    session = Runtime().session(model)
    difference = max(torch_difference(session, network, batch) for batch in (inputs, inputs[:1]))
    if not difference <= TOLERANCE:
        raise CheckFailedError(
            f"ONNX Runtime and PyTorch differ by {difference:.2g} of the output's scale, allowed {TOLERANCE:.2g}: "
            f"please report this"
        )
    return difference


def check_zeros(model: ir.Model, zeros: list[int]) -> None:
    """Check that the weights of a model, those of two axes or more, hold as many zeros as those of the network.

    Raises:
        CheckFailedError: they do not.
    """
    constants = [value.const_value for value in model.graph.initializers.values()]
    arrays = [
        constant.numpy() for constant in constants if constant is not None and constant.dtype == ir.DataType.FLOAT
    ]
    zero_count = sum(int(array.size - np.count_nonzero(array)) for array in arrays if array.ndim > 1)
    if zero_count < sum(zeros):
        raise CheckFailedError(
            f"the exported weights hold {zero_count} zeros, the network's {sum(zeros)}: please report"
        )
