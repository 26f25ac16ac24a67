"""Weights from plain arrays, by name or by order, and what fills no network."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from netsurgeon.models.networks.presets import NETWORKS
from netsurgeon.models.training.weights import load_arrays


def arrays_of(network: nn.Module) -> dict[str, Any]:
    state = network.state_dict()
    return {name: value.numpy().copy() for name, value in state.items() if not name.endswith("num_batches_tracked")}


@pytest.mark.parametrize("rename", [str, lambda name: f"onnx::{hash(name)}"], ids=["by name", "by order"])
def test_arrays_fill_a_network(rename: Any) -> None:
    torch.manual_seed(0)
    source, goal = NETWORKS["resnet20"].build(10), NETWORKS["resnet20"].build(10)
    arrays = {rename(name): array for name, array in arrays_of(source).items()}
    load_arrays(goal, {"shape": np.array([0, 64]), **arrays})
    image = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(goal.eval()(image), source.eval()(image), rtol=0, atol=0)


def test_a_bias_that_an_exporter_left_out_is_zero() -> None:
    torch.manual_seed(0)
    source, goal = NETWORKS["lenet300"].build(10), NETWORKS["lenet300"].build(10)
    arrays = arrays_of(source)
    arrays.pop("ip3.bias").fill(0.0)
    load_arrays(goal, arrays)
    state = goal.state_dict()
    assert not state["ip3.bias"].any()
    assert all(np.array_equal(state[name].numpy(), array) for name, array in arrays.items())
    del arrays["ip3.weight"]
    with pytest.raises(ValueError, match="do not fill"):
        load_arrays(goal, arrays)


def test_arrays_of_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match=r"20x1x5x5.* do not fill a network of 300x784"):
        load_arrays(NETWORKS["lenet300"].build(10), arrays_of(NETWORKS["lenet5"].build(10)))
