"""Labelled points in two clouds, and a small network to train on them."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


@dataclasses.dataclass(frozen=True)
class Points:
    """Examples that lie in an array, (count, coordinates)."""

    array: NDArray[np.float32]
    labels: NDArray[np.int64] | None

    @property
    def count(self) -> int:
        return len(self.array)

    def inputs(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        return self.array[rows]


def clouds(count: int, seed: int = 0) -> Points:
    """Two clouds around (1, 1, 1) and (-1, -1, -1) that overlap a little."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(count) % 2
    array = rng.standard_normal((count, 3)) + np.where(labels, 1.0, -1.0)[:, None]
    return Points(array.astype(np.float32), labels.astype(np.int64))


def labels_of(points: Points) -> NDArray[np.int64]:
    assert points.labels is not None
    return points.labels


def perceptron(seed: int = 0) -> nn.Sequential:
    """A layer of 12 neurons, dropout and a classifier."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 12), nn.ReLU(), nn.Dropout(0.25), nn.Linear(12, 2))
