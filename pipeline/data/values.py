"""One value of the user's as an array. No library is loaded for it: what is of it shows that it is loaded already."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netsurgeon.pipeline.errors import InputError


def to_array(value: Any, name: str, origin: str) -> NDArray[Any]:
    """A NumPy array of an array, a tensor of PyTorch on whatever device, a number, or nested lists of these.

    Raises:
        InputError: it is none.
    """
    try:
        if is_tensor(value):
            return _of_tensor(value)
        if isinstance(value, list | tuple) and value and is_tensor(value[0]):
            return stack([_of_tensor(entry) for entry in value], origin)
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise InputError(f"{name!r} of {origin} is not an array ({error}): give a numpy array") from error


def stack(arrays: Sequence[NDArray[Any]], origin: str) -> NDArray[Any]:
    """Samples as one array.

    Raises:
        InputError: they differ in shape.
    """
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise InputError(f"{origin} holds samples of different shapes, {' and '.join(map(str, sorted(shapes)[:2]))}")
    return np.stack(arrays)


def is_tensor(value: object) -> bool:
    """Whether it is a tensor of PyTorch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_array(value: object) -> bool:
    """Whether it is an array of whatever library, or a number of NumPy's."""
    return is_tensor(value) or hasattr(value, "__array__") or hasattr(value, "__array_interface__")


def _of_tensor(tensor: Any) -> NDArray[Any]:
    """The values; NumPy has no bfloat16, whose numbers float32 holds exactly."""
    values = tensor.detach().cpu()
    array: NDArray[Any] = (values.float() if str(values.dtype) == "torch.bfloat16" else values).numpy()
    return array
