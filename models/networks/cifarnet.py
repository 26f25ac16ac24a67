"""CIFAR-Net: the network ``cifar10_full`` of the Caffe examples, on which L-OBS was measured."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


def normalise_within_channels(x: Tensor, size: int = 3, alpha: float = 5e-5, beta: float = 0.75) -> Tensor:
    """Divide by ``(1 + α · mean of squares around) ** β`` (Caffe's LRN, WITHIN_CHANNEL), (batch, C, H, W)."""
    around = functional.avg_pool2d(x * x, size, stride=1, padding=size // 2)
    return x * (1.0 + alpha * around) ** -beta


class CifarNet(nn.Module):
    """Three convolutions of 5x5 with pooling and local normalisation, one classifier; 89,578 parameters."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 32, 5, padding=2)
        self.conv3 = nn.Conv2d(32, 64, 5, padding=2)
        self.ip1 = nn.Linear(64 * 4 * 4, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Map pictures (batch, 3, 32, 32) to logits (batch, classes)."""
        x = functional.relu(functional.max_pool2d(self.conv1(image), 3, 2, ceil_mode=True))
        x = functional.relu(self.conv2(normalise_within_channels(x)))
        x = normalise_within_channels(functional.avg_pool2d(x, 3, 2, ceil_mode=True))
        x = functional.avg_pool2d(functional.relu(self.conv3(x)), 3, 2, ceil_mode=True)
        logits: Tensor = self.ip1(x.flatten(1))
        return logits
