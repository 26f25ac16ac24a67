"""Labelled examples, their splits, and the batches of each step: all a function of the seed and the step."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Rows = npt.NDArray[np.intp]


class Examples(Protocol):
    """Inputs that are read by row."""

    @property
    def count(self) -> int:
        """How many."""

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """(count,) classes, or None."""

    def inputs(self, rows: Rows) -> npt.NDArray[np.float32]:
        """The inputs at these rows, (rows, …) float32."""


@dataclass(frozen=True)
class Part:
    """Some rows of other examples."""

    whole: Examples = field(repr=False)
    rows: Rows = field(repr=False)

    @property
    def count(self) -> int:
        """How many."""
        return len(self.rows)

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """(count,) classes, or None."""
        labels = self.whole.labels
        return None if labels is None else labels[self.rows]

    def inputs(self, rows: Rows) -> npt.NDArray[np.float32]:
        """The inputs at these rows, (rows, …) float32."""
        return self.whole.inputs(self.rows[rows])


def split(examples: Examples, count: int, seed: int) -> tuple[Part, Part]:
    """Examples without `count` drawn at random, and those."""
    order = np.random.default_rng(seed).permutation(examples.count)
    return Part(examples, np.sort(order[count:])), Part(examples, np.sort(order[:count]))


@lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int) -> Rows:
    return np.random.default_rng((seed, epoch)).permutation(count)


def rows_of_step(count: int, batch_size: int, seed: int, step: int) -> Rows:
    """The rows of a step: every epoch is in an order of its own and leaves out what fills no batch.

    Raises:
        ValueError: there are fewer examples than one batch needs.
    """
    batches = count // batch_size
    if not batches:
        raise ValueError(f"{count} training examples are fewer than one batch of {batch_size}")
    epoch, batch = divmod(step, batches)
    return _order(count, seed, epoch)[batch * batch_size : (batch + 1) * batch_size]


def seed_of_step(seed: int, step: int, rank: int) -> int:
    """One seed for all that a process draws in a step, so that nothing about it needs to be saved."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1)[0])


def augment(pictures: Tensor, shift: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Move each picture (n, C, H, W) by up to `shift` pixels, its edge repeated, and mirror half of them."""
    count, _, height, width = pictures.shape
    if shift:
        down, right = torch.randint(0, 2 * shift + 1, (2, count, 1, 1), generator=generator) - shift
        rows = (torch.arange(height).view(1, height, 1) + down).clamp(0, height - 1)
        columns = (torch.arange(width).view(1, 1, width) + right).clamp(0, width - 1)
        pictures = pictures[torch.arange(count).view(-1, 1, 1), :, rows, columns].permute(0, 3, 1, 2)
    if flip:
        mirrored = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
        pictures = torch.where(mirrored, pictures.flip(3), pictures)
    return pictures
