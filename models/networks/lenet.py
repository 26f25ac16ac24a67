"""The LeNets of the Caffe examples, on which dynamic network surgery and L-OBS were first measured."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class LeNet300(nn.Module):
    """LeNet-300-100: 784 pixels, two hidden layers of 300 and 100 neurons; 266,610 parameters with 10 classes."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.ip1 = nn.Linear(28 * 28, 300)
        self.ip2 = nn.Linear(300, 100)
        self.ip3 = nn.Linear(100, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Map pictures (batch, 1, 28, 28) to logits (batch, classes)."""
        x = functional.relu(self.ip1(image.flatten(1)))
        x = functional.relu(self.ip2(x))
        logits: Tensor = self.ip3(x)
        return logits


class LeNet5(nn.Module):
    """Caffe's LeNet-5: no activation after the convolutions; 431,080 parameters with 10 classes."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.ip1 = nn.Linear(50 * 4 * 4, 500)
        self.ip2 = nn.Linear(500, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Map pictures (batch, 1, 28, 28) to logits (batch, classes)."""
        x = functional.max_pool2d(self.conv1(image), 2)
        x = functional.max_pool2d(self.conv2(x), 2)
        x = functional.relu(self.ip1(x.flatten(1)))
        logits: Tensor = self.ip2(x)
        return logits
