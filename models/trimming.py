"""Network trimming (Hu et al., arXiv 1607.03250): its constants, and how a network becomes narrower.

Which units are idle is measured outside, on the exported graph; what is left of every parameter comes back by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd


@dataclass(frozen=True, kw_only=True)
class TrimmingPlan:
    """When a unit goes, and when the loop of trimming and retraining ends.

    APoZ, the average percentage of zeros, is the share of a unit's activations that are 0 where they are read, over
    validation inputs and positions. A unit goes if its APoZ is above the mean of its layer by more than `deviations`
    standard deviations.

    Attributes:
        deviations: standard deviations above the mean.
        epsilon: activations up to this share of the layer's root mean square count as 0; 0 = exact zeros only, as in
            the paper, where every layer ends in a Relu.
        share: share of the layers that are trimmed in a round: those with the highest mean APoZ.
        tolerance: how far the validation error may be above that of the first network, as a share of the inputs; the
            first round above it is thrown away and ends the loop.
        ratio: parameters per parameter left, after which the loop ends; None = it goes on.
        rounds: of trimming and retraining, at most.

    Raises:
        ValueError: a value is out of range.
    """

    deviations: float = 1.0
    epsilon: float = 0.1
    share: float = 1.0
    tolerance: float = 0.001
    ratio: float | None = None
    rounds: int = 30

    def __post_init__(self) -> None:
        if self.deviations < 0.0 or not 0.0 <= self.epsilon < 1.0 or not 0.0 <= self.tolerance < 1.0:
            raise ValueError("expected deviations of 0 or more, and epsilon and tolerance of at least 0 and below 1")
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"share is {self.share}, expected a share of the layers above 0 and up to 1")
        if self.ratio is not None and not self.ratio > 1.0:
            raise ValueError(f"the ratio is {self.ratio}, expected a number above 1 (12 keeps one parameter of 12)")
        if self.rounds < 1:
            raise ValueError(f"rounds is {self.rounds}, expected 1 or more")


def is_narrower(state: Mapping[str, Tensor], network: nn.Module) -> bool:
    """Whether a state is that of a network of the same layers and classes with fewer units."""
    whole = network.state_dict()
    classes = list(whole)[-1]  # the bias of the classifier, which is the last layer of all networks here
    return state.keys() == whole.keys() and all(
        tensor.ndim == state[name].ndim
        and all(new <= old for new, old in zip(state[name].shape, tensor.shape, strict=True))
        and (name != classes or state[name].shape == tensor.shape)
        for name, tensor in whole.items()
    )


def shrink(network: nn.Module, state: Mapping[str, Tensor | npt.NDArray[Any]]) -> None:
    """Give a network, in place, the widths and the values of a state.

    Args:
        network: of plain layers, without masks.
        state: parameters and buffers by name; those that are not in it keep what they have.
    """
    for prefix, module in network.named_modules():
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            value = state.get(f"{prefix}.{name}" if prefix else name)
            if value is not None:
                fresh = torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value.detach()
                tensor.data = fresh.to(tensor.device, tensor.dtype, copy=True)
        _note_widths(module)


def _note_widths(module: nn.Module) -> None:
    """What a layer notes of its own shape."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _ConvNd):
        module.out_channels, module.in_channels = module.weight.shape[0], module.weight.shape[1] * module.groups
    elif isinstance(module, _BatchNorm):
        module.num_features = len(module.weight)
