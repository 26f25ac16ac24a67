"""Inputs that are made of given ones, so that a few hundred of them are not learnt by heart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from netsurgeon.models.training import augment, seed_of_step

Feed = Mapping[str, npt.NDArray[Any]]
LEAST_CROP = 0.8
"""Sides of the part that a picture is cut to, at least, as a share of its own."""
LEAST_LENGTH = 0.5
"""Of a sequence that is cut short, as a share of its own."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done to the inputs of a step; the dense network answers for the very inputs that come out.

    Attributes:
        shifts: by input with pictures, (n, C, H, W): pixels that each is moved at most, its edge repeated.
        channels_last: those of them whose pictures are (n, H, W, C).
        flip: whether half of the pictures are mirrored left to right, all inputs of a sample alike.
        crop: whether each picture is cut to a part of it, anywhere in it, which is enlarged to the size of the whole.
        noises: by input without pictures: standard deviation of the noise that is added, of a place each.
        lengths: by input with sequences: axes along which all samples of a step keep the same share, from the start.
        counts: inputs that hold the length of each sequence.
    """

    shifts: Mapping[str, int] = field(default_factory=dict)
    channels_last: frozenset[str] = frozenset()
    flip: bool = False
    crop: bool = False
    noises: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    lengths: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    counts: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether inputs stay as they are."""
        return not (self.shifts or self.noises or self.lengths)

    def shortened(self, feed: Feed, seed: int, step: int) -> Feed:
        """A feed of a step whose sequences are cut short, by the same share for all feeds of the step."""
        if not self.lengths:
            return feed
        return self.cut(feed, float(np.random.default_rng(seed_of_step(seed, step, 0)).uniform(LEAST_LENGTH, 1.0)))

    def cut(self, feed: Feed, share: float) -> Feed:
        """A feed of which this share of each sequence is left, rounded up."""
        result = dict(feed)
        for name, axes in self.lengths.items():
            extents = feed[name].shape
            stops = [math.ceil(share * size) if at in axes else size for at, size in enumerate(extents)]
            result[name] = feed[name][tuple(slice(stop) for stop in stops)]
        for name in self.counts:
            result[name] = np.ceil(share * feed[name]).astype(feed[name].dtype)
        return result

    def __call__(self, feed: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
        """A feed that is augmented; the same one for the same seed.

        Pictures lie in memory with their channels last, which PyTorch convolves in two thirds of the time.
        """
        augmented = dict(feed)
        for name, shift in self.shifts.items():
            pictures = feed[name]
            is_last = name in self.channels_last
            pictures = pictures.permute(0, 3, 1, 2) if is_last else pictures
            generator = torch.Generator().manual_seed(seed)
            pictures = augment(pictures, shift, self.flip, generator)
            pictures = _cropped(pictures, generator) if self.crop else pictures
            pictures = pictures.contiguous(memory_format=torch.channels_last)
            augmented[name] = pictures.permute(0, 2, 3, 1).contiguous() if is_last else pictures
        generator = torch.Generator().manual_seed(seed)
        for name, deviation in self.noises.items():
            noise = torch.randn(feed[name].shape, generator=generator, dtype=feed[name].dtype)
            augmented[name] = feed[name] + torch.from_numpy(deviation).to(noise.dtype) * noise
        return augmented


def augmented(augmentation: Augmentation, feed: Feed, seed: int, step: int, number: int) -> dict[str, npt.NDArray[Any]]:
    """A feed of a step, augmented as `tune` does it.

    Args:
        augmentation: what is done.
        feed: the inputs.
        seed: of the repair.
        step: counted from 0.
        number: of the feed in the step.
    """
    feed = augmentation.shortened(feed, seed, step)
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in feed.items()}
    changed = augmentation(tensors, seed_of_step(seed, step, number))
    return {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in changed.items()}


def _cropped(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """A part of each picture (n, C, H, W), in the size of the whole by bilinear interpolation; one for all inputs.

    Bytes are rounded to the nearest.
    """
    if not pictures.is_floating_point():
        return _cropped(pictures.float(), generator).round().to(pictures.dtype)
    count = len(pictures)
    sides = LEAST_CROP + (1.0 - LEAST_CROP) * torch.rand(count, generator=generator)
    centres = (1.0 - sides[:, None]) * (2.0 * torch.rand(count, 2, generator=generator) - 1.0)
    maps = torch.cat([torch.diag_embed(sides[:, None].expand(count, 2)), centres[:, :, None]], 2).to(pictures.dtype)
    grid = functional.affine_grid(maps, list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
