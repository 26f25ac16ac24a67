"""Imitation losses: their unit is the variance of the dense model's outputs, and they see the right examples."""

import numpy as np
import pytest
import torch
from torch import nn

from netsurgeon.models.training.distillation import both, imitation, live_imitation

WANTED = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
INPUTS = torch.zeros(1)


def test_the_mean_output_has_loss_one_and_the_wanted_one_has_none() -> None:
    loss = imitation(WANTED, torch.device("cpu"))
    rows = np.arange(50)
    mean = torch.from_numpy(WANTED.mean(axis=0, keepdims=True)).expand(50, 4)
    assert float(loss(mean, INPUTS, rows)) == pytest.approx(1.0, rel=1e-5)
    assert float(loss(torch.from_numpy(WANTED[[3, 1]]), INPUTS, np.array([3, 1]))) == 0.0
    assert float(loss(torch.from_numpy(WANTED[[3, 1]]), INPUTS, np.array([1, 3]))) > 0.1


def test_outputs_that_never_vary_are_measured_as_they_are() -> None:
    loss = imitation(np.ones((5, 2), np.float32), torch.device("cpu"))
    assert float(loss(torch.full((1, 2), 3.0), INPUTS, np.array([0]))) == 4.0


def test_the_live_loss_asks_the_teacher_about_the_inputs_of_the_step() -> None:
    teacher = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5))
    loss = live_imitation(teacher, WANTED)
    inputs = torch.rand(6, 3)
    exact = teacher[0](inputs).detach()
    assert float(loss(exact, inputs, np.arange(6))) == 0.0
    shifted = float(loss(exact + 2.0, inputs, np.arange(6)))
    assert shifted == pytest.approx(4.0 / WANTED.var(axis=0).mean(), rel=1e-5)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_both_is_the_sum() -> None:
    one, other = imitation(WANTED, torch.device("cpu")), imitation(2 * WANTED, torch.device("cpu"))
    outputs, rows = torch.ones(2, 4), np.array([0, 1])
    expected = float(one(outputs, INPUTS, rows)) + float(other(outputs, INPUTS, rows))
    assert float(both(one, other)(outputs, INPUTS, rows)) == pytest.approx(expected)
