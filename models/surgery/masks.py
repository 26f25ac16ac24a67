"""Dynamic network surgery (Guo, Yao and Chen, arXiv 1608.04493): prune and splice weights while they are trained.

A layer computes with ``W ⊙ T`` for a boolean mask T, and the gradient with respect to ``W ⊙ T`` updates all of W:
weights that are pruned go on learning and are spliced back once they have grown. Weights and biases of a layer are
pooled.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from netsurgeon.models.surgery.allocation import ALLOCATIONS, Standing, find_thresholds

POOLED = ("weight", "bias")
MEMORY = 0.99
"""Weight of what came before in the running mean of the curvature."""


@dataclass(frozen=True, kw_only=True)
class SurgeryPlan:
    """All constants of surgery; the defaults are those of the authors' models where they are the same in all.

    With μ and s the mean and the standard deviation of the magnitudes of a layer's nonzero parameters, taken once,
    the threshold is ``t = max(μ + c · s, 0)``. In an update a parameter of magnitude up to ``low · t`` is pruned,
    one above ``high · t`` is spliced, and one in between stays what it was. A layer is updated in iteration i with
    the probability ``(1 + gamma · i) ** -power``, until `stop`.

    Attributes:
        c: by name of a layer or glob; the first that matches counts.
        gamma: how fast updates become rare.
        power: how fast updates become rare.
        stop: iterations with updates, for each group.
        low: share of the threshold up to which a parameter is pruned.
        high: share of the threshold above which a parameter is spliced.
        groups: names or globs of layers that are operated on together, one group after the other.
        ratio: parameters of a group per parameter kept; thresholds, and with them c, are then found on the way.
        allocation: how a ratio is spread over the layers, one of `allocation.ALLOCATIONS`, or "auto", which tries.
        ramp: share of `stop` over which a ratio is reached, the density falling from that of the start as
            ``(1 - i / ramp) ** 3``.
        interval: iterations between two searches for thresholds, with a ratio; from a pruned start each of the first
            so many iterations has one.

    Raises:
        ValueError: a value is out of range.
    """

    c: Mapping[str, float] = field(default_factory=lambda: {"*": 1.0})
    gamma: float = 1e-4
    power: float = 1.0
    stop: int = 14_000
    low: float = 0.9
    high: float = 1.1
    groups: tuple[tuple[str, ...], ...] = (("*",),)
    ratio: float | None = None
    allocation: str = "auto"
    ramp: float = 0.6
    interval: int = 100

    def __post_init__(self) -> None:
        if self.stop < 1 or self.interval < 1:
            raise ValueError(f"stop is {self.stop} and interval {self.interval}, expected 1 or more")
        if not 0.0 <= self.low <= self.high or self.gamma < 0.0 or self.power < 0.0:
            raise ValueError("expected 0 <= low <= high, gamma >= 0 and power >= 0")
        if self.ratio is not None and not self.ratio > 1.0:
            raise ValueError(f"the ratio is {self.ratio}, expected a number above 1 (100 keeps one weight of 100)")
        if self.allocation not in ("auto", *ALLOCATIONS):
            raise ValueError(f"allocation is {self.allocation!r}, expected one of auto, {', '.join(ALLOCATIONS)}")
        if not 0.0 < self.ramp <= 1.0:
            raise ValueError(f"ramp is {self.ramp}, expected a share above 0 and up to 1")

    @property
    def end(self) -> int:
        """The iteration from which on all masks stay as they are."""
        return self.stop * len(self.groups)

    def c_of(self, layer: str) -> float | None:
        """The c of a layer; None where none is given."""
        return next((c for glob, c in self.c.items() if fnmatch.fnmatchcase(layer, glob)), None)

    def target(self, iteration: int, start: float = 1.0) -> float:
        """The share of a group's parameters to keep in an iteration of its own, with a ratio.

        Args:
            iteration: counted from the group's first.
            start: the share kept before that.
        """
        final = 1.0 / (self.ratio or 1.0)
        left = max(0.0, 1.0 - iteration / (self.ramp * self.stop))
        return final + max(start - final, 0.0) * left**3


class Mask(nn.Module):
    """The parametrization ``w ⊙ mask`` whose gradient passes to all of w, where mask is a boolean buffer."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, original: Tensor) -> Tensor:
        """The masked parameter, its zeros exact; straight through for the gradient."""
        return original + (original * self.mask - original).detach()


