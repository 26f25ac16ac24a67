"""Train the small digits network that ships with netsurgeon, and write it as ONNX.

Run ``python models/train_digits.py --out models/digits`` (or ``python -m netsurgeon.models.train_digits``) with
the extra ``torch`` installed. It takes some ten seconds on one CPU core, downloads nothing, and writes

* ``digits.onnx``: input ``image`` (batch, 1, 8, 8) float32 in [0, 1], output ``logits`` (batch, 10) float32;
* ``calibration.npz``: 300 pictures of the training split;
* ``test.npz``: 450 pictures the network has never seen.

Both archives hold ``image`` (n, 1, 8, 8) float32 and ``labels`` (n,) int64. The pictures are scikit-learn's copy of
the UCI "Optical Recognition of Handwritten Digits" data (CC BY 4.0), see ``models/digits/README.md``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

from netsurgeon.models.export import INPUT_NAME, OUTPUT_NAME, export

CLASSES = 10
TEST_SIZE = 450
CALIBRATION_SIZE = 300
OPSET = 18
PARITY_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Split:
    """Pictures with their classes.

    Attributes:
        image: Pictures, (n, 1, 8, 8) float32 in [0, 1].
        labels: Classes, (n,) int64 in 0..9.
    """

    image: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    def take(self, rows: npt.NDArray[np.int64]) -> Split:
        """Return the given rows, in the given order."""
        return Split(self.image[rows], self.labels[rows])

    def save(self, path: Path) -> None:
        """Write a compressed npz archive with the arrays ``image`` and ``labels``."""
        np.savez_compressed(path, image=self.image, labels=self.labels)


class ResidualBlock(nn.Module):
    """``relu(bn(x + conv(relu(bn(conv(x))))))``.

    The last normalisation follows the addition, so no exporter can fold it into a convolution: one
    BatchNormalization stays in the ONNX graph.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, height, width) to the same shape."""
        branch: Tensor = self.conv2(functional.relu(self.bn1(self.conv1(x))))
        return functional.relu(self.bn2(x + branch))


class DigitsNet(nn.Module):
    """A small convolutional network with one of everything that matters to surgery.

    A plain convolution, a residual block, a depthwise separable convolution, a strided convolution, a max pooling, a
    flatten that spreads channels over columns, and two fully connected layers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(16)
        self.block = ResidualBlock(16)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
        self.depthwise_bn = nn.BatchNorm2d(16)
        self.pointwise = nn.Conv2d(16, 32, 1, bias=False)
        self.pointwise_bn = nn.BatchNorm2d(32)
        self.down = nn.Conv2d(32, 48, 3, stride=2, padding=1, bias=False)
        self.down_bn = nn.BatchNorm2d(48)
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(0.25)
        self.hidden = nn.Linear(48 * 2 * 2, 128)
        self.classifier = nn.Linear(128, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """Map pictures (batch, 1, 8, 8) to logits (batch, 10)."""
        x = functional.relu(self.stem_bn(self.stem(image)))
        x = self.block(x)
        x = functional.relu(self.depthwise_bn(self.depthwise(x)))
        x = functional.relu(self.pointwise_bn(self.pointwise(x)))
        x = functional.relu(self.down_bn(self.down(x)))
        x = torch.flatten(self.pool(x), 1)
        x = functional.relu(self.hidden(self.dropout(x)))
        logits: Tensor = self.classifier(x)
        return logits


def load_splits(seed: int) -> tuple[Split, Split, Split]:
    """Return the training, calibration and test splits; calibration is a part of training, test is disjoint.

    Args:
        seed: Seed of both draws, which are stratified by class.
    """
    pictures, labels = load_digits(return_X_y=True)
    everything = Split(
        (np.asarray(pictures).reshape(-1, 1, 8, 8) / 16.0).astype(np.float32),
        np.asarray(labels).astype(np.int64),
    )
    train_rows, test_rows = train_test_split(
        np.arange(len(labels)), test_size=TEST_SIZE, random_state=seed, stratify=everything.labels
    )
    train = everything.take(train_rows)
    _, calibration_rows = train_test_split(
        np.arange(len(train_rows)), test_size=CALIBRATION_SIZE, random_state=seed, stratify=train.labels
    )
    return train, train.take(calibration_rows), everything.take(test_rows)


def shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move each picture (n, 1, 8, 8) by at most one pixel in each direction, filling with background."""
    padded = functional.pad(images, (1, 1, 1, 1))
    count = len(images)
    down, right = torch.randint(0, 3, (2, count, 1, 1), generator=generator)
    rows = torch.arange(8).view(1, 8, 1) + down
    columns = torch.arange(8).view(1, 1, 8) + right
    return padded[torch.arange(count).view(-1, 1, 1), 0, rows, columns].unsqueeze(1)


def train_network(data: Split, epochs: int, batch_size: int, seed: int) -> DigitsNet:
    """Train with AdamW, a one-cycle learning rate and shifted pictures; return the network in evaluation mode."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = DigitsNet()
    images, labels = torch.from_numpy(data.image), torch.from_numpy(data.labels)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3, weight_decay=1e-2)
    steps = len(images) // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=epochs * steps)
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        for step in range(steps):
            rows = order[step * batch_size : (step + 1) * batch_size]
            loss = functional.cross_entropy(network(shift(images[rows], generator)), labels[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()
    return network


def run_onnx(model: onnx.ModelProto, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the logits (n, 10) of ONNX Runtime on the CPU."""
    import onnxruntime as ort  # not at the top: only once netsurgeon is loaded is its telemetry off

    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[Any] = session.run([OUTPUT_NAME], {INPUT_NAME: images})
    return np.asarray(outputs[0], dtype=np.float32)


def largest_difference(network: DigitsNet, model: onnx.ModelProto, images: npt.NDArray[np.float32]) -> float:
    """Return the largest absolute difference of the logits in PyTorch and in ONNX Runtime.

    Raises:
        RuntimeError: It is above the tolerance of 1e-4 (or not a number).
    """
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    difference = float(np.max(np.abs(run_onnx(model, images) - expected)))
    if not difference < PARITY_TOLERANCE:
        raise RuntimeError(f"ONNX Runtime and PyTorch differ by {difference:.2e}, allowed is {PARITY_TOLERANCE:.0e}")
    return difference


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train the digits network and write it as ONNX.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "digits", help="folder to write to")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Train, export, verify, write."""
    arguments = parse_arguments()
    out: Path = arguments.out
    # One thread and deterministic kernels: the same library versions on the same kind of CPU give the same bytes.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    train, calibration, test = load_splits(arguments.seed)
    network = train_network(train, arguments.epochs, arguments.batch_size, arguments.seed)
    model = export(network, torch.from_numpy(test.image[:2]), OPSET)
    difference = largest_difference(network, model, test.image)
    accuracy = float(np.mean(run_onnx(model, test.image).argmax(axis=1) == test.labels))

    out.mkdir(parents=True, exist_ok=True)
    (out / "digits.onnx").write_bytes(model.SerializeToString(deterministic=True))
    calibration.save(out / "calibration.npz")
    test.save(out / "test.npz")
    parameters = sum(parameter.numel() for parameter in network.parameters())
    print(f"parameters {parameters}, test accuracy {accuracy:.4f} on {len(test.labels)} pictures in ONNX Runtime")
    print(f"largest difference between PyTorch and ONNX Runtime {difference:.1e}")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
