"""Pictures are moved and mirrored, other inputs get noise: the same for the same seed, and nothing else changes."""

from typing import Any

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


def test_bytes_are_moved_and_mirrored_as_floats_are() -> None:
    augmentation = Augmentation(shifts={"x": 2}, flip=True)
    pixels = (pictures() % 256).to(torch.uint8)
    moved = augmentation({"x": pixels}, 4)["x"]
    assert moved.dtype == torch.uint8
    assert torch.equal(moved.float(), augmentation({"x": pixels.float()}, 4)["x"])
    cropping = Augmentation(shifts={"x": 0}, crop=True)
    difference = cropping({"x": pixels}, 4)["x"].float() - cropping({"x": pixels.float()}, 4)["x"]
    assert 0.0 < float(difference.abs().max()) <= 0.5


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


def test_a_part_of_each_picture_is_enlarged_to_the_whole() -> None:
    rows = torch.linspace(0.0, 1.0, 64).view(1, 1, 64, 1).expand(200, 1, 64, 64)
    ramps = torch.cat([rows, rows.transpose(2, 3)], 1)
    cropped = Augmentation(shifts={"x": 0}, crop=True)({"x": ramps}, 1)["x"]
    assert cropped.shape == ramps.shape
    lowest, highest = (cropped.flatten(2).amin(2), cropped.flatten(2).amax(2))
    sides = highest - lowest
    assert float(sides.min()) > 0.8 * 0.97
    assert float(sides.max()) <= 1.0
    torch.testing.assert_close(sides[:, 0], sides[:, 1], atol=0.02, rtol=0.0)
    assert float((lowest[:, 0] - lowest[:, 1]).abs().max()) > 0.05
    slopes = cropped[:, 0, 2:-2, 0].diff(dim=1)
    torch.testing.assert_close(slopes, slopes.mean(1, keepdim=True).expand_as(slopes), atol=1e-4, rtol=0.0)


def test_sequences_of_a_step_keep_the_same_share_from_their_start() -> None:
    augmentation = Augmentation(lengths={"ids": (1,), "mask": (2, 3)}, counts=("count",))
    feeds = [
        {"ids": np.arange(size)[None], "mask": np.ones((1, 1, size, size)), "count": np.array([size])}
        for size in (20, 40)
    ]
    shares = []
    for step in range(50):
        short, long = (augmentation.shortened(feed, 3, step) for feed in feeds)
        size = short["ids"].shape[1]
        assert np.array_equal(short["ids"], feeds[0]["ids"][:, :size])
        assert short["mask"].shape == (1, 1, size, size)
        assert short["count"].tolist() == [size]
        assert long["ids"].shape[1] in (2 * size, 2 * size - 1)
        shares.append(size / 20)
    assert min(shares) >= 0.5
    assert len(set(shares)) > 5
    assert not augmentation.is_empty
    assert Augmentation().shortened(feeds[0], 3, 1) is feeds[0]


def test_arrays_of_a_step_are_cut_short() -> None:
    augmentation = Augmentation(lengths={"ids": (1,)}, noises={"x": np.ones((1, 2), np.float32)})
    feed: dict[str, Any] = {"ids": np.arange(20).reshape(1, 20), "x": np.zeros((1, 20, 2), np.float32)}
    arrays = augmented(augmentation, feed, seed=3, step=5, number=0)
    assert np.array_equal(arrays["ids"], augmentation.shortened(feed, 3, 5)["ids"])
    assert arrays["x"].shape == (1, 20, 2)
