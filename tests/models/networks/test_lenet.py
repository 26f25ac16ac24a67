"""The LeNets compute what their published layers say."""

import torch
from torch.nn import functional

from netsurgeon.models.networks.lenet import LeNet5, LeNet300


def test_lenet300_is_two_rectified_layers_and_a_classifier() -> None:
    torch.manual_seed(0)
    network, image = LeNet300(), torch.rand(3, 1, 28, 28)
    state = network.state_dict()
    x = image.reshape(3, 784)
    for name in ("ip1", "ip2"):
        x = torch.clamp(x @ state[f"{name}.weight"].T + state[f"{name}.bias"], min=0)
    torch.testing.assert_close(network(image), x @ state["ip3.weight"].T + state["ip3.bias"])


def test_lenet5_has_no_activation_between_its_convolutions() -> None:
    """Without biases its convolutions and poolings are positively homogeneous, and negative values come through."""
    torch.manual_seed(0)
    network, image = LeNet5(), torch.rand(2, 1, 28, 28)
    shown: list[torch.Tensor] = []
    network.conv2.register_forward_pre_hook(lambda module, inputs: shown.append(inputs[0]))
    network(image)
    convolved = functional.conv2d(image, network.conv1.weight, network.conv1.bias)
    torch.testing.assert_close(shown[0], convolved.unfold(2, 2, 2).unfold(3, 2, 2).amax((-1, -2)))
    assert (shown[0] < 0).any()
