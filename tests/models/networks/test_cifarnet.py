"""CIFAR-Net's local normalisation against the formula, place by place."""

import pytest
import torch

from netsurgeon.models.networks.cifarnet import CifarNet, normalise_within_channels


@pytest.mark.parametrize(("size", "alpha", "beta"), [(3, 5e-5, 0.75), (5, 0.5, 2.0)])
def test_each_place_is_divided_by_the_squares_around_it(size: int, alpha: float, beta: float) -> None:
    x = 20 * torch.rand(2, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    found = normalise_within_channels(x, size, alpha, beta)
    reach = size // 2
    for row, column in ((0, 0), (3, 3), (5, 6), (0, 4)):
        window = x[:, :, max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
        mean = window.square().sum((-1, -2)) / size**2  # zeros around the picture count, as in Caffe
        torch.testing.assert_close(found[:, :, row, column], x[:, :, row, column] * (1 + alpha * mean) ** -beta)


def test_the_poolings_round_up() -> None:
    """32 pixels become 16, 8 and 4; rounding down would give 15, 7 and 3."""
    network = CifarNet()
    sizes: list[int] = []
    for name in ("conv2", "conv3"):
        network.get_submodule(name).register_forward_pre_hook(lambda module, inputs: sizes.append(inputs[0].shape[-1]))
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert sizes == [16, 8]
