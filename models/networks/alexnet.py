"""AlexNet in the form of Caffe's ``bvlc_alexnet``, with its grouped convolutions."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

HIDDEN = 4096
"""Neurons of fc6 and of fc7."""


class AlexNet(nn.Module):
    """Five convolutions and three fully connected layers; 60,965,224 parameters with 1000 classes."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 11, stride=4)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.fc6 = nn.Linear(256 * 6 * 6, HIDDEN)
        self.fc7 = nn.Linear(HIDDEN, HIDDEN)
        self.fc8 = nn.Linear(HIDDEN, classes)
        self.normalise = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)
        self.dropout = nn.Dropout(0.5)

    def forward(self, image: Tensor) -> Tensor:
        """Map pictures (batch, 3, 227, 227) to logits (batch, classes)."""
        x = functional.max_pool2d(self.normalise(functional.relu(self.conv1(image))), 3, 2)
        x = functional.max_pool2d(self.normalise(functional.relu(self.conv2(x))), 3, 2)
        x = functional.relu(self.conv4(functional.relu(self.conv3(x))))
        x = functional.max_pool2d(functional.relu(self.conv5(x)), 3, 2).flatten(1)
        x = self.dropout(functional.relu(self.fc6(x)))
        x = self.dropout(functional.relu(self.fc7(x)))
        logits: Tensor = self.fc8(x)
        return logits
