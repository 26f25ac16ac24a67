"""Whether a PyTorch network and an ONNX model are the same function."""

from __future__ import annotations

import copy
from typing import Any

import numpy.typing as npt

from netsurgeon.pipeline.data import Arrays
from netsurgeon.pipeline.runtime import Session, relative_difference


def torch_difference(session: Session, network: Any, inputs: npt.NDArray[Any]) -> float:
    """Largest difference of the first outputs, relative to the scale of ONNX Runtime's; the network is not changed.

    Args:
        session: the ONNX model, with one input.
        network: a `torch.nn.Module` on any device.
        inputs: a batch, (samples, …).

    Raises:
        RuntimeError: PyTorch cannot run the network on this batch.
    """
    from netsurgeon.models.training import Process, outputs_of

    expected = next(iter(session.run({session.inputs[0]: inputs}).values()))
    actual = outputs_of(copy.deepcopy(network).cpu(), Arrays(inputs), Process()).numpy()
    return relative_difference(expected, actual)
