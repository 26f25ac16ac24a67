"""Inputs that are made of given ones, so that a few hundred of them are not learnt by heart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from netsurgeon.models.training import augment, seed_of_step


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done to the inputs of a step; the dense network answers for the very inputs that come out.

    Attributes:
        shifts: by input with pictures, (n, C, H, W): pixels that each is moved at most, its edge repeated.
        channels_last: those of them whose pictures are (n, H, W, C).
        flip: whether half of the pictures are mirrored left to right, all inputs of a sample alike.
        noises: by input without pictures: standard deviation of the noise that is added, of a place each.
    """

    shifts: Mapping[str, int] = field(default_factory=dict)
    channels_last: frozenset[str] = frozenset()
    flip: bool = False
    noises: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether inputs stay as they are."""
        return not (self.shifts or self.noises)

    def __call__(self, feed: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
        """A feed that is augmented; the same one for the same seed.

        Pictures lie in memory with their channels last, which PyTorch convolves in two thirds of the time.
        """
        augmented = dict(feed)
        for name, shift in self.shifts.items():
            pictures = feed[name]
            is_last = name in self.channels_last
            pictures = pictures.permute(0, 3, 1, 2) if is_last else pictures
            pictures = augment(pictures, shift, self.flip, torch.Generator().manual_seed(seed))
            pictures = pictures.contiguous(memory_format=torch.channels_last)
            augmented[name] = pictures.permute(0, 2, 3, 1).contiguous() if is_last else pictures
        generator = torch.Generator().manual_seed(seed)
        for name, deviation in self.noises.items():
            noise = torch.randn(feed[name].shape, generator=generator, dtype=feed[name].dtype)
            augmented[name] = feed[name] + torch.from_numpy(deviation).to(noise.dtype) * noise
        return augmented


def augmented(
    augmentation: Augmentation, feed: Mapping[str, npt.NDArray[Any]], seed: int, step: int, number: int
) -> dict[str, npt.NDArray[Any]]:
    """A feed of a step, augmented as `tune` does it.

    Args:
        augmentation: what is done.
        feed: the inputs.
        seed: of the repair.
        step: counted from 0.
        number: of the feed in the step.
    """
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in feed.items()}
    changed = augmentation(tensors, seed_of_step(seed, step, number))
    return {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in changed.items()}
