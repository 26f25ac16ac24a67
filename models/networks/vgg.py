"""VGG-16 (Simonyan and Zisserman, arXiv 1409.1556, configuration D), with and without batch normalisation."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions between two poolings."""
HIDDEN = 4096
"""Neurons of fc6 and of fc7."""


class VGG16(nn.Module):
    """Thirteen convolutions of 3x3 and three fully connected layers; 138,357,544 parameters with 1000 classes."""

    def __init__(self, classes: int = 1000, batch_norm: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for widths in WIDTHS:
            for width in widths:
                layers.append(nn.Conv2d(channels, width, 3, padding=1))
                layers += [nn.BatchNorm2d(width)] if batch_norm else []
                layers.append(nn.ReLU())
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.fc6 = nn.Linear(channels * 7 * 7, HIDDEN)
        self.fc7 = nn.Linear(HIDDEN, HIDDEN)
        self.fc8 = nn.Linear(HIDDEN, classes)
        self.dropout = nn.Dropout(0.5)

    def forward(self, image: Tensor) -> Tensor:
        """Map pictures (batch, 3, 224, 224) to logits (batch, classes)."""
        x = self.features(image).flatten(1)
        x = self.dropout(functional.relu(self.fc6(x)))
        x = self.dropout(functional.relu(self.fc7(x)))
        logits: Tensor = self.fc8(x)
        return logits
