"""Whether a PyTorch network and an ONNX model are the same function."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
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
    return relative_difference(*_outputs(session, network, inputs))


def torch_distance(session: Session, network: Any, inputs: npt.NDArray[Any]) -> float:
    """Root mean square difference of the first outputs, relative to that of ONNX Runtime's.

    Args:
        session: the ONNX model, with one input.
        network: a `torch.nn.Module` on any device; not changed.
        inputs: a batch, (samples, …).

    Raises:
        RuntimeError: PyTorch cannot run the network on this batch.
    """
    expected, actual = (np.asarray(outputs, np.float64) for outputs in _outputs(session, network, inputs))
    size = float(np.sqrt(np.mean(np.square(expected))))
    return float(np.sqrt(np.mean(np.square(actual - expected)))) / max(size, np.finfo(np.float32).tiny)


def _outputs(session: Session, network: Any, inputs: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """ONNX Runtime's first output, and PyTorch's."""
    from netsurgeon.models.training import Process, outputs_of

    expected = next(iter(session.run({session.inputs[0]: inputs}).values()))
    return np.asarray(expected), outputs_of(copy.deepcopy(network).cpu(), Arrays(inputs), Process()).numpy()
