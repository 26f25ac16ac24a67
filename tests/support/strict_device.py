"""A second device without a GPU: on "meta", what CUDA refuses where tensors of both meet."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MAY_MIX = ("aten::copy_", "aten::index")
"""What takes tensors of two devices: copies, and x[places] with places on the CPU."""


class _StrictDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """PyTorch's own functions let some tensors on the CPU pass beside those on "meta"; on CUDA none does it."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        devices = {tensor.device.type for tensor in _tensors((args, kwargs)) if tensor.ndim}
        if len(devices) > 1 and function.name().partition(".")[0] not in MAY_MIX:
            raise RuntimeError(f"{function.name()} takes tensors on {' and '.join(sorted(devices))}")
        return function(*args, **(kwargs or {}))


def strict_device() -> AbstractContextManager[Any]:
    """Within it tensors on the CPU and on "meta" may not meet."""
    return _StrictDevice()  # type: ignore[no-untyped-call]


def _tensors(values: Any) -> Iterator[Tensor]:
    return (value for value in tree_leaves(values) if isinstance(value, Tensor))


def values_on_another_device(module: Any, feed: Mapping[str, Tensor]) -> dict[str, Any]:
    """Of a module's outputs, run on "meta"."""
    module = module.to("meta")
    with strict_device(), torch.no_grad():
        return dict(module.values({name: tensor.to("meta") for name, tensor in feed.items()}, module.outputs))
