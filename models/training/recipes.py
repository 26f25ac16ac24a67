"""How networks are trained: every constant of the loop, and the presets."""

from __future__ import annotations

import math
from dataclasses import dataclass

SCHEDULES = ("inv", "cosine")
OPTIMIZERS = ("sgd", "adam")


@dataclass(frozen=True)
class Recipe:
    """How the weights are updated.

    Attributes:
        steps: updates of the weights.
        batch_size: examples a step, over all processes.
        learning_rate: of the first step after the warm-up.
        schedule: "inv" is Caffe's ``learning_rate · (1 + 1e-4 · step) ** -0.75``, "cosine" ends at 0.
        warm_up: steps over which the learning rate grows from 0.
        momentum: share of the last update that is kept.
        weight_decay: factor of the weights that is added to the gradient.
        shift: pixels that a picture is moved at most, in each direction, its edge repeated.
        flip: whether half of the pictures are mirrored left to right.
        clip: largest norm of the gradient; None = any.
        optimizer: "sgd", stochastic gradient descent with momentum, or "adam", with its usual betas.
        bfloat16: whether forward and backward passes are computed in bfloat16.
        log_every: steps between two rows of the log.

    Raises:
        ValueError: a value is out of range.
    """

    steps: int = 20_000
    batch_size: int = 64
    learning_rate: float = 0.01
    schedule: str = "inv"
    warm_up: int = 0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    shift: int = 0
    flip: bool = False
    clip: float | None = None
    optimizer: str = "sgd"
    bfloat16: bool = False
    log_every: int = 100

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")
        if not 0.0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}, expected a number above 0")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule is {self.schedule!r}, expected one of {', '.join(SCHEDULES)}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer is {self.optimizer!r}, expected one of {', '.join(OPTIMIZERS)}")
        for name in ("momentum", "weight_decay"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 0 and less than 1")

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        warm = min(1.0, (step + 1) / (self.warm_up + 1))
        if self.schedule == "inv":
            return self.learning_rate * warm * (1.0 + 1e-4 * step) ** -0.75
        return self.learning_rate * warm * 0.5 * (1.0 + math.cos(math.pi * step / self.steps))


LENET = Recipe()
"""Caffe's example for MNIST."""
CIFAR = Recipe(
    steps=64_000, batch_size=128, learning_rate=0.1, schedule="cosine", weight_decay=1e-4, shift=4, flip=True
)
"""The residual networks' paper, with a cosine in place of steps."""
IMAGENET = Recipe(
    steps=450_000, batch_size=256, learning_rate=0.1, schedule="cosine", warm_up=2_500, weight_decay=1e-4, flip=True
)
RETRAIN = Recipe(steps=500, learning_rate=1e-3, schedule="cosine", weight_decay=0.0, clip=1.0, optimizer="adam")
"""A few hundred steps on the weights that pruning has left."""