@dataclass
class Layer:
    """One layer under surgery: its masks and what its parameters looked like at the start.

    Attributes:
        name: of the module in the network.
        parameters: the originals, before their masks.
        masks: one for each parameter.
        mean: μ, the mean magnitude of the nonzero parameters at the start.
        deviation: s, the standard deviation of these magnitudes.
        threshold: t.
        curvature: mean square of the gradient over the parameters, averaged over the last steps.
        pruned: parameters masked since `Surgery.record` was last called.
        spliced: parameters taken back since then.
    """

    name: str
    parameters: list[Tensor] = field(repr=False)
    masks: list[Mask] = field(repr=False)
    mean: float = 0.0
    deviation: float = 0.0
    threshold: float = 0.0
    curvature: float = 0.0
    pruned: int = 0
    spliced: int = 0

    @property
    def size(self) -> int:
        """Parameters in all."""
        return sum(parameter.numel() for parameter in self.parameters)

    @property
    def kept(self) -> int:
        """Parameters that are not masked."""
        return sum(int(torch.count_nonzero(mask.mask)) for mask in self.masks)

    def magnitudes(self) -> Tensor:
        """|w| of weights and biases, pooled, (size,)."""
        return torch.cat([parameter.detach().abs().flatten() for parameter in self.parameters])

    def standing(self, c: float) -> Standing:
        """What thresholds are found from."""
        magnitudes = self.magnitudes()
        taken = torch.cat([mask.mask.flatten() for mask in self.masks])
        kept, pruned = (magnitudes[which].sort().values.numpy(force=True) for which in (taken, ~taken))
        return Standing(kept, pruned, self.mean + c * self.deviation, self.deviation, self.curvature)

    def feel(self) -> None:
        """Take the gradients into the curvature."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if gradients:
            square = float(sum(gradient.square().sum() for gradient in gradients)) / self.size
            self.curvature += (1.0 - MEMORY) * (square - self.curvature) if self.curvature else square

    def measure(self) -> None:
        """Take μ and s of the nonzero parameters."""
        magnitudes = self.magnitudes().double()
        nonzero = magnitudes[magnitudes > 0]
        if len(nonzero):
            self.mean, self.deviation = float(nonzero.mean()), float(nonzero.std(correction=0))

    def prune_and_splice(self, low: float, high: float) -> None:
        """Mask what is no larger than ``low · threshold``, take back what is larger than ``high · threshold``."""
        for parameter, mask in zip(self.parameters, self.masks, strict=True):
            magnitude = parameter.detach().abs()
            now = (mask.mask & (magnitude > low * self.threshold)) | (magnitude > high * self.threshold)
            self.pruned += int(torch.count_nonzero(mask.mask & ~now))
            self.spliced += int(torch.count_nonzero(now & ~mask.mask))
            mask.mask.copy_(now)


@dataclass(frozen=True)
class Count:
    """What happened to a layer up to a step: one row of the history."""

    step: int
    layer: str
    size: int
    kept: int
    pruned: int
    spliced: int
    c: float


class Surgery:
    """Masks on all convolutions and fully connected layers of a network, and the updates of these masks.

    Args:
        network: its parameters become parametrized, in place; what is 0 now starts as pruned.
        plan: the constants.
        seed: of the draws.

    Raises:
        ValueError: a layer has no c, or a glob matches no layer.
    """

    def __init__(self, network: nn.Module, plan: SurgeryPlan, seed: int = 0) -> None:
        self.plan = plan
        self.seed = seed
        self.layers = {name: _masked(name, module) for name, module in layers_of(network)}
        self.groups = [[layer for layer in self.layers.values() if _matches(layer.name, g)] for g in plan.groups]
        for group, members in zip(plan.groups, self.groups, strict=True):
            if not members:
                raise ValueError(f"the group {', '.join(group)} matches none of the layers {', '.join(self.layers)}")
        self.starts = [_share_kept(members) for members in self.groups]
        if plan.ratio is None:
            without = [name for name in self.layers if plan.c_of(name) is None]
            if without:
                raise ValueError(f"no c is given for the layers {', '.join(without)}")

    @property
    def size(self) -> int:
        """Parameters that can be pruned."""
        return sum(layer.size for layer in self.layers.values())

    @property
    def kept(self) -> int:
        """Parameters that are not pruned."""
        return sum(layer.kept for layer in self.layers.values())

    def update(self, step: int) -> None:
        """Before the forward pass of a training step: choose which parameters take part in it."""
        turn, iteration = divmod(step, self.plan.stop)
        if turn >= len(self.groups):
            return
        group = self.groups[turn]
        if iteration == 0:
            for layer in group:
                layer.measure()
                layer.threshold = max(layer.mean + (self.plan.c_of(layer.name) or 0.0) * layer.deviation, 0.0)
        last = iteration == self.plan.stop - 1
        if self.plan.ratio is not None and (last or self._seeks(iteration, self.starts[turn])):
            self._find_thresholds(group, self.plan.target(iteration, self.starts[turn]))
        chance = 1.0 if last else (1.0 + self.plan.gamma * iteration) ** -self.plan.power
        draws = np.random.default_rng((self.seed, step)).random(len(group))
        for layer, draw in zip(group, draws, strict=True):
            if draw < chance:
                layer.prune_and_splice(self.plan.low, self.plan.high)

    def _seeks(self, iteration: int, start: float) -> bool:
        """Whether thresholds are found anew in an iteration of a group that has kept a share before the first.

        What a pruned model has pruned is 0 and grows in the first steps: an older threshold would splice all of it.
        """
        return iteration % self.plan.interval == 0 or (start < 1.0 and iteration < self.plan.interval)

    def feel(self) -> None:
        """After the backward pass of a training step: take its gradients into the curvatures, where they are used."""
        if self.plan.ratio is not None and self.plan.allocation == "fisher":
            for layer in self.layers.values():
                layer.feel()

    def _find_thresholds(self, group: list[Layer], share: float) -> None:
        """Thresholds that leave the group no more than a share of its parameters."""
        count = max(round(share * sum(layer.size for layer in group)), 1)
        standings = [layer.standing(self.plan.c_of(layer.name) or 0.0) for layer in group]
        thresholds = find_thresholds(self.plan.allocation, standings, count, self.plan.low, self.plan.high)
        for layer, threshold in zip(group, thresholds, strict=True):
            layer.threshold = threshold

    def record(self, step: int) -> list[Count]:
        """Counts of every layer since the last call."""
        rows = []
        for layer in self.layers.values():
            c = (layer.threshold - layer.mean) / layer.deviation if layer.deviation else 0.0
            rows.append(
                Count(
                    step=step,
                    layer=layer.name,
                    size=layer.size,
                    kept=layer.kept,
                    pruned=layer.pruned,
                    spliced=layer.spliced,
                    c=c,
                )
            )
            layer.pruned = layer.spliced = 0
        return rows

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold beside the network's own state."""
        return {
            name: torch.tensor([layer.mean, layer.deviation, layer.threshold, layer.curvature], dtype=torch.float64)
            for name, layer in self.layers.items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state` was taken."""
        for name, layer in self.layers.items():
            layer.mean, layer.deviation, layer.threshold, layer.curvature = state[name].tolist()


def layers_of(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Convolutions and fully connected layers by name."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            yield name, module


def bake(network: nn.Module) -> None:
    """Multiply the masks in, in place: what is left is a plain network whose pruned parameters are 0."""
    for _, module in layers_of(network):
        for name in POOLED:
            if parametrize.is_parametrized(module, name):
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)


def _share_kept(group: list[Layer]) -> float:
    return sum(layer.kept for layer in group) / sum(layer.size for layer in group)


def _matches(name: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs)


def _masked(name: str, module: nn.Module) -> Layer:
    parameters, masks = [], []
    for which in POOLED:
        parameter = getattr(module, which, None)
        if parameter is not None:
            mask = Mask(parameter.detach() != 0)
            parametrize.register_parametrization(module, which, mask)
            parameters.append(cast("Any", module).parametrizations[which].original)
            masks.append(mask)
    return Layer(name, parameters, masks)
