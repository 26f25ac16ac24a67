"""Residual networks (He et al., arXiv 1512.03385): ResNet-20 and ResNet-56 for CIFAR, ResNet-50 for ImageNet."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class BasicBlock(nn.Module):
    """Two convolutions of 3x3; a shortcut that changes shape drops every other pixel and pads channels with zeros."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride = stride
        self.added = width - channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, H, W) to (batch, width, H / stride, W / stride)."""
        branch = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.added:
            before = self.added // 2
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.added - before))
        return functional.relu(branch + x)


class CifarResNet(nn.Module):
    """ResNet-(6n + 2) for pictures of 32x32: three stages of n basic blocks with 16, 32 and 64 channels.

    The shortcuts hold no parameters (option A of the paper); n = 3 gives ResNet-20, n = 9 gives ResNet-56.
    """

    def __init__(self, classes: int = 10, blocks: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, blocks, stride=1)
        self.layer2 = self._stage(16, 32, blocks, stride=2)
        self.layer3 = self._stage(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, classes)

    @staticmethod
    def _stage(channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
        first = BasicBlock(channels, width, stride)
        return nn.Sequential(first, *(BasicBlock(width, width, 1) for _ in range(blocks - 1)))

    def forward(self, image: Tensor) -> Tensor:
        """Map pictures (batch, 3, 32, 32) to logits (batch, classes)."""
        x = functional.relu(self.bn1(self.conv1(image)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 (with the stride) and 1x1; a shortcut that changes shape is a convolution of 1x1."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != 4 * width:
            shortcut = nn.Conv2d(channels, 4 * width, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, H, W) to (batch, 4 · width, H / stride, W / stride)."""
        branch = functional.relu(self.bn1(self.conv1(x)))
        branch = functional.relu(self.bn2(self.conv2(branch)))
        return functional.relu(self.bn3(self.conv3(branch)) + self.downsample(x))


class ResNet50(nn.Module):
    """Sixteen bottleneck blocks in four stages; 25,557,032 parameters with 1000 classes."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = self._stage(64, 64, 3, stride=1)
        self.layer2 = self._stage(256, 128, 4, stride=2)
        self.layer3 = self._stage(512, 256, 6, stride=2)
        self.layer4 = self._stage(1024, 512, 3, stride=2)
        self.fc = nn.Linear(2048, classes)

    @staticmethod
    def _stage(channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
        first = Bottleneck(channels, width, stride)
        return nn.Sequential(first, *(Bottleneck(4 * width, width, 1) for _ in range(blocks - 1)))

    def forward(self, image: Tensor) -> Tensor:
        """Map pictures (batch, 3, 224, 224) to logits (batch, classes)."""
        x = functional.relu(self.bn1(self.conv1(image)))
        x = functional.max_pool2d(x, 3, 2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits
