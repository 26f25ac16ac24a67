"""Residual blocks add what their shortcuts say, and the networks have the depth and the sizes of the paper."""

import pytest
import torch
from torch import nn

from netsurgeon.models.networks.resnet import BasicBlock, Bottleneck, CifarResNet, ResNet50


def silence(normalisation: nn.BatchNorm2d) -> None:
    """Make the branch in front of it zero: what is left of the block is its shortcut."""
    with torch.no_grad():
        normalisation.weight.zero_()
        normalisation.bias.zero_()


@pytest.mark.parametrize(("width", "stride", "before"), [(4, 1, 0), (8, 2, 2), (7, 2, 1)])
def test_a_basic_shortcut_takes_every_other_pixel_between_channels_of_zeros(
    width: int, stride: int, before: int
) -> None:
    block, x = BasicBlock(4, width, stride).eval(), torch.randn(2, 4, 6, 6)
    silence(block.bn2)
    y = block(x)
    assert y.shape == (2, width, 6 // stride, 6 // stride)
    assert torch.equal(y[:, before : before + 4], x[:, :, ::stride, ::stride].relu())
    assert not y[:, :before].any()
    assert not y[:, before + 4 :].any()
    assert not any("downsample" in name for name, _ in block.named_parameters())


@pytest.mark.parametrize(("channels", "stride", "projects"), [(12, 1, False), (12, 2, True), (5, 1, True)])
def test_a_bottleneck_s_shortcut_is_a_convolution_only_where_the_shape_changes(
    channels: int, stride: int, projects: bool
) -> None:
    torch.manual_seed(0)
    block, x = Bottleneck(channels, 3, stride).eval(), torch.randn(2, channels, 6, 6)
    silence(block.bn3)
    shortcut = x
    if projects:
        weight = block.downsample.state_dict()["0.weight"][:, :, 0, 0]
        shortcut = torch.einsum("oc,nchw->nohw", weight, x[:, :, ::stride, ::stride]) / (1.0 + 1e-5) ** 0.5
    with torch.no_grad():
        torch.testing.assert_close(block(x), shortcut.relu())
    assert bool(list(block.downsample.parameters())) == projects
    assert [block.conv1.stride, block.conv2.stride, block.conv3.stride] == [(1, 1), (stride, stride), (1, 1)]


def test_the_branch_is_added_in_front_of_the_activation() -> None:
    torch.manual_seed(0)
    block, x = BasicBlock(3, 3, 1).eval(), torch.randn(2, 3, 5, 5)
    inner = torch.conv2d(x, block.conv1.weight, padding=1) / (1.0 + 1e-5) ** 0.5
    branch = torch.conv2d(inner.relu(), block.conv2.weight, padding=1) / (1.0 + 1e-5) ** 0.5
    with torch.no_grad():
        torch.testing.assert_close(block(x), (branch + x).relu())


def stages(network: CifarResNet | ResNet50, side: int) -> list[tuple[int, ...]]:
    """Shapes behind the stages."""
    shapes: list[tuple[int, ...]] = []
    for name, stage in network.named_children():
        if name.startswith("layer"):
            stage.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    network.eval()(torch.empty(1, 3, side, side, device="meta"))
    return shapes


@pytest.mark.parametrize("blocks", [1, 3, 9])
def test_a_network_for_cifar_has_six_layers_a_block_and_two(blocks: int) -> None:
    with torch.device("meta"):
        network = CifarResNet(blocks=blocks)
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(layers) == 6 * blocks + 2
    assert stages(network, 32) == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]


def test_resnet50_has_fifty_layers_and_four_projections() -> None:
    with torch.device("meta"):
        network = ResNet50()
    layers = {name for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    projections = {f"layer{stage}.0.downsample.0" for stage in (1, 2, 3, 4)}
    assert {name for name in layers if "downsample" in name} == projections
    assert len(layers - projections) == 50
    assert stages(network, 224) == [(256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7)]
