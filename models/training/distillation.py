"""Train a model to give the outputs of another one: no labels are needed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from netsurgeon.models.training.datasets import Rows
from netsurgeon.models.training.loop import Objective


def imitation(targets: npt.NDArray[np.float32], device: torch.device) -> Objective:
    """Squared error of the outputs, as a share of the variance of the wanted ones.

    Args:
        targets: outputs of the dense model for all examples, (count, …).
        device: where the loss is computed.
    """
    goal = torch.from_numpy(targets).to(device)
    scale = float((goal - goal.mean(0)).square().mean()) or 1.0

    def loss(outputs: Tensor, inputs: Tensor, rows: Rows) -> Tensor:
        del inputs
        return (outputs - goal[torch.from_numpy(rows).to(device)]).square().mean() / scale

    return loss


def live_imitation(teacher: nn.Module, targets: npt.NDArray[np.float32]) -> Objective:
    """The same loss against what the dense model says of the very inputs of a step, moved and mirrored as they are.

    Args:
        teacher: the dense model, on the device where the loss is computed.
        targets: its outputs for all examples, (count, …): their variance is the unit.
    """
    teacher.eval().requires_grad_(False)
    scale = float(np.var(targets, axis=0).mean()) or 1.0

    def loss(outputs: Tensor, inputs: Tensor, rows: Rows) -> Tensor:
        del rows
        with torch.no_grad():
            goal = teacher(inputs)
        return (outputs - goal).square().mean() / scale

    return loss


def both(one: Objective, other: Objective) -> Objective:
    """The sum of two losses."""
    return lambda outputs, inputs, rows: one(outputs, inputs, rows) + other(outputs, inputs, rows)
