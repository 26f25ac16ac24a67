"""A picture as an input: the published order of steps, and pictures that do not fit."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_sources import F32, PICTURE, picture_bytes, write_pictures

from netsurgeon.pipeline.data.images import PictureOptions
from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.errors import InputError


def test_options_follow_the_published_order(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    mean, std = (104.0, 117.0, 123.0), (1.0, 2.0, 4.0)
    options = PictureOptions(crop=8, channels="BGR", scale=2.0, mean=mean, std=std)
    (feed,) = open_samples(tmp_path, PICTURE, pictures=options).batches()
    expected = (pixels[2:10, 6:14, ::-1] * 2.0 - mean) / std
    np.testing.assert_allclose(feed["image"][0], expected.transpose(2, 0, 1), rtol=1e-6)
    last = (InputSpec("image", F32, (None, 8, 8, 3)),)
    (feed,) = open_samples(tmp_path, last, pictures=PictureOptions(crop=8, layout="NHWC")).batches()
    np.testing.assert_allclose(feed["image"][0], pixels[2:10, 6:14] / 255, rtol=1e-6)


def test_resize_scales_the_shorter_side(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"a.png": 7}, size=(30, 16))
    specs = (InputSpec("image", F32, (None, 1, None, None)),)
    (feed,) = open_samples(tmp_path, specs, pictures=PictureOptions(resize=8, channels="grey")).batches()
    assert feed["image"].shape == (1, 1, 8, 15)


def test_integer_pixels(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"a.png": 7})
    specs = (InputSpec("image", np.dtype(np.uint8), (None, 3, 8, 8)),)
    (feed,) = open_samples(tmp_path, specs, pictures=PictureOptions(scale=1)).batches()
    assert feed["image"][0, :, 0, 0].tolist() == [7, 8, 9]
    with pytest.raises(InputError, match="give scale = 1"):
        open_samples(tmp_path, specs)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((None, 3, 227, 227), "3x8x8 but the model's input 'image' takes 3x227x227: give --crop 227"),
        ((None, 3, 6, 4), "--crop cuts squares"),
        ((None, 1, 8, 8), "channels = 'grey'"),
        ((None, 8, 8, 3), "layout = 'NHWC'"),
        ((None, 10), "takes 10: give the data as .npz"),
    ],
)
def test_pictures_that_do_not_fit(tmp_path: Path, shape: tuple[int | None, ...], message: str) -> None:
    write_pictures(tmp_path, {"a.png": 7})
    with pytest.raises(InputError, match=message):
        open_samples(tmp_path, (InputSpec("image", F32, shape),))


def test_picture_smaller_than_the_crop(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"a.png": 7})
    with pytest.raises(InputError, match="too small for --crop 9: give --resize 9"):
        open_samples(tmp_path, PICTURE, pictures=PictureOptions(crop=9))


def test_pictures_of_different_sizes(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"a.png": 7})
    write_pictures(tmp_path, {"b.png": 7}, size=(9, 10))
    specs = (InputSpec("image", F32, (None, 3, None, None)),)
    with pytest.raises(InputError, match=r"a.png has 8x8 pixels and b.png has 9x10"):
        list(open_samples(tmp_path, specs).batches())
    shapes = [feed["image"].shape for feed in open_samples(tmp_path, specs, batch_size=1).batches()]
    assert shapes == [(1, 3, 8, 8), (1, 3, 10, 9)]
    with pytest.raises(InputError, match="3x10x9 but"):
        list(open_samples(tmp_path, PICTURE, batch_size=1).batches())


def test_broken_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"a.png cannot be decoded"):
        open_samples(tmp_path, PICTURE)
    (tmp_path / "a.png").write_bytes(picture_bytes(3, (64, 64))[:70])
    with pytest.raises(InputError, match=r"a.png cannot be decoded"):
        open_samples(tmp_path, PICTURE)
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="8 bits a channel"):
        open_samples(tmp_path, PICTURE)


def test_palette_with_transparency(tmp_path: Path) -> None:
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 50, 60, 70])
    picture.save(tmp_path / "a.png", transparency=b"\x00\x80")
    (feed,) = open_samples(tmp_path, PICTURE, pictures=PictureOptions(scale=1)).batches()
    assert feed["image"][0, :, 0, 0].tolist() == [50, 60, 70]
