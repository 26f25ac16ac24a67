"""Calibrate from a PyTorch DataLoader and judge by a metric of your own.

The batches of a DataLoader are (x, y), as in training. Accuracy over all digits can hide that one digit is lost, so the
metric here is the recall of the digit that is recognised worst. Needs PyTorch.

    python examples/loader_and_metric.py
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, TensorDataset

import netsurgeon

DIGITS = Path(netsurgeon.__file__).parent / "models" / "digits"


def loader(name: str) -> DataLoader[Any]:
    """Batches of pictures (64, 1, 8, 8) and of their labels (64,)."""
    with np.load(DIGITS / f"{name}.npz") as arrays:
        pictures, labels = (torch.from_numpy(arrays[key]) for key in ("image", "labels"))
    return DataLoader(TensorDataset(pictures, labels), batch_size=64)


def worst_recall(outputs: Mapping[str, npt.NDArray[Any]], labels: npt.NDArray[Any]) -> float:
    """Share of the pictures of a digit that are recognised, for the digit with the smallest one; higher is better.

    Args:
        outputs: those of all samples by name, here logits (n, 10).
        labels: (n,).
    """
    is_right = outputs["logits"].argmax(axis=1) == labels
    return min(float(is_right[labels == digit].mean()) for digit in np.unique(labels))


def main() -> None:
    """Compress at two sparsities, and print what accuracy and the worst digit have to say."""
    print("sparsity    bytes   top-1   worst digit")
    for sparsity in (0.9, 0.95):
        result = netsurgeon.compress(
            DIGITS / "digits.onnx", loader("calibration"), test=loader("test"), sparsity=sparsity, metric=worst_recall
        )
        report, scores = result.report, result.report.validation.compressed
        print(f"{sparsity:8.0%} {report.compressed.bytes:8,} {scores.top1:7.2%} {scores.metric:13.2%}")
    dense = report.validation.dense
    print(f"   dense {report.dense.bytes:8,} {dense.top1:7.2%} {dense.metric:13.2%}")


if __name__ == "__main__":
    main()
