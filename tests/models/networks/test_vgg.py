"""VGG-16 has the convolutions of configuration D, and computes what its layers say, with and without normalisation."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from netsurgeon.models.networks import vgg
from netsurgeon.models.networks.vgg import VGG16


@pytest.mark.parametrize("batch_norm", [False, True])
def test_configuration_d_has_thirteen_convolutions_between_five_poolings(batch_norm: bool) -> None:
    with torch.device("meta"):
        layers = list(VGG16(batch_norm=batch_norm).features)
    widths = [layer.out_channels if isinstance(layer, nn.Conv2d) else "M" for layer in layers if is_wide(layer)]
    assert widths == [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"]
    between = [nn.Conv2d, *([nn.BatchNorm2d] if batch_norm else []), nn.ReLU]
    assert [type(layer) for layer in layers if not isinstance(layer, nn.MaxPool2d)] == between * 13


def is_wide(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d | nn.MaxPool2d)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_layers_follow_one_another(monkeypatch: pytest.MonkeyPatch, batch_norm: bool) -> None:
    monkeypatch.setattr(vgg, "WIDTHS", ((2,), (3,), (3, 3), (4,), (5,)))
    monkeypatch.setattr(vgg, "HIDDEN", 6)
    torch.manual_seed(0)
    network, image = VGG16(classes=4, batch_norm=batch_norm).eval(), torch.rand(1, 3, 224, 224)
    state = network.state_dict()
    for name, statistic in state.items():
        if "running" in name:
            statistic.uniform_(0.1, 0.9)
    x, place = image, 0
    for count in (1, 1, 2, 1, 1):
        for _ in range(count):
            x = functional.conv2d(x, state[f"features.{place}.weight"], state[f"features.{place}.bias"], padding=1)
            if batch_norm:
                place += 1
                mean, variance, scale, shift = (
                    state[f"features.{place}.{name}"][:, None, None]
                    for name in ("running_mean", "running_var", "weight", "bias")
                )
                x = (x - mean) / (variance + 1e-5).sqrt() * scale + shift
            x, place = x.clamp(min=0), place + 2
        x, place = x.unfold(2, 2, 2).unfold(3, 2, 2).amax((-1, -2)), place + 1
    assert x.shape == (1, 5, 7, 7)
    x = x.flatten(1)
    for name in ("fc6", "fc7"):
        x = (x @ state[f"{name}.weight"].T + state[f"{name}.bias"]).clamp(min=0)
    with torch.no_grad():
        torch.testing.assert_close(network(image), x @ state["fc8.weight"].T + state["fc8.bias"], rtol=1e-4, atol=1e-5)
