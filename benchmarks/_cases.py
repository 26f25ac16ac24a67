"""What `lobs.py` measures: models, weights kept, what must be reached, and what others reach."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

METHODS = ("auto", "obs", "admm", "magnitude", "lobs")
DEFAULT = METHODS[0]
SEEDS = (0, 1, 2)
"""Draws of the calibration pictures, where there are more pictures than are used."""
TOLERANCE = {"error": 0.05, "top1": 0.0}
"""How far, in points, a figure may miss its goal: the LeNets' are medians of three."""
CHANCE_TIMES = 5
"""Where the best method is this many times better than chance, the default method has to be the best."""
SCALE_SECONDS = 300.0
SCALE_BYTES = 4 * 2**30


@dataclasses.dataclass(frozen=True)
class Goal:
    """One row of the table; figures are errors in percent for MNIST and top-1 in percent otherwise.

    Attributes:
        model: file name without suffix.
        data: mnist, cifar10 or imagenet.
        kept: percent of the prunable weights that stay.
        must: what the default method has to reach; None = only reported.
        rival: what onnxsim SparseGPT reaches.
        ratio: how many times smaller the file has to be.
        draws: of calibration pictures on which methods are compared, where it is not three, or one for ImageNet.
    """

    model: str
    data: str
    kept: float
    must: float | None
    rival: float | None
    ratio: float | None = None
    draws: int | None = None

    @property
    def measure(self) -> str:
        """Which figure counts: "error" (less is better) or "top1" (more is better)."""
        return "error" if self.data == "mnist" else "top1"

    @property
    def seeds(self) -> tuple[int, ...]:
        """Draws of the calibration pictures whose median is the figure."""
        return SEEDS if self.data == "mnist" else SEEDS[:1]

    @property
    def compared(self) -> tuple[int, ...]:
        """Draws on all of which the methods are compared."""
        return tuple(range(self.draws or (1 if self.data == "imagenet" else len(SEEDS))))

    @property
    def chance(self) -> float:
        """Top-1 in percent of a guess."""
        return 0.1 if self.data == "imagenet" else 10.0

    def better(self, one: float, other: float) -> bool:
        """Whether the figure `one` is better than `other`."""
        return one < other if self.measure == "error" else one > other

    def reached(self, figure: float) -> bool:
        """Whether a figure is good enough."""
        return self.must is None or not self.better(self.must, figure) or self.is_close(figure)

    def is_close(self, figure: float) -> bool:
        """Whether a figure misses its goal by no more than the tolerance."""
        if self.must is None or not self.better(self.must, figure):
            return False
        return abs(figure - self.must) <= TOLERANCE[self.measure] + 1e-9


GOALS = (
    Goal("lenet300100_dense", "mnist", 15, 2.5, 5.78),
    Goal("lenet300100_dense", "mnist", 7, 3.0, 34.26),
    Goal("lenet300100_dense", "mnist", 3.5, 4.2, None),
    Goal("lenet5_dense", "mnist", 15, 0.97, 2.55),
    Goal("lenet5_dense", "mnist", 7, 1.15, 30.61),
    Goal("lenet5_dense", "mnist", 3.5, 1.28, None, ratio=30.0),
    Goal("resnet20_cifar10", "cifar10", 50, 80.9, 78.59, draws=8),  # three did not tell obs from the default
    Goal("resnet20_cifar10", "cifar10", 30, 79.7, 48.56),
    Goal("resnet20_cifar10", "cifar10", 20, 77.5, None),
    Goal("resnet56_cifar10", "cifar10", 50, 83.1, 81.48),
    Goal("resnet56_cifar10", "cifar10", 30, 82.5, 55.85),
    Goal("resnet56_cifar10", "cifar10", 10, None, 14.74),
    Goal("squeezenet1_1_imagenet", "imagenet", 50, 56.0, 45.6),
    Goal("squeezenet1_1_imagenet", "imagenet", 30, 45.0, 6.6),
    Goal("mobilenet_v1_025_imagenet", "imagenet", 70, 57.0, None),
    Goal("mobilenet_v1_025_imagenet", "imagenet", 50, 52.0, 0.2),
    Goal("shufflenet_v2_imagenet", "imagenet", 50, 80.0, 20.2),
    Goal("shufflenet_v2_imagenet", "imagenet", 30, None, 0.0),
)
MODELS = tuple(dict.fromkeys(goal.model for goal in GOALS))
PATTERNS = ("k:64", "tile:16x16")


@dataclasses.dataclass(frozen=True)
class PatternGoal:
    """A row of the table of patterns: the weights of a row of GOALS, in tiles of a sparse kernel.

    Attributes:
        goal: the row whose default method it is compared with, which keeps as many weights.
        pattern: of the weights.
        most: points of top-1 that it may lose beside the default; None = only reported.
    """

    goal: Goal
    pattern: str
    most: float | None


_MOST_LOST = {"resnet56_cifar10": {50: 0.3, 30: 0.5}, "squeezenet1_1_imagenet": {50: 1.0, 30: 1.5}}
PATTERN_GOALS = tuple(
    PatternGoal(goal, pattern, _MOST_LOST[goal.model][int(goal.kept)] if pattern == PATTERNS[0] else None)
    for goal in GOALS
    if goal.kept in _MOST_LOST.get(goal.model, ())
    for pattern in PATTERNS
)


def zoo_names(shared: Path) -> list[str]:
    """The graphs of the zoo, the `light_*` ones first."""
    manifest: dict[str, Any] = json.loads((shared / "zoo" / "manifest.json").read_text("utf-8"))
    return sorted(manifest, key=lambda name: (not name.startswith("light_"), name))
