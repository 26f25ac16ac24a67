"""Weights of a network from plain arrays, such as the initializers of an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Arrays = Mapping[str, npt.NDArray[Any]]
COUNTER = "num_batches_tracked"
"""BatchNorm counts its batches; no ONNX file has that."""


def load_arrays(network: nn.Module, arrays: Arrays) -> None:
    """Fill a network, in place, with arrays by name, or by order where the names are others.

    Args:
        network: parameters and running statistics are all overwritten.
        arrays: initializers in graph order; those whose shape fits nothing (targets of Reshape, …) are passed over.
            Weights of fully connected layers are (outputs, inputs), as Gemm with ``transB`` has them.

    Raises:
        ValueError: the arrays do not fill the network.
    """
    state = {name: value for name, value in network.state_dict().items() if not name.endswith(COUNTER)}
    matched = _by_name(state, arrays) or _by_order(state, list(arrays.values()))
    if matched is None:
        shapes = ", ".join("x".join(map(str, value.shape)) for value in state.values())
        have = ", ".join("x".join(map(str, array.shape)) for array in arrays.values())
        raise ValueError(f"the arrays of shapes {have or 'none'} do not fill a network of {shapes}")
    with torch.no_grad():
        for name, value in state.items():
            value.copy_(torch.from_numpy(np.array(matched[name], np.float32)))


def _by_name(state: Mapping[str, Tensor], arrays: Arrays) -> Arrays | None:
    """The array of each entry's name; a bias that is not there is 0: exporters leave out what adds nothing."""
    matched = {}
    for name, value in state.items():
        array = arrays.get(name, np.zeros(tuple(value.shape)) if name.endswith(".bias") else None)
        if array is None or array.shape != tuple(value.shape):
            return None
        matched[name] = array
    return matched


def _by_order(state: Mapping[str, Tensor], arrays: Sequence[npt.NDArray[Any]]) -> Arrays | None:
    """The first array not yet passed of the shape that each entry has, in order."""
    matched, rest = {}, iter(arrays)
    for name, value in state.items():
        array = next((array for array in rest if array.shape == tuple(value.shape)), None)
        if array is None:
            return None
        matched[name] = array
    return matched
