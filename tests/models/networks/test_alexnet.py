"""AlexNet computes what Caffe's layers say, in two towers where it is grouped."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from netsurgeon.models.networks import alexnet
from netsurgeon.models.networks.alexnet import AlexNet

CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> AlexNet:
    """With few neurons in its fully connected layers."""
    monkeypatch.setattr(alexnet, "HIDDEN", 6)
    torch.manual_seed(0)
    return AlexNet(classes=4).eval()


def normalised(x: Tensor) -> Tensor:
    """Caffe's local response normalisation across five channels."""
    squares = functional.pad(x.square(), (0, 0, 0, 0, 2, 2))
    around = sum(squares[:, first : first + x.shape[1]] for first in range(5))
    return x / (1.0 + 1e-4 / 5 * around) ** 0.75


def pooled(x: Tensor) -> Tensor:
    """The largest of every 3 x 3 pixels, in steps of two."""
    return x.unfold(2, 3, 2).unfold(3, 3, 2).amax((-1, -2))


def in_two_towers(x: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    halves = zip(x.chunk(2, 1), weight.chunk(2), bias.chunk(2), strict=True)
    return torch.cat([functional.conv2d(*half, padding=padding) for half in halves], 1)


def test_the_layers_are_those_of_caffe(network: AlexNet) -> None:
    image = 255 * torch.rand(1, 3, 227, 227)
    state = network.state_dict()
    layers = {name: (state[f"{name}.weight"], state[f"{name}.bias"]) for name in (*CONVOLUTIONS, "fc6", "fc7", "fc8")}
    x = pooled(normalised(functional.conv2d(image, *layers["conv1"], stride=4).relu()))
    x = pooled(normalised(in_two_towers(x, *layers["conv2"], padding=2).relu()))
    x = functional.conv2d(x, *layers["conv3"], padding=1).relu()
    x = in_two_towers(x, *layers["conv4"], padding=1).relu()
    x = pooled(in_two_towers(x, *layers["conv5"], padding=1).relu()).reshape(1, 9216)
    for name in ("fc6", "fc7"):
        weight, bias = layers[name]
        x = (x @ weight.T + bias).clamp(min=0)
    weight, bias = layers["fc8"]
    with torch.no_grad():
        torch.testing.assert_close(network(image), x @ weight.T + bias, rtol=1e-4, atol=1e-5)


def test_neurons_are_dropped_only_while_it_is_trained(network: AlexNet) -> None:
    image = torch.rand(1, 3, 227, 227)
    with torch.no_grad():
        assert torch.equal(network(image), network(image))
        network.train()
        assert not torch.equal(network(image), network(image))
