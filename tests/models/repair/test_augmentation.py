"""Pictures are moved and mirrored, other inputs get noise: the same for the same seed, and nothing else changes."""

import numpy as np
import torch

from netsurgeon.models.repair import Augmentation, augmented
from netsurgeon.models.training import seed_of_step


def pictures() -> torch.Tensor:
    return torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).reshape(2, 3, 8, 8)


def test_pictures_are_moved_with_all_their_channels() -> None:
    augmentation = Augmentation(shifts={"x": 2})
    moved = augmentation({"x": pictures(), "other": torch.ones(2)}, 1)
    assert moved["x"].shape == (2, 3, 8, 8)
    assert not torch.equal(moved["x"], pictures())
    assert torch.equal(moved["x"][:, 1] - moved["x"][:, 0], torch.full((2, 8, 8), 64.0))
    assert torch.equal(moved["other"], torch.ones(2))
    assert torch.equal(augmentation({"x": pictures()}, 1)["x"], moved["x"])
    assert not torch.equal(augmentation({"x": pictures()}, 2)["x"], moved["x"])


def test_channels_may_come_last() -> None:
    first = Augmentation(shifts={"x": 2}, flip=True)
    last = Augmentation(shifts={"x": 2}, flip=True, channels_last=frozenset({"x"}))
    turned = last({"x": pictures().permute(0, 2, 3, 1)}, 5)["x"]
    assert torch.equal(turned.permute(0, 3, 1, 2), first({"x": pictures()}, 5)["x"])


def test_half_of_many_pictures_are_mirrored() -> None:
    many = torch.rand(400, 1, 4, 4)
    same = (Augmentation(shifts={"x": 0}, flip=True)({"x": many}, 3)["x"] == many).flatten(1).all(1)
    assert 150 < int(same.sum()) < 250


def test_noise_is_of_the_size_that_is_asked_for() -> None:
    noisy = Augmentation(noises={"x": np.full(1, 0.5, np.float32)})({"x": torch.zeros(5000)}, 0)["x"]
    assert 0.45 < float(noisy.std()) < 0.55


def test_arrays_of_a_step_are_augmented_as_its_tensors_are() -> None:
    augmentation = Augmentation(shifts={"x": 2}, flip=True)
    arrays = augmented(augmentation, {"x": pictures().numpy()}, seed=3, step=5, number=1)
    tensors = augmentation({"x": pictures()}, seed_of_step(3, 5, 1))
    assert arrays["x"].flags.c_contiguous
    assert np.array_equal(arrays["x"], tensors["x"].numpy())
