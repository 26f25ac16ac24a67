"""The digits network is trained as its file says: splits, shifts, seeds, and the model that is written."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from netsurgeon.models import train_digits
from netsurgeon.models.train_digits import DigitsNet, ResidualBlock, Split, largest_difference, load_splits, shift
from netsurgeon.models.train_digits import train_network as train

DIGITS = Path(train_digits.__file__).parent / "digits"
Splits = tuple[Split, Split, Split]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def splits() -> Splits:
    return load_splits(seed=0)


def pictures_of(split: Split) -> set[bytes]:
    return {picture.tobytes() for picture in split.image}


def test_the_splits_are_those_that_are_shipped(splits: Splits) -> None:
    for name, split in zip(("calibration", "test"), splits[1:], strict=True):
        with np.load(DIGITS / f"{name}.npz") as archive:
            np.testing.assert_array_equal(split.image, archive["image"])
            np.testing.assert_array_equal(split.labels, archive["labels"])


def test_calibration_is_a_part_of_training_and_test_is_not(splits: Splits) -> None:
    training, calibration, test = splits
    assert [len(split.labels) for split in splits] == [1347, 300, 450]
    assert pictures_of(calibration) <= pictures_of(training)
    assert pictures_of(test).isdisjoint(pictures_of(training))
    for split in splits:
        shares = np.bincount(split.labels, minlength=10) / len(split.labels)
        assert np.abs(shares - np.bincount(training.labels) / len(training.labels)).max() < 0.005


def test_another_seed_is_another_split(splits: Splits) -> None:
    assert pictures_of(load_splits(seed=1)[2]) != pictures_of(splits[2])


def test_a_shifted_picture_is_a_window_of_the_picture_with_background_around_it() -> None:
    pictures = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    moved = shift(pictures, torch.Generator().manual_seed(1))
    windows = set()
    for picture, result in zip(pictures.numpy()[:, 0], moved.numpy()[:, 0], strict=True):
        padded = np.pad(picture, 1)
        windows |= {(r, c) for r in range(3) for c in range(3) if np.array_equal(padded[r : r + 8, c : c + 8], result)}
    assert moved.shape == pictures.shape
    assert len(windows) == 9
    assert torch.equal(moved, shift(pictures, torch.Generator().manual_seed(1)))


def test_the_residual_block_adds_its_input_in_front_of_the_last_normalisation() -> None:
    torch.manual_seed(0)
    block: Any = ResidualBlock(3).eval()
    x = torch.randn(2, 3, 5, 5)
    with torch.no_grad():
        block.conv2.weight.zero_()
        block.conv2.bias.fill_(0.5)
        block.bn2.running_mean.fill_(2.0)
    torch.testing.assert_close(block(x), torch.relu((x + 0.5 - 2.0) / (1.0 + block.bn2.eps) ** 0.5))


def test_weights_are_a_function_of_the_seed(splits: Splits) -> None:
    few_pictures = splits[0].take(np.arange(64))
    one, same, other = (train(few_pictures, epochs=2, batch_size=16, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])


def test_some_epochs_teach_it_to_read(splits: Splits) -> None:
    training, _, test = splits
    network = train(training, epochs=2, batch_size=64, seed=0)
    assert not network.training
    classes = network(torch.from_numpy(test.image)).argmax(1).numpy()
    assert np.mean(classes == test.labels) > 0.8


@pytest.fixture
def settings_of_torch() -> Iterator[None]:
    """The program makes PyTorch deterministic for the rest of its process."""
    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.mark.usefixtures("settings_of_torch")
def test_the_program_writes_a_model_and_its_pictures(
    splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "digits"
    monkeypatch.setattr(sys, "argv", ["train_digits.py", "--out", str(out), "--epochs", "1"])
    train_digits.main()
    assert sorted(path.name for path in out.iterdir()) == ["calibration.npz", "digits.onnx", "test.npz"]
    assert (out / "test.npz").read_bytes() == (DIGITS / "test.npz").read_bytes()
    model, image = onnx.load(out / "digits.onnx"), splits[2].image
    network = train(splits[0], epochs=1, batch_size=64, seed=0)
    assert largest_difference(network, model, image) < 1e-4
    told = capsys.readouterr().out
    assert f"parameters {sum(parameter.numel() for parameter in network.parameters())}, " in told
    assert "on 450 pictures" in told
    with pytest.raises(RuntimeError, match=r"ONNX Runtime and PyTorch differ by .*, allowed is 1e-04"):
        largest_difference(DigitsNet().eval(), model, image)
