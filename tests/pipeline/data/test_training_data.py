import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netsurgeon.pipeline.data.images import PictureOptions
from netsurgeon.pipeline.data.training_data import TrainingData, open_training_data
from netsurgeon.pipeline.errors import InputError

GREY = PictureOptions(channels="grey", scale=1 / 256)
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 4, 4), np.uint8)
CLASSES = np.arange(12, dtype=np.uint8) % 3


def opened(path: Path, pictures: PictureOptions = GREY, channels: int = 1) -> TrainingData:
    return open_training_data(path, "image", (channels, 4, 4), pictures)


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


def check(data: TrainingData) -> None:
    rows = np.array([3, 1], np.intp)
    assert data.train.labels is not None
    assert (data.train.count, data.classes) == (12, 3)
    assert np.array_equal(data.train.labels[rows], CLASSES[rows])
    inputs = data.train.inputs(rows)
    assert inputs.dtype == np.float32
    assert np.array_equal(inputs, PIXELS[rows][:, None] / np.float32(256))


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files(tmp_path: Path, packed: bool) -> None:
    for part, count in (("train", 12), ("t10k", 5)):
        for kind, array in (("images-idx3", PIXELS), ("labels-idx1", CLASSES)):
            name, content = f"{part}-{kind}-ubyte", idx(array[:count])
            (tmp_path / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    data = opened(tmp_path)
    check(data)
    assert data.test is not None
    assert data.test.count == 5


def test_npz_of_pixels_and_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", x=PIXELS, y=CLASSES)
    check(opened(tmp_path))
    check(opened(tmp_path / "train.npz"))
    assert opened(tmp_path).test is None


def test_npz_of_inputs_by_name(tmp_path: Path) -> None:
    values = PIXELS[:, None] / np.float32(256)
    np.savez(tmp_path / "data.npz", image=values, labels=CLASSES.astype(np.int64))
    check(opened(tmp_path / "data.npz"))


def test_class_folders_of_pictures(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for number, (pixels, label) in enumerate(zip(PIXELS, CLASSES, strict=True)):
            folder = tmp_path / part / f"class{label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{number:02}.png")
    data = opened(tmp_path)
    order = np.argsort(CLASSES, kind="stable")
    assert data.train.labels is not None
    assert data.test is not None
    assert np.array_equal(data.train.labels, CLASSES[order])
    assert np.array_equal(data.train.inputs(np.arange(12)), PIXELS[order][:, None] / np.float32(256))


def test_other_data_has_another_digest(tmp_path: Path) -> None:
    digests = set()
    for number, (x, y) in enumerate(((PIXELS, CLASSES), (PIXELS, CLASSES[::-1]), (255 - PIXELS, CLASSES))):
        np.savez(tmp_path / f"{number}.npz", x=x, y=y)
        digests.add(opened(tmp_path / f"{number}.npz").digest())
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (PIXELS / 255, CLASSES, "float64 with 3 axes: expected uint8"),
        (PIXELS, CLASSES[:5], "12 pictures and labels uint8 of shape \\(5,\\)"),
        (PIXELS, CLASSES / 2, "labels float64"),
        (PIXELS[..., None].repeat(3, 3), CLASSES, "3 channels, the network takes 1"),
        (PIXELS[:, :3], CLASSES, "1x3x4 but the model's input 'image' takes 1x4x4"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, x: np.ndarray, y: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "train.npz", x=x, y=y)
    with pytest.raises(InputError, match=message):
        opened(tmp_path)


def test_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        opened(tmp_path / "none")
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(PIXELS)[:-1])
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(CLASSES))
    with pytest.raises(InputError, match="is not an IDX file of bytes with 3 axes, or it is truncated"):
        opened(tmp_path)
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    with pytest.raises(InputError, match=r"broken\.npz cannot be read as an \.npz"):
        opened(tmp_path / "broken.npz")
